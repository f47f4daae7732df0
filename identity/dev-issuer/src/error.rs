//! What can go wrong in the issuer's own folder and directory.

use std::path::PathBuf;

/// Why the issuer could not be opened or its directory not be changed.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// A file of the issuer could not be read or written.
    #[error("could not {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The directory file is not what this program wrote.
    #[error("{path} is not a directory file of the development issuer")]
    MalformedDirectory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// The directory file was written by a newer program.
    #[error("{path} has format {found}; this program knows format {known}")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format known.
        known: u32,
    },
    /// The signing key cannot be read as an RSA key.
    #[error("{path} does not hold an RSA signing key; remove it to have a new one made")]
    MalformedKey {
        /// The file.
        path: PathBuf,
    },
    /// The library could not make a key, a signature or random bytes.
    #[error("the cryptographic library could not {action}")]
    Cryptography {
        /// What was tried.
        action: &'static str,
    },
    /// A name is empty, too long, has control characters or looks like an id.
    #[error("a name has 1 to {limit} printable characters and is not itself a GUID")]
    BadName {
        /// The largest length in bytes.
        limit: usize,
    },
    /// The name is taken.
    #[error("the name {name} is taken; names of apps, users and groups are all different")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// There is no such principal.
    #[error("there is no {kind} with the name or object id {wanted}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// By which name or id.
        wanted: String,
    },
    /// Groups do not hold groups here.
    #[error("{name} is a group; a group's members are apps and users")]
    NestedGroup {
        /// The name of the would-be member.
        name: String,
    },
    /// The directory is full.
    #[error("the directory holds at most {limit} {kind}")]
    Full {
        /// Of what.
        kind: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The certificate cannot be used.
    #[error("the certificate is not a PEM certificate with an RSA, P-256 or P-384 key")]
    BadCertificate,
    /// The federated issuer is not an `https` address.
    #[error("the federated issuer must be an https address, and the subject not empty")]
    BadFederation,
}
