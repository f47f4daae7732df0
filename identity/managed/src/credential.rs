//! What the HSM proves itself with to the issuer.

use zeroize::Zeroizing;

/// Longest credential, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// Of what kind a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A secret that the issuer gave out (`client_secret`).
    Secret,
    /// A token of another issuer that this one was told to believe (`client_assertion`).
    FederatedToken,
}

/// A credential. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Zeroizing<String>);

/// Why it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file of the credential must hold it in one line of at most {CREDENTIAL_BYTES_MAX} bytes, \
     without spaces, and nothing else"
)]
pub struct CredentialRefusal;

impl Credential {
    /// Takes a credential from the bytes of its file: one line.
    ///
    /// # Errors
    /// When it is empty, too long, or no plain text.
    pub fn from_file(bytes: Vec<u8>) -> Result<Self, CredentialRefusal> {
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| CredentialRefusal)?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        Self::new(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }

    /// Takes the credential itself.
    ///
    /// # Errors
    /// When it is empty, too long, or no plain text.
    pub fn new(text: String) -> Result<Self, CredentialRefusal> {
        let text = Zeroizing::new(text);
        let is_line = (1..=CREDENTIAL_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_line { Ok(Self(text)) } else { Err(CredentialRefusal) }
    }

    /// The credential itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(…)")
    }
}
