//! How far a download or an upload is.

use super::NotActivated;
use super::held::Done;
use crate::Hsm;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A download.
    Download,
    /// An upload.
    Upload,
}

/// How far it is. It cannot fail any more once it was answered: all of it was durable by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationStatus {
    /// Done, and not yet confirmed.
    InProgress,
    /// Done and confirmed: the HSM has been opened under its domain.
    Success,
}

impl Hsm {
    /// How far the last such operation is; none if there was none.
    pub fn security_domain_status(&self, operation: Operation) -> Option<OperationStatus> {
        let state = self.state.read();
        let (held, _) = state.security_domain.held.as_ref()?;
        let done: Done = match operation {
            Operation::Download => held.downloaded?,
            Operation::Upload => held.uploaded?,
        };
        Some(match done.confirmed {
            true => OperationStatus::Success,
            false => OperationStatus::InProgress,
        })
    }
}

impl NotActivated {
    /// Before activation there was none, but for the one that has just been done.
    pub fn security_domain_status(&self, _operation: Operation) -> Option<OperationStatus> {
        self.is_spent().then_some(OperationStatus::InProgress)
    }
}
