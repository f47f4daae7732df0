//! What a token's return values mean to the engine.

use casemate_engine_port::{EngineError, OperationError};
use cryptoki::error::{Error, RvError};

/// Why a call of the token gave nothing.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The token answered with this value.
    Code(RvError),
    /// The binding refused or could not read the answer.
    Binding,
    /// The token cannot be reached: what to do.
    Gone(&'static str),
}

/// The text for a token that is not there.
pub(crate) const ABSENT: &str =
    "it does not answer or is not in its slot; the operator must bring it back. Then try again";
/// The text for a token that came back without the key of an earlier epoch.
pub(crate) const NO_EARLIER: &str = "it lacks the wrapping key of an earlier epoch; the operator \
                                     must start the HSM anew, which puts it in";
/// The text for a token with no room.
const FULL: &str = "it has no room for another opened key; the operator must look at its memory";
/// The text for a token that is too slow for what is asked of it.
pub(crate) const BUSY: &str = "all sessions with it are busy; try again in a moment";

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(code, _) => Self::Code(code),
            _ => Self::Binding,
        }
    }
}

impl Fault {
    /// Whether the session, the login or the token itself is lost.
    pub(crate) fn is_lost_token(&self) -> bool {
        matches!(
            self,
            Self::Code(
                RvError::DeviceRemoved
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::SlotIdInvalid
                    | RvError::SessionHandleInvalid
                    | RvError::SessionClosed
                    | RvError::UserNotLoggedIn
                    | RvError::CryptokiNotInitialized
                    | RvError::OperationActive
                    // The wrapping key has gone, and nothing removes it but a lost token.
                    | RvError::WrappingKeyHandleInvalid
                    | RvError::UnwrappingKeyHandleInvalid
            )
        )
    }

    /// Whether an opened key is lost, and nothing else.
    pub(crate) fn is_lost_object(&self) -> bool {
        matches!(self, Self::Code(RvError::KeyHandleInvalid | RvError::ObjectHandleInvalid))
    }

    /// Whether the value says nothing: the token must be looked at.
    pub(crate) fn is_unsure(&self) -> bool {
        matches!(
            self,
            Self::Code(
                // Some tokens say so of a ciphertext that does not decrypt.
                RvError::DeviceError
                    | RvError::GeneralError
                    | RvError::FunctionFailed
                    | RvError::FunctionCanceled
            )
        )
    }

    /// For the port, when a key was to be made, taken in or opened.
    pub(crate) fn engine(self, step: &'static str) -> EngineError {
        match self {
            Self::Gone(why) => EngineError::Unavailable(why),
            Self::Code(RvError::DeviceMemory) => EngineError::Unavailable(FULL),
            fault @ (Self::Code(_) | Self::Binding) => {
                tracing::error!(?fault, step, "the token failed");
                EngineError::Failed(step)
            }
        }
    }

    /// For the port, when a key was to be used.
    pub(crate) fn operation(self, step: &'static str) -> OperationError {
        match self {
            Self::Gone(why) => OperationError::Unavailable(why),
            Self::Code(RvError::DeviceMemory) => OperationError::Unavailable(FULL),
            fault @ (Self::Code(_) | Self::Binding) => {
                tracing::error!(?fault, step, "the token failed");
                OperationError::Failed(step)
            }
        }
    }

    /// For a decryption: whatever is said of the ciphertext is the one failure. A token that was
    /// lost is known by now, so what is left is said of the ciphertext.
    pub(crate) fn decryption(self, step: &'static str) -> OperationError {
        match self {
            Self::Code(
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::DeviceError
                | RvError::GeneralError
                | RvError::FunctionFailed,
            ) => OperationError::DecryptionFailed,
            other => other.operation(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_token_an_lost_object_and_a_vague_answer_are_three_things() {
        let lost =
            [RvError::DeviceRemoved, RvError::TokenNotPresent, RvError::SessionHandleInvalid];
        for code in lost {
            let fault = Fault::Code(code);
            assert!(fault.is_lost_token() && !fault.is_lost_object() && !fault.is_unsure());
        }
        for code in [RvError::ObjectHandleInvalid, RvError::KeyHandleInvalid] {
            let fault = Fault::Code(code);
            assert!(!fault.is_lost_token() && fault.is_lost_object() && !fault.is_unsure());
        }
        for code in [RvError::GeneralError, RvError::DeviceError] {
            let fault = Fault::Code(code);
            assert!(!fault.is_lost_token() && !fault.is_lost_object() && fault.is_unsure());
        }
        for code in [RvError::PinIncorrect, RvError::MechanismInvalid, RvError::KeySizeRange] {
            let fault = Fault::Code(code);
            assert!(!fault.is_lost_token() && !fault.is_lost_object() && !fault.is_unsure());
        }
    }

    #[test]
    fn what_a_token_says_of_a_ciphertext_is_one_failure_and_nothing_else_is() {
        for code in [RvError::EncryptedDataInvalid, RvError::DeviceError, RvError::DataLenRange] {
            let told = Fault::Code(code).decryption("test");
            assert!(matches!(told, OperationError::DecryptionFailed), "{code:?}");
        }
        let told = Fault::Code(RvError::MechanismInvalid).decryption("test");
        assert!(matches!(told, OperationError::Failed("test")));
        let told = Fault::Gone(ABSENT).decryption("test");
        assert!(matches!(told, OperationError::Unavailable(_)));
        let told = Fault::Code(RvError::DeviceMemory).operation("test");
        assert!(matches!(told, OperationError::Unavailable(_)));
    }
}
