//! A secret under a key of the token's own: for whoever keeps something outside the token that
//! shall not open without it. No key of an HSM is involved.
//!
//! Each secret gets a key that the token makes for it. One that lies there already, whatever its
//! name, is never taken: whoever has the PIN could have put it in and know it.

use casemate_engine_port::Secret;
use casemate_engine_soft::random;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;

use crate::token::{Token, TokenError};

/// Length of a key's id, in bytes.
const ID_BYTES: usize = 16;
const IV_BYTES: usize = 12;
const TAG_BITS: u64 = 128;
/// What the ciphertext is bound to.
const LABEL: &[u8] = b"casemate node seal v1";
/// What people see in the token's list.
const SHOWN: &[u8] = b"casemate node seal";

/// A secret that opens with a key of the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSealed {
    /// The id of that key.
    pub id: Vec<u8>,
    /// The initialisation vector.
    pub iv: Vec<u8>,
    /// The ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

impl Token {
    /// Makes a key in the token and seals a short secret under it.
    ///
    /// # Errors
    /// When the token is not there, refuses the PIN, or makes or uses no such key.
    pub fn seal(&self, secret: &Secret) -> Result<TokenSealed, TokenError> {
        self.once(|session| {
            let (mut id, mut iv) = (vec![0; ID_BYTES], vec![0; IV_BYTES]);
            random(&mut id);
            random(&mut iv);
            let key = session
                .generate_key(&Mechanism::AesKeyGen, &template(&id))
                .map_err(|error| self.failed("make a key", error))?;
            let ciphertext = gcm(&iv, |mechanism| session.encrypt(mechanism, key, secret.expose()));
            let ciphertext = ciphertext.map_err(|error| self.failed("seal with AES-GCM", error))?;
            Ok(TokenSealed { id, iv, ciphertext })
        })
    }

    /// Opens it; `None` where the token does not hold the key, or another one under its id, or the
    /// bytes were changed.
    ///
    /// # Errors
    /// When the token is not there, refuses the PIN, or fails.
    pub fn unseal(&self, sealed: &TokenSealed) -> Result<Option<Secret>, TokenError> {
        if sealed.iv.len() != IV_BYTES {
            return Ok(None);
        }
        self.once(|session| {
            let found = session
                .find_objects(&named(&sealed.id))
                .map_err(|error| self.failed("find a key", error))?;
            let [key] = found.as_slice() else { return Ok(None) };
            let opened =
                gcm(&sealed.iv, |mechanism| session.decrypt(mechanism, *key, &sealed.ciphertext));
            match opened {
                Ok(secret) => Ok(Some(Secret::new(secret))),
                Err(Error::Pkcs11(code, _)) if is_of_the_ciphertext(code) => Ok(None),
                Err(error) => Err(self.failed("open with AES-GCM", error)),
            }
        })
    }

    /// Logs in, works, and lets go of the module, so that it can be begun anew.
    fn once<T>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let session = self.log_in_alone()?;
        let done = work(&session);
        drop(session);
        self.let_go();
        done
    }
}

fn gcm<T>(iv: &[u8], call: impl FnOnce(&Mechanism<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let mut iv = iv.to_vec();
    let params = GcmParams::new(&mut iv, LABEL, TAG_BITS.into())?;
    call(&Mechanism::AesGcm(params))
}

/// What tokens say of a tag that does not fit.
fn is_of_the_ciphertext(code: RvError) -> bool {
    matches!(
        code,
        RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::GeneralError
            | RvError::FunctionFailed
    )
}

fn named(id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Id(id.to_vec()),
    ]
}

fn template(id: &[u8]) -> Vec<Attribute> {
    let mut attributes = named(id);
    attributes.extend([
        Attribute::Label(SHOWN.to_vec()),
        Attribute::ValueLen(32.into()),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
    ]);
    attributes
}
