//! The security domain as it is given out: items under a blob key, and the blob key's shares,
//! one to each holder.

use serde::{Deserialize, Serialize};

use crate::jwe::{self, NotEncrypted};
use crate::{
    CombineError, HOLDERS, Hidden, JweError, Primitives, PrivateKey, Quorum, REQUIRED,
    SECRET_BYTES, Share, ShareError, combine, item_key, split,
};

/// The largest blob that is read, in bytes.
pub const BLOB_BYTES_MAX: usize = 1024 * 1024;
/// Most items of a domain.
pub(crate) const ITEMS_MAX: usize = 256;

pub(crate) const KDF: &str = "sp108_kdf";
const KEY_ALGORITHM: &str = "shamir_share";

/// One secret of a domain: its label and its bytes.
#[derive(Debug)]
pub struct Item {
    /// The label, ASCII; its key is derived from it.
    pub tag: String,
    /// The bytes.
    pub bytes: Hidden,
}

/// What a blob says in clear about itself; not authenticated, for people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Facts {
    /// The domain, 32 hexadecimal digits.
    pub domain: String,
    /// The number of its newest secret.
    pub epoch: u32,
    /// The number of the download that gave it out.
    pub download: u64,
    /// When, Unix seconds.
    pub made: i64,
}

#[derive(Deserialize, Serialize)]
struct Wire {
    #[serde(rename = "EncData")]
    data: EncData,
    #[serde(rename = "SharedKeys")]
    keys: SharedKeys,
    #[serde(rename = "Casemate", default, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct EncData {
    pub(crate) data: Vec<Datum>,
    pub(crate) kdf: String,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Datum {
    pub(crate) tag: String,
    pub(crate) compact_jwe: String,
}

#[derive(Deserialize, Serialize)]
struct SharedKeys {
    enc_shares: Vec<EncShare>,
    key_algorithm: String,
    required: u64,
}

#[derive(Deserialize, Serialize)]
struct EncShare {
    x5t_256: String,
    enc_key: String,
}

/// The library refused to encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused to encrypt the security domain")]
pub struct SealError;

impl From<NotEncrypted> for SealError {
    fn from(NotEncrypted: NotEncrypted) -> Self {
        Self
    }
}

/// Encrypts the items under a fresh blob key and splits that among the quorum.
pub fn seal(
    quorum: &Quorum,
    items: &[Item],
    facts: Facts,
    primitives: &dyn Primitives,
) -> Result<String, SealError> {
    let master = fresh_master(primitives);
    let data = encrypt_items(&master, items, primitives)?;
    let holders = u8::try_from(quorum.holders().len()).map_err(|_| SealError)?;
    let mut random = |out: &mut [u8]| primitives.random(out);
    let shares = split(&master, quorum.required(), holders, &mut random);
    let encrypt = |(holder, share): (&crate::Holder, &Hidden)| {
        let kid = holder.thumbprint();
        let enc_key = jwe::seal_to(holder.public(), kid, share.expose(), primitives)?;
        Ok(EncShare { x5t_256: kid.to_owned(), enc_key })
    };
    let enc_shares: Result<_, NotEncrypted> =
        quorum.holders().iter().zip(&shares).map(encrypt).collect();
    let wire = Wire {
        data,
        keys: SharedKeys {
            enc_shares: enc_shares?,
            key_algorithm: KEY_ALGORITHM.to_owned(),
            required: u64::from(quorum.required()),
        },
        facts: Some(facts),
    };
    serde_json::to_string(&wire).map_err(|_| SealError)
}

/// A new blob key.
pub(crate) fn fresh_master(primitives: &dyn Primitives) -> Hidden {
    let mut master = vec![0; SECRET_BYTES];
    primitives.random(&mut master);
    Hidden::new(master)
}

/// Each item under the key of its tag.
pub(crate) fn encrypt_items(
    master: &Hidden,
    items: &[Item],
    primitives: &dyn Primitives,
) -> Result<EncData, NotEncrypted> {
    let encrypt = |item: &Item| {
        let key = item_key(master, &item.tag, primitives);
        let compact_jwe = jwe::seal_direct(&key, &item.tag, item.bytes.expose(), primitives)?;
        Ok(Datum { tag: item.tag.clone(), compact_jwe })
    };
    let data: Result<_, NotEncrypted> = items.iter().map(encrypt).collect();
    Ok(EncData { data: data?, kdf: KDF.to_owned() })
}

/// Why items do not open; the tag is told, for it is no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item `{tag}` does not open: {cause}")]
pub(crate) struct ItemError {
    pub(crate) tag: String,
    pub(crate) cause: JweError,
}

/// All items, each under the key of its tag.
pub(crate) fn decrypt_items(
    master: &Hidden,
    data: &EncData,
    primitives: &dyn Primitives,
) -> Result<Vec<Item>, ItemError> {
    let decrypt = |datum: &Datum| {
        let key = item_key(master, &datum.tag, primitives);
        let opened = jwe::open_direct(&datum.compact_jwe, &key, primitives);
        let bytes = opened.map_err(|cause| ItemError { tag: datum.tag.clone(), cause })?;
        Ok(Item { tag: datum.tag.clone(), bytes })
    };
    data.data.iter().map(decrypt).collect()
}

/// A tag that occurs twice.
pub(crate) fn repeated(data: &EncData) -> Option<&str> {
    let mut data = data.data.iter().enumerate();
    let all = data.clone();
    let (_, twice) =
        data.find(|(at, datum)| all.clone().take(*at).any(|(_, other)| other.tag == datum.tag))?;
    Some(&twice.tag)
}

/// A blob that was read and is not yet opened.
pub struct Blob(Wire);

/// Why a file is no blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Beyond [`BLOB_BYTES_MAX`].
    #[error("a security domain has at most {BLOB_BYTES_MAX} bytes, not {found}")]
    TooLong {
        /// How many there are.
        found: usize,
    },
    /// No JSON of this form.
    #[error("it is not a security domain: at line {line}, column {column}")]
    Form {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// Another algorithm of sharing or deriving.
    #[error("its keys are shared or derived in a way that this program does not know")]
    Algorithm,
    /// Numbers outside the rules.
    #[error("it has {holders} holders, of whom {required} are needed, which cannot be")]
    Numbers {
        /// How many shares.
        holders: usize,
        /// How many are needed.
        required: u64,
    },
    /// Items twice, too many, or none.
    #[error("its items are none, too many, or two of the same tag")]
    Items,
}

/// Why a blob does not open with these keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Fewer keys than needed.
    #[error("{found} keys are too few: the security domain needs {required}")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many are needed.
        required: u64,
    },
    /// A key that holds no share of it.
    #[error("the key of certificate {thumbprint} holds no share of this security domain")]
    Foreign {
        /// Which certificate.
        thumbprint: String,
    },
    /// A share that its holder's key does not open.
    #[error("the share of certificate {thumbprint} does not open with its key: {cause}")]
    Share {
        /// Which certificate.
        thumbprint: String,
        /// What is wrong.
        cause: JweError,
    },
    /// A share that opens and is none.
    #[error("the share of certificate {thumbprint} is damaged: {cause}")]
    Damaged {
        /// Which certificate.
        thumbprint: String,
        /// What is wrong.
        cause: ShareError,
    },
    /// Shares that give nothing.
    #[error("the shares give no key: {0}")]
    Combine(CombineError),
    /// The key opens an item not.
    #[error(
        "the shares of these keys are of another split than this file's items: {0}; take the file \
         and the keys of one and the same download"
    )]
    Mixed(String),
}

