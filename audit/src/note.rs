//! Signed notes and their verifier keys (C2SP signed-note), with Ed25519.
//!
//! A note is text that ends with a newline, an empty line, and signature lines `— NAME BASE64`.
//! The name of a key may hold neither a space nor a plus sign.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::merkle::sha256;

/// Longest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 16 << 10;
/// Most signature lines that are looked at.
const SIGNATURES_MAX: usize = 16;
/// The signed-note number of Ed25519.
const ED25519_NUMBER: u8 = 1;
const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const KEY_ID_BYTES: usize = 4;

/// Makes signatures. The private key stays with whoever implements this.
pub trait Signer: Send + Sync {
    /// The Ed25519 public key.
    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES];
    /// An Ed25519 signature.
    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES];
}

/// The key that verifies somebody's notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public_key: [u8; PUBLIC_KEY_BYTES],
}

/// Why something is no note, or not a note of the one who is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The key's text.
    #[error("this is no verifier key: give NAME+ID+KEY, as `casemate audit key` prints it")]
    Key,
    /// The note's text.
    #[error("this is no signed note")]
    Form,
    /// No signature by that key.
    #[error("the note carries no signature by the trusted key")]
    Unsigned,
    /// A signature that is wrong.
    #[error("the note's signature is wrong: the note was altered")]
    Forged,
}

impl VerifierKey {
    /// A key and the name it signs under.
    ///
    /// # Errors
    /// When the name is empty or holds a space, a control character or a plus sign.
    pub fn new(name: &str, public_key: [u8; PUBLIC_KEY_BYTES]) -> Result<Self, NoteError> {
        let odd = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '+';
        if name.is_empty() || name.contains(odd) {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), public_key })
    }

    /// Reads `NAME+ID+KEY`.
    ///
    /// # Errors
    /// When it is none, or its parts do not belong together.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Key);
        }
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519_NUMBER, public_key)) = bytes.split_first() else {
            return Err(NoteError::Key);
        };
        let key = Self::new(name, public_key.try_into().map_err(|_| NoteError::Key)?)?;
        if key.id_text() == id { Ok(key) } else { Err(NoteError::Key) }
    }

    /// Who signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the note is signed by this key; its text if so.
    ///
    /// # Errors
    /// When it is no note, not signed by this key, or altered.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        for (name, id, signature) in signatures.into_iter().flatten() {
            if name == self.name && id == self.id() {
                let key = UnparsedPublicKey::new(&ED25519, self.public_key);
                return match key.verify(text.as_bytes(), &signature) {
                    Ok(()) => Ok(text),
                    Err(_) => Err(NoteError::Forged),
                };
            }
        }
        Err(NoteError::Unsigned)
    }

    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let mut bytes = self.name.clone().into_bytes();
        bytes.extend_from_slice(&[b'\n', ED25519_NUMBER]);
        bytes.extend_from_slice(&self.public_key);
        let [a, b, c, d, ..] = sha256(&bytes);
        [a, b, c, d]
    }

    fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519_NUMBER];
        key.extend_from_slice(&self.public_key);
        write!(f, "{}+{}+{}", self.name, self.id_text(), BASE64_STANDARD.encode(key))
    }
}

/// Signs a text, which ends with a newline, under a name that [`VerifierKey::new`] takes.
pub fn sign(text: &str, key: &VerifierKey, signer: &dyn Signer) -> String {
    let mut signature = key.id().to_vec();
    signature.extend_from_slice(&signer.sign(text.as_bytes()));
    format!("{text}\n— {} {}\n", key.name, BASE64_STANDARD.encode(signature))
}

type Signature<'a> = (&'a str, [u8; KEY_ID_BYTES], Vec<u8>);

/// The text of a note, and its signatures; one that cannot be read is `None`.
fn split(note: &str) -> Result<(&str, Vec<Option<Signature<'_>>>), NoteError> {
    let bad = |letter: char| letter.is_control() && letter != '\n';
    if note.len() > NOTE_BYTES_MAX || note.contains(bad) {
        return Err(NoteError::Form);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Form)?;
    let (text, below) = (&note[..=at], &note[at + 2..]);
    let lines = below.strip_suffix('\n').ok_or(NoteError::Form)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == SIGNATURES_MAX {
            return Err(NoteError::Form);
        }
        let (name, encoded) =
            line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Form)?;
        let bytes = BASE64_STANDARD.decode(encoded).map_err(|_| NoteError::Form)?;
        let parts = bytes.split_first_chunk::<KEY_ID_BYTES>();
        signatures.push(parts.map(|(id, signature)| (name, *id, signature.to_vec())));
    }
    Ok((text, signatures))
}

#[cfg(test)]
mod tests;
