//! `casemate security-domain …`: what officers do with their keys, without a network.
//!
//! Only `rotate` asks an HSM, and needs no key for it. Keys are read, used and wiped; no secret is
//! printed or written.

mod approve;
mod drill;
mod files;
mod inspect;
mod request;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use casemate_quorum::{
    BlobError, CertificateError, OpenError, OpenedBlob, Primitives, QuorumRefusal, RequestError,
};
use clap::Subcommand;

/// Commands over a security domain.
#[derive(Debug, Subcommand)]
pub enum SecurityDomainCommand {
    /// Show who holds a security domain and what it says of itself.
    Inspect {
        /// The file that a download gave.
        file: PathBuf,
        /// Certificates of officers, to show names instead of thumbprints.
        #[arg(long, value_name = "FILE")]
        cert: Vec<PathBuf>,
    },
    /// Prove that these keys open a security domain. Writes nothing, and shows nothing of it.
    Drill {
        /// The file that a download gave.
        file: PathBuf,
        /// Officers' keys, PEM; each with its certificate beside it: NAME.key and NAME.cer.
        #[arg(long, value_name = "NAME.key", required = true)]
        key: Vec<PathBuf>,
    },
    /// Write the request that gives a security domain to officers.
    Request {
        /// How many of the officers are needed.
        #[arg(long)]
        quorum: u64,
        /// The officers' certificates, PEM or DER.
        #[arg(long, value_name = "FILE", required = true)]
        cert: Vec<PathBuf>,
        /// Ask for a new secret too, a new epoch; this is the security domain's present file.
        /// Without it the secret stays, and old shares go on opening old files.
        #[arg(long, value_name = "FILE")]
        rotate: Option<PathBuf>,
        /// With a new epoch, make the backups of all epochs before this one unreadable, for good.
        #[arg(long, value_name = "EPOCH", requires = "rotate")]
        forget_before: Option<u32>,
    },
    /// Change the secret of a running HSM's security domain, as an approved request asks for it;
    /// the one command here that needs the network.
    Rotate(RotateArguments),
    /// Add an officer's approval to a request: its word that others may hold the domain.
    Approve {
        /// The security domain's present file, which says of which domain and download it is.
        #[arg(long, value_name = "FILE")]
        domain: PathBuf,
        /// The request.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// The number of the download that is asked for [default: the one after the file's].
        #[arg(long, value_name = "NUMBER")]
        download: Option<u64>,
        /// The officer's key, PEM; with its certificate beside it: NAME.key and NAME.cer.
        #[arg(long, value_name = "NAME.key")]
        key: PathBuf,
    },
}

/// How the secret of an HSM's security domain is changed.
#[derive(Debug, Clone, clap::Args)]
pub struct RotateArguments {
    /// The HSM: https://NAME, with its port if that is not 443.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// The CA of the HSM's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// A file with an Administrator's access token for the HSM.
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// The request, from `request --rotate`, with the approvals that are needed.
    #[arg(long, value_name = "FILE")]
    pub request: PathBuf,
    /// Where the new security domain goes; no such file may exist.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum SecurityDomainError {
    /// A file.
    #[error("{} cannot be read; give the path of a file of at most 1 MiB", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The output.
    #[error("the result cannot be written")]
    Write(#[from] io::Error),
    /// No blob.
    #[error("{} is no security domain: give the file that a download wrote", path.display())]
    Blob {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: BlobError,
    },
    /// No certificate.
    #[error("{} cannot hold a share", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: CertificateError,
    },
    /// No key.
    #[error(
        "{} is no unencrypted RSA key in PKCS #8 PEM; `openssl pkcs8 -topk8 -nocrypt` makes one, \
         also of a key with a password", path.display()
    )]
    Key {
        /// Which.
        path: PathBuf,
    },
    /// Key and certificate of different pairs.
    #[error("{} and the certificate beside it are not of one key", path.display())]
    OtherKey {
        /// The key's file.
        path: PathBuf,
    },
    /// The quorum.
    #[error(transparent)]
    Quorum(#[from] QuorumRefusal),
    /// The request.
    #[error("{} is no request for a security domain", path.display())]
    Request {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: RequestError,
    },
    /// The blob does not open.
    #[error("this security domain does not open with these keys")]
    Open(#[from] OpenError),
    /// A blob that does not say which domain it is.
    #[error("{} does not say of which domain it is: it is not of a Casemate HSM", path.display())]
    NoFacts {
        /// Which.
        path: PathBuf,
    },
    /// A request for a domain of another epoch.
    #[error(
        "the request is for epoch {asked}, and after {} comes epoch {next}; write it anew with the \
         present file", path.display()
    )]
    OtherEpoch {
        /// The domain's file.
        path: PathBuf,
        /// The epoch of the request.
        asked: u32,
        /// The one that is next.
        next: u32,
    },
    /// The officer holds no share.
    #[error(
        "{} holds no share of this security domain, so its approval would not count",
        path.display()
    )]
    NotAHolder {
        /// The key's file.
        path: PathBuf,
    },
    /// The library failed.
    #[error("the request could not be signed; try again")]
    NotSigned,
}

/// Opens a security domain's file with officers' keys.
///
/// # Errors
/// When a file is not what it should be, or the keys do not open the domain.
pub fn open_domain(
    file: &Path,
    keys: &[PathBuf],
    primitives: &dyn Primitives,
) -> Result<OpenedBlob, SecurityDomainError> {
    drill::open(file, keys, primitives).map(|(_, opened)| opened)
}

/// Carries the command out.
///
/// # Errors
/// When a file is not what it should be, or the keys do not open the domain.
pub fn security_domain(
    command: &SecurityDomainCommand,
    primitives: &dyn Primitives,
    out: &mut dyn Write,
) -> Result<(), SecurityDomainError> {
    match command {
        SecurityDomainCommand::Inspect { file, cert } => {
            inspect::inspect(file, cert, primitives, out)
        }
        SecurityDomainCommand::Drill { file, key } => drill::drill(file, key, primitives, out),
        SecurityDomainCommand::Request { quorum, cert, rotate, forget_before } => {
            let rotate = rotate.as_deref().map(|domain| (domain, *forget_before));
            request::request(*quorum, cert, rotate, primitives, out)
        }
        // Asked over the network by whoever carries the command line out.
        SecurityDomainCommand::Rotate(_) => Ok(()),
        SecurityDomainCommand::Approve { domain, request, download, key } => {
            let asked = approve::Asked { domain, request, download: *download, key };
            approve::approve(&asked, primitives, out)
        }
    }
}
