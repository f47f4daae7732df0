//! Asking a running node.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_channel::TLS_ORDER_TIMEOUT;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::{ConfigRefusal, NodeConfig};
use super::creation::NewHsm;
use super::tls::{CHANGING_TIMEOUT, TlsQuestion};
use crate::local::ask_patiently;

/// How long most answers are waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a change of the seal of all HSMs is waited for.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "hsm", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    /// Make an HSM.
    Create {
        /// Which.
        new: Box<NewHsm>,
    },
    /// Stop an HSM and move all that it has aside.
    Delete {
        /// Which.
        name: String,
    },
    /// What is known of one.
    Show {
        /// Which.
        name: String,
    },
    /// What one says of itself.
    Inspect {
        /// Which.
        name: String,
    },
    /// Show or change the TLS of one.
    Tls {
        /// Which.
        name: String,
        /// What is to be done.
        order: Box<TlsQuestion>,
    },
    /// What is known of all.
    List,
    /// Bring all under the seal that the node's file names.
    ChangeSeal,
    /// Which seal is in force.
    ShowSeal,
}

impl Question {
    /// How long its answer is waited for: sealing anew takes a second or so for each HSM.
    fn patience(&self) -> Duration {
        match self {
            Self::ChangeSeal => CHANGE_TIMEOUT,
            Self::Tls { .. } => ANSWER_TIMEOUT + CHANGING_TIMEOUT + TLS_ORDER_TIMEOUT,
            // They may have to wait for an order about TLS.
            Self::Create { .. } | Self::Delete { .. } => ANSWER_TIMEOUT + TLS_ORDER_TIMEOUT,
            Self::Show { .. } | Self::Inspect { .. } | Self::List | Self::ShowSeal => {
                ANSWER_TIMEOUT
            }
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The node's file.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// No node.
    #[error(
        "no node answers in {path}; start `casemate node`, or ask as the user who started it",
        path = path.display()
    )]
    NotRunning {
        /// Its data folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It says no.
    #[error("{0}")]
    Refused(Box<str>),
}

/// Asks the node of this file.
pub(crate) async fn ask_node(config: &Path, question: &Question) -> Result<Value, AskError> {
    let path = NodeConfig::read(config)?.data_dir;
    let answer = ask_patiently(&path, &json!(question), question.patience()).await;
    let mut answer = answer.map_err(|cause| AskError::NotRunning { path, cause })?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(AskError::Refused(error.into())),
        None => Ok(answer["result"].take()),
    }
}
