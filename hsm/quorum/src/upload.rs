//! A security domain on its way into another HSM: the items under a new blob key, and that
//! encrypted to the HSM's exchange key.

use serde::{Deserialize, Serialize};

use crate::blob::{
    BLOB_BYTES_MAX, EncData, ITEMS_MAX, Item, KDF, SealError, decrypt_items, encrypt_items,
    fresh_master, repeated,
};
use crate::{Hidden, Holder, JweError, Primitives, PrivateKey, SECRET_BYTES, jwe};

/// What clients write beside the wrapped key, to the letter.
const KID: &str = "not used";

#[derive(Deserialize, Serialize)]
struct Wire {
    #[serde(rename = "EncData")]
    data: EncData,
    #[serde(rename = "WrappedKey")]
    key: WrappedKey,
}

#[derive(Deserialize, Serialize)]
struct WrappedKey {
    enc_key: String,
    x5t_256: String,
}

/// An upload that was read and is not yet opened.
pub struct Upload(Wire);

/// Why an upload is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Beyond [`BLOB_BYTES_MAX`].
    #[error("a security domain has at most {BLOB_BYTES_MAX} bytes, not {found}")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// No JSON of this form.
    #[error(
        "`value` is not a security domain that was wrapped for an upload, at line {line}, column \
         {column}"
    )]
    Form {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// Another derivation.
    #[error("its `kdf` is not {KDF}")]
    Kdf,
    /// No items, or too many.
    #[error("it has {found} items; a security domain has 1 to {ITEMS_MAX}")]
    Items {
        /// How many there are.
        found: usize,
    },
    /// A tag twice.
    #[error("the item `{tag}` is there twice")]
    Repeated {
        /// Which.
        tag: String,
    },
    /// Wrapped to another key.
    #[error(
        "it is wrapped to the exchange key {found}, and this HSM's is {expected}; fetch the \
         exchange key again and wrap it to that"
    )]
    OtherExchangeKey {
        /// The thumbprint that it names.
        found: String,
        /// Ours.
        expected: String,
    },
    /// The blob key does not open.
    #[error("its wrapped key does not open: {0}")]
    WrappedKey(JweError),
    /// A blob key of another length.
    #[error("its blob key has {found} bytes instead of 32")]
    MasterLength {
        /// How many it has.
        found: usize,
    },
    /// An item does not open.
    #[error("the item `{tag}` does not open: {cause}")]
    Item {
        /// Which.
        tag: String,
        /// What is wrong.
        cause: JweError,
    },
}

impl Upload {
    /// Reads the text of `value`.
    pub fn parse(text: &[u8]) -> Result<Self, UploadError> {
        if text.len() > BLOB_BYTES_MAX {
            return Err(UploadError::TooLong { found: text.len() });
        }
        let wire: Wire = serde_json::from_slice(text)
            .map_err(|error| UploadError::Form { line: error.line(), column: error.column() })?;
        if wire.data.kdf != KDF {
            return Err(UploadError::Kdf);
        }
        let found = wire.data.data.len();
        if found == 0 || found > ITEMS_MAX {
            return Err(UploadError::Items { found });
        }
        if let Some(tag) = repeated(&wire.data) {
            return Err(UploadError::Repeated { tag: tag.to_owned() });
        }
        Ok(Self(wire))
    }

    /// Opens it with the exchange key, whose certificate has this thumbprint.
    pub fn open(
        &self,
        thumbprint: &str,
        key: &dyn PrivateKey,
        primitives: &dyn Primitives,
    ) -> Result<Vec<Item>, UploadError> {
        let Wire { data, key: wrapped } = &self.0;
        if wrapped.x5t_256 != thumbprint {
            let (found, expected) = (wrapped.x5t_256.clone(), thumbprint.to_owned());
            return Err(UploadError::OtherExchangeKey { found, expected });
        }
        let master = jwe::open_with(&wrapped.enc_key, key, primitives);
        let master = master.map_err(UploadError::WrappedKey)?;
        if master.len() != SECRET_BYTES {
            return Err(UploadError::MasterLength { found: master.len() });
        }
        let items = decrypt_items(&master, data, primitives);
        items.map_err(|error| UploadError::Item { tag: error.tag, cause: error.cause })
    }
}

/// Wraps items to an exchange key, as a client does.
pub fn wrap(
    items: &[Item],
    exchange: &Holder,
    primitives: &dyn Primitives,
) -> Result<String, SealError> {
    let master: Hidden = fresh_master(primitives);
    let data = encrypt_items(&master, items, primitives)?;
    let enc_key = jwe::seal_to(exchange.public(), KID, master.expose(), primitives)?;
    let key = WrappedKey { enc_key, x5t_256: exchange.thumbprint().to_owned() };
    serde_json::to_string(&Wire { data, key }).map_err(|_| SealError)
}
