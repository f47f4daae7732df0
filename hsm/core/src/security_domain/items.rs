//! A domain as the items of a blob, and back.
//!
//! Whoever holds a quorum can encrypt any items. So they vouch for each other: a manifest lists the
//! digest of every other one and is itself authenticated under a key of the newest secret. Items of
//! two domains, or of two downloads, do not go together.

use std::collections::BTreeMap;

use casemate_engine_port::Secret;
use casemate_quorum::{Hidden, Item, Primitives, Quorum};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::held::{certificates, quorum};
use super::{Domain, Epoch, EpochKeys, Keeper};
use crate::{UnixSeconds, records};

const MANIFEST: &str = "casemate-manifest";
const IDENTITY: &str = "casemate-identity";
const EPOCH: &str = "casemate-epoch-";
/// The version of these formats.
const VERSION: u8 = 1;
const MAC_BYTES: usize = 32;
const MAC_LABEL: &[u8] = b"casemate domain manifest 1";
const WHOLE: u8 = 1;
const BACKUP_ONLY: u8 = 2;

/// What the other items are, and who holds them.
#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u8,
    #[serde(with = "serde_bytes")]
    domain: Vec<u8>,
    download: u64,
    made: UnixSeconds,
    required: u8,
    holders: Vec<ByteBuf>,
    /// SHA-256 of each other item, by tag.
    items: BTreeMap<String, ByteBuf>,
}

/// What a download gives out.
pub(crate) struct Given<'a> {
    pub(crate) domain: &'a Domain,
    pub(crate) identity: &'a Secret,
    pub(crate) quorum: &'a Quorum,
    pub(crate) download: u64,
    pub(crate) made: UnixSeconds,
}

/// What an upload brings.
pub(crate) struct Brought {
    pub(crate) domain: Domain,
    pub(crate) identity: Secret,
    pub(crate) quorum: Quorum,
    pub(crate) download: u64,
}

/// Why items are no domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainRefusal {
    /// It was not made by a HSM of ours.
    #[error("it has no item `{MANIFEST}`: it is not the security domain of a Casemate HSM")]
    NotOurs,
    /// Made by a newer release, or not whole.
    #[error("its item `{tag}` is not of a form that this release reads")]
    Unreadable {
        /// Which.
        tag: String,
    },
    /// An item is not there.
    #[error("its item `{tag}` is missing")]
    Missing {
        /// Which.
        tag: String,
    },
    /// An item that the manifest does not list.
    #[error("its item `{tag}` does not belong to it")]
    Surplus {
        /// Which.
        tag: String,
    },
    /// An item of another content than the manifest says.
    #[error(
        "its item `{tag}` is not the one that belongs to it; it is altered or of another domain"
    )]
    Altered {
        /// Which.
        tag: String,
    },
    /// A manifest that the newest secret does not vouch for.
    #[error("its items are not authentic: they are altered or of different security domains")]
    NotAuthentic,
}

/// The items of a domain.
pub(crate) fn items(given: &Given<'_>, keeper: &dyn Keeper) -> Vec<Item> {
    let item = |tag: String, bytes: &[u8]| Item { tag, bytes: Hidden::copied(bytes) };
    let mut items = vec![item(IDENTITY.to_owned(), given.identity.expose())];
    for epoch in given.domain.epochs() {
        let kind = match epoch.keys {
            EpochKeys::Whole(_) => WHOLE,
            EpochKeys::BackupOnly(_) => BACKUP_ONLY,
        };
        let secret = epoch.keys.secret().expose();
        let mut bytes = Vec::with_capacity(1 + 4 + 1 + secret.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&epoch.number.to_be_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(secret);
        let tag = format!("{EPOCH}{}", epoch.number);
        items.push(Item { tag, bytes: Hidden::new(bytes) });
    }
    let digest = |item: &Item| keeper.primitives().sha256(item.bytes.expose()).to_vec();
    let manifest = Manifest {
        version: VERSION,
        domain: given.domain.id().to_vec(),
        download: given.download,
        made: given.made,
        required: given.quorum.required(),
        holders: certificates(given.quorum),
        items: items.iter().map(|item| (item.tag.clone(), digest(item).into())).collect(),
    };
    let mut bytes = records::encode(&manifest);
    let key = keeper.manifest_key(given.domain.secret());
    let mac = mac(&bytes, &key, keeper.primitives());
    bytes.extend_from_slice(&mac);
    items.insert(0, Item { tag: MANIFEST.to_owned(), bytes: Hidden::new(bytes) });
    items
}

/// What is needed to read a domain's items where there is no HSM of its own.
pub struct ItemReader<'a> {
    /// Cryptography.
    pub primitives: &'a dyn Primitives,
    /// What authenticates the items of a domain with this secret.
    pub manifest_key: fn(&Secret) -> Secret,
    /// Whether these bytes are the record of an identity key.
    pub is_identity: fn(&[u8]) -> bool,
}

