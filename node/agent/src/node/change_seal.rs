//! `casemate seal change`: all HSMs of a node get the seal that its file names now, and serve
//! meanwhile.
//!
//! First every HSM gets a slot under the new seal beside the old one; each is opened again before
//! it counts. Then one write makes the new seal the one in force. Then the old slots go. A change
//! that was cut off before that write is finished at the next start if the file still wants it.

use std::path::Path;

use casemate_channel::{Reseal, Seal};
use serde_json::{Value, json};

use super::config::{ConfigRefusal, NodeConfig};
use super::record::HsmRecord;
use super::seals::{SealsError, Term};
use super::set::{HsmSet, SetError};
use crate::reseal::{ResealError, reseal};
use crate::say::say;

/// The partition's sealed file in the HSM's folder.
const SEALED_FILE: &str = "seal.bin";

/// Why a seal is not changed. The old one is in force as before.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The node's file.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// The file names another data folder.
    #[error("the node's file names another data_dir than this node runs with; put it back")]
    OtherFolder,
    /// The seals.
    #[error(transparent)]
    Seals(#[from] SealsError),
    /// An HSM that is being started may be in the midst of sealing anew.
    #[error(
        "the HSM {0} is being started; wait until `casemate hsm show {0}` says ready, or given up"
    )]
    NotSteady(String),
    /// One HSM.
    #[error("the HSM {hsm} was not sealed anew, and the seal of none was changed")]
    Reseal {
        /// Which.
        hsm: String,
        /// Why.
        #[source]
        cause: ResealError,
    },
}

impl HsmSet {
    /// The seal in force, and one on the way.
    pub(crate) fn show_seal(&self) -> Value {
        json!({
            "inForce": self.seals.current().seal.shown(),
            "changingTo": self.seals.next().map(|next| next.seal.shown()),
        })
    }

    /// Reads the node's file and brings all HSMs under its seal.
    pub(crate) async fn change_seal(&self) -> Result<Value, SetError> {
        let _one_at_a_time = self.changing.lock().await;
        self.change().await?;
        Ok(self.show_seal())
    }

    async fn change(&self) -> Result<(), ChangeError> {
        let wanted = NodeConfig::read(&self.file)?;
        if wanted.data_dir != self.config.data_dir {
            return Err(ChangeError::OtherFolder);
        }
        if let Some(hsm) = self.unsteady() {
            return Err(ChangeError::NotSteady(hsm));
        }
        let next = self.seals.begin(&wanted.seal)?;
        let hsms = self.names();
        if let Err(error) = self.fill(&hsms, &next).await {
            // Where even that fails, the next start does the same if the file names the old seal.
            self.seals.abandon()?;
            self.sweep(&hsms);
            return Err(error);
        }
        self.seals.commit()?;
        say(format_args!("the seal is now {}", next.seal.shown()));
        self.follow(&next)?;
        self.sweep(&hsms);
        Ok(())
    }

    /// Ends a change that was cut off; no HSM runs yet.
    pub(crate) async fn finish_change(&self, records: &[HsmRecord]) -> Result<(), ChangeError> {
        let hsms: Vec<String> = records.iter().map(|record| record.name.clone()).collect();
        if let Some(next) = self.seals.next() {
            say(format_args!("going on with the change of the seal to {}", next.seal.shown()));
            self.fill(&hsms, &next).await?;
            self.seals.commit()?;
        }
        self.sweep(&hsms);
        Ok(())
    }

    /// A slot of the next term for each HSM.
    async fn fill(&self, hsms: &[String], next: &Term) -> Result<(), ChangeError> {
        let current = self.seals.current();
        for hsm in hsms {
            let folder = self.folder.join("hsm").join(hsm);
            let sealed = folder.join(SEALED_FILE);
            if !sealed.exists() {
                // Created and never started: it is made under the seal that is in force by then.
                continue;
            }
            let from = self.seals.seal(&current, hsm, &folder)?;
            let Seal::Slot(to) = self.seals.seal(next, hsm, Path::new("/"))? else {
                return Err(SealsError::ToKeyFile.into());
            };
            let done = reseal(&Reseal { from, to, sealed }).await;
            done.map_err(|cause| ChangeError::Reseal { hsm: hsm.clone(), cause })?;
        }
        Ok(())
    }

    fn sweep(&self, hsms: &[String]) {
        for path in self.seals.sweep(hsms) {
            say(format_args!("{} is not needed any more and cannot be removed", path.display()));
        }
    }
}
