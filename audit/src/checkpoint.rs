//! Checkpoints (C2SP tlog-checkpoint): how many records there are, and the root over them, signed.
//! And the certificate, by which the HSM's identity key says whose key signs them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::merkle::Hash;
use crate::note::{NoteError, Signer, VerifierKey, sign};

/// The first line of a certificate.
const CERTIFICATE_TITLE: &str = "casemate audit certificate v1";

/// How many records a log holds, and the root over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// A checkpoint that was signed, and not checked unless it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose log it is.
    pub origin: String,
    /// What it says.
    pub head: Head,
    /// The signed note.
    pub note: String,
}

impl Checkpoint {
    /// Reads a note without looking at its signatures.
    ///
    /// # Errors
    /// When it is no checkpoint.
    pub fn read(note: &str) -> Result<Self, NoteError> {
        let (origin, head) = parse(note)?;
        Ok(Self { origin: origin.to_owned(), head, note: note.to_owned() })
    }

    /// Reads a note that this key signed for its own log.
    ///
    /// # Errors
    /// When it is no checkpoint, or not one by this key.
    pub fn verified(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        key.open(note)?;
        let checkpoint = Self::read(note)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(NoteError::Unsigned) }
    }

    /// Signs a head.
    pub fn sign(head: Head, key: &VerifierKey, signer: &dyn Signer) -> Self {
        let root = BASE64_STANDARD.encode(head.root);
        let text = format!("{}\n{}\n{root}\n", key.name(), head.size);
        let note = sign(&text, key, signer);
        Self { origin: key.name().to_owned(), head, note }
    }
}

fn parse(note: &str) -> Result<(&str, Head), NoteError> {
    let mut lines = note.split('\n');
    let mut next = || lines.next().ok_or(NoteError::Form);
    let (origin, size, root, end) = (next()?, next()?, next()?, next()?);
    let plain = size == "0" || !size.starts_with('0');
    let digits = plain && size.bytes().all(|byte| byte.is_ascii_digit());
    let root = BASE64_STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
    match (size.parse(), root) {
        (Ok(size), Some(root)) if digits && !origin.is_empty() && end.is_empty() => {
            Ok((origin, Head { size, root }))
        }
        _ => Err(NoteError::Form),
    }
}

/// The identity key's word for whose key signs a log.
///
/// The text is five lines: the title, `hsm NAME ID`, `log VKEY`, `identity VKEY`, `time SECONDS`.
pub fn certify(
    log: &VerifierKey,
    hsm: &str,
    time: &str,
    identity: &VerifierKey,
    signer: &dyn Signer,
) -> String {
    let keys = format!("log {log}\nidentity {identity}");
    let text = format!("{CERTIFICATE_TITLE}\nhsm {hsm}\n{keys}\ntime {time}\n");
    sign(&text, identity, signer)
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The key that signs the log's checkpoints.
    pub log: VerifierKey,
    /// The HSM's identity key.
    pub identity: VerifierKey,
}

impl Certificate {
    /// Reads a certificate. It is signed by the identity key that it names itself: whose key that
    /// is, must be known from elsewhere.
    ///
    /// # Errors
    /// When it is none, or was altered.
    pub fn read(note: &str) -> Result<Self, NoteError> {
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        if signatures.lines().count() != 1 {
            return Err(NoteError::Form);
        }
        let mut lines = text.lines();
        if lines.next() != Some(CERTIFICATE_TITLE) {
            return Err(NoteError::Form);
        }
        let mut value = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name));
            line.ok_or(NoteError::Form)
        };
        value("hsm ")?;
        let log = VerifierKey::parse(value("log ")?)?;
        let identity = VerifierKey::parse(value("identity ")?)?;
        value("time ")?;
        identity.open(note)?;
        Ok(Self { log, identity })
    }
}

#[cfg(test)]
mod tests;