/// The domain of these items, if they vouch for each other.
///
/// # Errors
/// When an item is missing, altered, or of another domain.
pub fn domain_of(items: &[Item], reader: &ItemReader<'_>) -> Result<Domain, DomainRefusal> {
    Ok(read_with(items, reader.primitives, &reader.manifest_key, &reader.is_identity)?.domain)
}

/// The domain of these items, if they vouch for each other.
pub(crate) fn read(items: &[Item], keeper: &dyn Keeper) -> Result<Brought, DomainRefusal> {
    let manifest_key = |secret: &Secret| keeper.manifest_key(secret);
    read_with(items, keeper.primitives(), &manifest_key, &|bytes| keeper.is_identity(bytes))
}

fn read_with(
    items: &[Item],
    primitives: &dyn Primitives,
    manifest_key: &dyn Fn(&Secret) -> Secret,
    is_identity: &dyn Fn(&[u8]) -> bool,
) -> Result<Brought, DomainRefusal> {
    let stated = items.iter().find(|item| item.tag == MANIFEST).ok_or(DomainRefusal::NotOurs)?;
    let unreadable = |tag: &str| DomainRefusal::Unreadable { tag: tag.to_owned() };
    let (bytes, stated_mac) = stated
        .bytes
        .expose()
        .split_last_chunk::<MAC_BYTES>()
        .ok_or_else(|| unreadable(MANIFEST))?;
    let manifest: Manifest = records::decode(bytes)
        .filter(|manifest: &Manifest| manifest.version == VERSION)
        .ok_or_else(|| unreadable(MANIFEST))?;
    let others = || items.iter().filter(|item| item.tag != MANIFEST);
    for tag in manifest.items.keys() {
        if !others().any(|item| item.tag == *tag) {
            return Err(DomainRefusal::Missing { tag: tag.clone() });
        }
    }
    let mut epochs = Vec::new();
    let mut identity = None;
    for item in others() {
        let tag = || item.tag.clone();
        let listed = manifest.items.get(&item.tag);
        let listed = listed.ok_or_else(|| DomainRefusal::Surplus { tag: tag() })?;
        if listed.as_slice() != primitives.sha256(item.bytes.expose()) {
            return Err(DomainRefusal::Altered { tag: tag() });
        }
        let bytes = item.bytes.expose();
        if item.tag == IDENTITY {
            identity = Some(bytes).filter(|bytes| is_identity(bytes));
        } else {
            epochs.push(epoch(item).ok_or_else(|| unreadable(&item.tag))?);
        }
    }
    let identity = identity.ok_or_else(|| unreadable(IDENTITY))?;
    epochs.sort_by_key(|epoch| epoch.number);
    let id = <[u8; 16]>::try_from(manifest.domain.as_slice());
    let domain = id.ok().and_then(|id| Domain::new(id, epochs).ok());
    let domain = domain.ok_or_else(|| unreadable(MANIFEST))?;
    // Compared as secrets are: in constant time.
    let right = Secret::new(mac(bytes, &manifest_key(domain.secret()), primitives).to_vec());
    if right != Secret::new(stated_mac.to_vec()) {
        return Err(DomainRefusal::NotAuthentic);
    }
    let holders = quorum(&manifest.holders, manifest.required, primitives);
    Ok(Brought {
        domain,
        identity: Secret::new(identity.to_vec()),
        quorum: holders.ok_or_else(|| unreadable(MANIFEST))?,
        download: manifest.download,
    })
}

fn epoch(item: &Item) -> Option<Epoch> {
    let named: u32 = item.tag.strip_prefix(EPOCH)?.parse().ok()?;
    let (version, rest) = item.bytes.expose().split_first()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let (kind, secret) = rest.split_first()?;
    let number = u32::from_be_bytes(*number);
    if *version != VERSION || number != named {
        return None;
    }
    let secret = Secret::new(secret.to_vec());
    let keys = match *kind {
        WHOLE => EpochKeys::Whole(secret),
        BACKUP_ONLY => EpochKeys::BackupOnly(secret),
        _ => return None,
    };
    Some(Epoch { number, keys })
}

fn mac(bytes: &[u8], key: &Secret, primitives: &dyn Primitives) -> [u8; MAC_BYTES] {
    let whole = primitives.hmac_sha512(key.expose(), &[MAC_LABEL, bytes]);
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&whole[..MAC_BYTES]);
    mac
}
