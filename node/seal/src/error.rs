//! Why sealing keys are not had, in words that tell one cause from another.

use std::io;
use std::path::PathBuf;

use casemate_engine_pkcs11::TokenError;
use casemate_engine_soft::seal::SealError;

/// Registers of a TPM, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pcrs(Vec<u8>);

impl From<Vec<u8>> for Pcrs {
    fn from(numbers: Vec<u8>) -> Self {
        Self(numbers)
    }
}

impl std::fmt::Display for Pcrs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u8::to_string).collect();
        write!(f, "PCR {}", numbers.join(", "))
    }
}

/// Why a guard does not give or take sealing keys.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no slot.
    #[error(
        "there is no seal at {}: put it back from a copy, or recover the HSM from its security \
         domain",
        path.display()
    )]
    NoSlot {
        /// Where it should be.
        path: PathBuf,
    },
    /// The passphrase, credential, PIN or key file is not there.
    #[error("there is no file {} to open the seal with: put it back", path.display())]
    NoFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("others may read {} (mode {mode:o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is something else than a plain file.
    #[error("{} is no plain file: name one", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{} cannot be used: check its owner, its size and the disk", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The passphrase is empty.
    #[error("{} holds no passphrase: write one into it, in one line", path.display())]
    EmptyPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase is not the one.
    #[error(
        "the passphrase in {} does not open the seal {}: it is another one, or the seal was \
         changed. Put the right passphrase or the untouched seal back",
        file.display(),
        slot.display()
    )]
    WrongPassphrase {
        /// The passphrase file.
        file: PathBuf,
        /// The slot.
        slot: PathBuf,
    },
    /// The credential has another length than a key.
    #[error(
        "the credential {} has {found} bytes, and 32 random ones are needed: head -c 32 \
         /dev/urandom | systemd-creds encrypt --name=NAME - FILE",
        file.display()
    )]
    CredentialLength {
        /// The file.
        file: PathBuf,
        /// Its length.
        found: usize,
    },
    /// The credential is not the one.
    #[error(
        "the credential {} does not open the seal {}: it is another one, or the seal was changed. \
         Give the service the right credential or put the untouched seal back",
        file.display(),
        slot.display()
    )]
    WrongCredential {
        /// The credential's file.
        file: PathBuf,
        /// The slot.
        slot: PathBuf,
    },
    /// The token.
    #[error(transparent)]
    Token(TokenError),
    /// The token does not hold the key.
    #[error(
        "the token '{label}' does not open the seal {}: it is another token, its key 'casemate \
         node seal' was removed, or the seal was changed. Insert the right token or put the \
         untouched seal back",
        slot.display()
    )]
    OtherToken {
        /// The token.
        label: String,
        /// The slot.
        slot: PathBuf,
    },
    /// The program was built without.
    #[error(
        "this program was built without TPM support: install libtss2-dev and build it with \
         --features tpm, or choose another [seal]"
    )]
    WithoutTpm,
    /// The TPM does not answer.
    #[error(
        "no TPM answers at {device}: look whether the machine has one that is switched on, and who \
         may open it"
    )]
    NoTpm {
        /// How it was to be reached.
        device: String,
        /// What its library said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The TPM refuses a step.
    #[error("the TPM at {device} failed to {step}: look at the machine's log")]
    Tpm {
        /// How it was reached.
        device: String,
        /// What was to be done.
        step: &'static str,
        /// What its library said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another TPM, or one that was cleared.
    #[error(
        "the TPM at {device} did not make the seal {}: it is another machine's or was cleared, or \
         the seal was changed. Put the seal back where it was made, or recover the HSM from its \
         security domain",
        slot.display()
    )]
    OtherTpm {
        /// How it was reached.
        device: String,
        /// The slot.
        slot: PathBuf,
    },
    /// The machine was started otherwise.
    #[error(
        "the TPM keeps the seal {} shut: a register of {pcrs} has another value than when the seal \
         was made. If firmware or boot settings were changed on purpose, start what was there \
         before, change to a seal without pcrs, and change back afterwards",
        slot.display()
    )]
    PcrsChanged {
        /// The slot.
        slot: PathBuf,
        /// The registers.
        pcrs: Pcrs,
    },
    /// The slot was made with another guard.
    #[error(
        "the seal {} was made with something else than the node's file names: put the old [seal] \
         back into the file",
        slot.display()
    )]
    OtherGuard {
        /// The slot.
        slot: PathBuf,
    },
    /// The slot is none, or of a format that is not known.
    #[error("the seal {} is not understood: put the untouched one back", slot.display())]
    Malformed {
        /// The slot.
        slot: PathBuf,
        /// Why.
        #[source]
        cause: Option<SealError>,
    },
    /// The library failed.
    #[error("the seal {} could not be made", slot.display())]
    Seal {
        /// The slot.
        slot: PathBuf,
        /// Why.
        #[source]
        cause: SealError,
    },
    /// The new slot does not give back what was put in.
    #[error(
        "the new seal {} does not give back what was put into it; nothing was changed",
        slot.display()
    )]
    NotGivenBack {
        /// The slot.
        slot: PathBuf,
    },
    /// None of the keys opens the node seal.
    #[error(
        "no key of the seal in force opens {}: the seal or that file was put back from another \
         time; nothing was changed",
        sealed.display()
    )]
    ForeignKeys {
        /// The node seal.
        sealed: PathBuf,
    },
    /// The order of a resealing process is not understood.
    #[error("this command is started by a node, with an order on its standard input")]
    NoOrder(#[source] serde_json::Error),
}

impl GuardError {
    /// Whether it may pass by itself, so that a later start may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Token(error) => !error.lasts(),
            Self::NoTpm { .. } | Self::Tpm { .. } => true,
            _ => false,
        }
    }
}