/// What a blob holds.
#[derive(Debug)]
pub struct OpenedBlob {
    /// The items, in the blob's order.
    pub items: Vec<Item>,
}

impl Blob {
    /// Reads a blob.
    pub fn parse(text: &[u8]) -> Result<Self, BlobError> {
        if text.len() > BLOB_BYTES_MAX {
            return Err(BlobError::TooLong { found: text.len() });
        }
        let wire: Wire = serde_json::from_slice(text)
            .map_err(|error| BlobError::Form { line: error.line(), column: error.column() })?;
        let (holders, required) = (wire.keys.enc_shares.len(), wire.keys.required);
        if wire.keys.key_algorithm != KEY_ALGORITHM || wire.data.kdf != KDF {
            return Err(BlobError::Algorithm);
        }
        let reached = usize::try_from(required).is_ok_and(|required| required <= holders);
        if !HOLDERS.contains(&holders) || !REQUIRED.contains(&required) || !reached {
            return Err(BlobError::Numbers { holders, required });
        }
        let items = wire.data.data.len();
        if items == 0 || items > ITEMS_MAX || repeated(&wire.data).is_some() {
            return Err(BlobError::Items);
        }
        Ok(Self(wire))
    }

    /// How many keys open it.
    pub fn required(&self) -> u64 {
        self.0.keys.required
    }

    /// The certificates whose keys hold shares, by thumbprint.
    pub fn holders(&self) -> impl Iterator<Item = &str> {
        self.0.keys.enc_shares.iter().map(|share| share.x5t_256.as_str())
    }

    /// The labels of its items.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.data.data.iter().map(|datum| datum.tag.as_str())
    }

    /// What it says of itself, where it is one of ours.
    pub fn facts(&self) -> Option<&Facts> {
        self.0.facts.as_ref()
    }

    /// Opens it with keys, each with the thumbprint of its certificate. All that are given are
    /// used, so that every one of them is proven to hold a share.
    pub fn open(
        &self,
        keys: &[(&str, &dyn PrivateKey)],
        primitives: &dyn Primitives,
    ) -> Result<OpenedBlob, OpenError> {
        let required = self.required();
        if u64::try_from(keys.len()).is_ok_and(|found| found < required) {
            return Err(OpenError::TooFew { found: keys.len(), required });
        }
        let mut shares = Vec::with_capacity(keys.len());
        for (thumbprint, key) in keys {
            let thumbprint = (*thumbprint).to_owned();
            let mut all = self.0.keys.enc_shares.iter();
            let Some(share) = all.find(|share| share.x5t_256 == thumbprint) else {
                return Err(OpenError::Foreign { thumbprint });
            };
            let bytes = match jwe::open_with(&share.enc_key, *key, primitives) {
                Ok(bytes) => bytes,
                Err(cause) => return Err(OpenError::Share { thumbprint, cause }),
            };
            match Share::parse(&bytes) {
                Ok(share) => shares.push(share),
                Err(cause) => return Err(OpenError::Damaged { thumbprint, cause }),
            }
        }
        let master = combine(&shares).map_err(OpenError::Combine)?;
        let items = decrypt_items(&master, &self.0.data, primitives);
        let items = items.map_err(|error| OpenError::Mixed(error.to_string()))?;
        Ok(OpenedBlob { items })
    }
}
