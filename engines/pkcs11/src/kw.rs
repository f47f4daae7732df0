//! AES key wrap (RFC 3394, RFC 5649) of a caller's bytes, over single blocks of the token's AES.
//!
//! The token's own mechanisms wrap objects, not bytes, and not as the standard says where the bytes
//! are few or no multiple of eight (SoftHSM2). So the rounds are those of the crate `aes-kw`, and
//! its block cipher is CKM_AES_ECB with the key in the token: six calls for eight bytes.

use std::cell::Cell;

use aes_kw::cipher::common::ParBlocksSizeUser;
use aes_kw::cipher::consts::{U1, U16};
use aes_kw::cipher::inout::InOut;
use aes_kw::cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
};
use aes_kw::{AesKw, AesKwp, InnerInit};
use casemate_engine_port::Secret;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::{Zeroize, Zeroizing};

const SEMIBLOCK_BYTES: usize = 8;

/// The most bytes that are wrapped here: 3,072 calls of the token.
pub(crate) const BYTES_MAX: usize = 4096;

/// With or without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// RFC 3394: at least 16 bytes and a multiple of 8.
    None,
    /// RFC 5649.
    Some,
}

/// Wraps; the caller has checked the length.
pub(crate) fn wrap(
    session: &Session,
    key: ObjectHandle,
    padding: Padding,
    plaintext: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; plaintext.len().next_multiple_of(SEMIBLOCK_BYTES) + SEMIBLOCK_BYTES];
    let cipher = TokenCipher::new(session, key);
    let done = match padding {
        Padding::None => AesKw::inner_init(&cipher).wrap_key(plaintext, &mut out).map(<[u8]>::len),
        Padding::Some => AesKwp::inner_init(&cipher).wrap_key(plaintext, &mut out).map(<[u8]>::len),
    };
    cipher.judge()?;
    let length = done.map_err(|_| Error::InvalidValue)?;
    out.truncate(length);
    Ok(out)
}

/// Unwraps; `None` for whatever is wrong with the ciphertext.
pub(crate) fn unwrap(
    session: &Session,
    key: ObjectHandle,
    padding: Padding,
    ciphertext: &[u8],
) -> Result<Option<Secret>, Error> {
    let least = match padding {
        Padding::None => 3 * SEMIBLOCK_BYTES,
        Padding::Some => 2 * SEMIBLOCK_BYTES,
    };
    if ciphertext.len() < least || !ciphertext.len().is_multiple_of(SEMIBLOCK_BYTES) {
        return Ok(None);
    }
    let mut out = Zeroizing::new(vec![0; ciphertext.len()]);
    let cipher = TokenCipher::new(session, key);
    let done = match padding {
        Padding::None => {
            AesKw::inner_init(&cipher).unwrap_key(ciphertext, &mut out).map(<[u8]>::len)
        }
        Padding::Some => {
            AesKwp::inner_init(&cipher).unwrap_key(ciphertext, &mut out).map(<[u8]>::len)
        }
    };
    cipher.judge()?;
    Ok(done.ok().map(|length| Secret::new(out[..length].to_vec())))
}

/// The token's AES as the crate's block cipher. It cannot say there that a call failed; what failed
/// is kept, nothing more is asked, and the result is thrown away.
struct TokenCipher<'a> {
    session: &'a Session,
    key: ObjectHandle,
    failed: Cell<Option<Error>>,
}

impl<'a> TokenCipher<'a> {
    fn new(session: &'a Session, key: ObjectHandle) -> Self {
        Self { session, key, failed: Cell::new(None) }
    }

    fn judge(self) -> Result<(), Error> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }

    fn block(
        &self,
        mut block: InOut<'_, '_, Block<Self>>,
        call: impl Fn(&[u8]) -> Result<Vec<u8>, Error>,
    ) {
        let earlier = self.failed.take();
        if earlier.is_some() {
            self.failed.set(earlier);
            return;
        }
        match call(block.get_in().as_slice()) {
            Ok(mut done) => {
                if done.len() == block.get_in().len() {
                    block.get_out().copy_from_slice(&done);
                } else {
                    self.failed.set(Some(Error::InvalidValue));
                }
                done.zeroize();
            }
            Err(error) => self.failed.set(Some(error)),
        }
    }
}

impl BlockSizeUser for TokenCipher<'_> {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for TokenCipher<'_> {
    type ParBlocksSize = U1;
}

impl BlockCipherEncBackend for TokenCipher<'_> {
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.block(block, |bytes| self.session.encrypt(&Mechanism::AesEcb, self.key, bytes));
    }
}

impl BlockCipherDecBackend for TokenCipher<'_> {
    fn decrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.block(block, |bytes| self.session.decrypt(&Mechanism::AesEcb, self.key, bytes));
    }
}

impl BlockCipherEncrypt for TokenCipher<'_> {
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        f.call(self);
    }
}

impl BlockCipherDecrypt for TokenCipher<'_> {
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
        f.call(self);
    }
}
