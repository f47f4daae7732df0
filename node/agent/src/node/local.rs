//! What may be asked of a node over its local socket: `casemate hsm …` on the same machine.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::ask::Question;
use super::set::{HsmSet, SetError};
use crate::local::{Answers, serve};

/// The local socket of a node.
pub(crate) struct NodeLocal {
    pub(crate) hsms: Arc<HsmSet>,
}

impl NodeLocal {
    /// Answers until told to stop.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        stopping: watch::Receiver<bool>,
    ) {
        serve(self, listener, stopping).await;
    }

    async fn act(&self, question: Question) -> Result<Value, SetError> {
        match question {
            Question::Create { new } => self.hsms.create(*new).await,
            Question::Delete { name } => self.hsms.delete(&name).await,
            Question::Show { name } => self.hsms.show(&name),
            Question::Inspect { name } => self.hsms.inspect(&name).await,
            Question::Tls { name, order } => self.hsms.tls(&name, *order).await,
            Question::List => Ok(self.hsms.list()),
            Question::ChangeSeal => self.hsms.change_seal().await,
            Question::ShowSeal => Ok(self.hsms.show_seal()),
        }
    }
}

impl Answers for NodeLocal {
    async fn answer(&self, line: &str) -> Value {
        match serde_json::from_str(line) {
            Ok(question) => match self.act(question).await {
                Ok(result) => json!({ "result": result }),
                Err(error) => json!({ "error": casemate_channel::chain(&error) }),
            },
            Err(error) => json!({ "error": format!("the question is not understood: {error}") }),
        }
    }
}
