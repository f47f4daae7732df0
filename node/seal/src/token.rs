//! A PKCS #11 token: it makes a key that never leaves it, and seals a random key under that.

use std::path::Path;

use casemate_engine_pkcs11::{Token, TokenError, TokenOptions, TokenSealed};
use casemate_engine_port::Secret;
use casemate_engine_soft::seal::{open_with_key, under_key};

use crate::blob::{Reader, Writer};
use crate::error::GuardError;
use crate::guard::{Keeper, not_opened};
use crate::keys::fresh;

/// The kind of such a slot.
const KIND: u8 = 4;
/// Longest part, in bytes.
const PART_BYTES_MAX: usize = 128;

/// A token whose module is loaded and whose PIN is read.
pub(crate) struct TokenKey(Token);

impl TokenKey {
    pub(crate) fn load(module: &Path, label: &str, pin_file: &Path) -> Result<Self, GuardError> {
        let options = TokenOptions {
            module: module.to_owned(),
            label: label.to_owned(),
            pin_file: pin_file.to_owned(),
        };
        Ok(Self(Token::load(&options)?))
    }
}

impl Keeper for TokenKey {
    fn seal(&self, payload: &Secret, slot: &Path) -> Result<Vec<u8>, GuardError> {
        let key = fresh();
        let sealed = self.0.seal(&key)?;
        let inner = under_key(&key, payload)
            .map_err(|cause| GuardError::Seal { slot: slot.to_owned(), cause })?;
        let mut out = Writer::new(KIND);
        out.part(&sealed.id);
        out.part(&sealed.iv);
        out.part(&sealed.ciphertext);
        Ok(out.end(&inner))
    }

    fn open(&self, sealed: &[u8], slot: &Path) -> Result<Secret, GuardError> {
        let mut parts = Reader::new(KIND, sealed, slot)?;
        let mut part = || parts.part(PART_BYTES_MAX).map(<[u8]>::to_vec);
        let wrapped = TokenSealed { id: part()?, iv: part()?, ciphertext: part()? };
        let inner = parts.rest();
        let wrong =
            || GuardError::OtherToken { label: self.0.label().to_owned(), slot: slot.to_owned() };
        let key = self.0.unseal(&wrapped)?.ok_or_else(wrong)?;
        open_with_key(&key, inner).map_err(|cause| not_opened(cause, slot, wrong()))
    }
}

impl From<TokenError> for GuardError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}
