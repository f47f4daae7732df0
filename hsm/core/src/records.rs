//! What is stored, and where: one record per key, one per version, one per role assignment and
//! per role definition, one for the settings. CBOR (RFC 8949) maps with named members, so that an
//! older record can be read by a newer release; docs/design/domain.md specifies them.

use std::collections::BTreeMap;

use casemate_engine_port::{Curve, KeySpec, OctSize, PublicPart, RsaSize};
use casemate_store_port::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::KeyOp;
use crate::settings::{Setting, setting};
use crate::{KeyName, UnixSeconds, VersionId};

/// One key: its name, its versions in order, whether it is deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) name: KeyName,
    pub(crate) created: UnixSeconds,
    /// Oldest first; the last is the newest.
    pub(crate) versions: Vec<VersionId>,
    pub(crate) life: Life,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    /// In use.
    Live,
    /// Soft-deleted: recoverable until its purge.
    Deleted { at: UnixSeconds, purge_at: UnixSeconds },
    /// Being purged: invisible and beyond recovery, its records are on their way out.
    Purging,
}

/// One version of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    pub(crate) id: VersionId,
    #[serde(with = "spec_text")]
    pub(crate) spec: KeySpec,
    pub(crate) public: PublicRecord,
    #[serde(with = "serde_bytes")]
    pub(crate) wrapped: Vec<u8>,
    pub(crate) key_ops: Vec<KeyOp>,
    pub(crate) enabled: bool,
    pub(crate) not_before: Option<UnixSeconds>,
    pub(crate) expires: Option<UnixSeconds>,
    pub(crate) created: UnixSeconds,
    pub(crate) updated: UnixSeconds,
    pub(crate) tags: BTreeMap<String, String>,
}

/// The public part as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum PublicRecord {
    Rsa {
        #[serde(with = "serde_bytes")]
        n: Vec<u8>,
        #[serde(with = "serde_bytes")]
        e: Vec<u8>,
    },
    Ec {
        #[serde(with = "serde_bytes")]
        x: Vec<u8>,
        #[serde(with = "serde_bytes")]
        y: Vec<u8>,
    },
    Oct,
}

impl From<PublicPart> for PublicRecord {
    fn from(part: PublicPart) -> Self {
        match part {
            PublicPart::Rsa { n, e } => Self::Rsa { n, e },
            PublicPart::Ec { x, y } => Self::Ec { x, y },
            PublicPart::Oct => Self::Oct,
        }
    }
}

/// How many GCM encryptions a version has reserved, over all partitions and restarts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct GcmRecord {
    pub(crate) reserved: u64,
}

const KEYS: &str = "keys";
const ASSIGNMENTS: &str = "rbac/assignments";
const SETTINGS: &str = "settings";
const DEFINITIONS: &str = "rbac/definitions";
const SCHEDULES: &str = "backup-schedules";

/// Where the settings are.
pub(crate) fn settings_path() -> Path {
    path(SETTINGS.to_owned())
}

/// Where a setting that was changed is.
pub(crate) fn setting_path(setting: &Setting) -> Path {
    path(format!("{SETTINGS}/{}", setting.folded()))
}

/// Where a key's record is.
pub(crate) fn key_path(name: &KeyName) -> Path {
    path(format!("{KEYS}/{}", name.folded()))
}

/// Where a version's record is; also the place its material is wrapped to.
pub(crate) fn version_path(name: &KeyName, version: VersionId) -> Path {
    path(format!("{KEYS}/{}/versions/{version}", name.folded()))
}

/// Where a version's count of GCM encryptions is.
pub(crate) fn gcm_path(name: &KeyName, version: VersionId) -> Path {
    path(format!("{KEYS}/{}/gcm/{version}", name.folded()))
}

/// Where the sinks of the audit log are.
pub(crate) fn audit_sinks_path() -> Path {
    path("audit-sinks".to_owned())
}

/// Where a schedule of backups is.
pub(crate) fn schedule_path(name: &str) -> Path {
    path(format!("{SCHEDULES}/{name}"))
}

/// Where the times are from which on principals' tokens must have been issued.
pub(crate) fn cut_offs_path() -> Path {
    path("token-cut-offs".to_owned())
}

/// Where the jobs are: backups and restores of the whole HSM.
pub(crate) fn jobs_path() -> Path {
    path("jobs".to_owned())
}

/// Where it is said who holds the security domain.
pub(crate) fn held_path() -> Path {
    path("security-domain/held".to_owned())
}

/// Where the exchange key of a recovery is.
pub(crate) fn exchange_path() -> Path {
    path("security-domain/exchange".to_owned())
}

/// Where a role assignment is.
pub(crate) fn assignment_path(name: Uuid) -> Path {
    path(format!("{ASSIGNMENTS}/{name}"))
}

/// Where a role definition is.
pub(crate) fn definition_path(id: Uuid) -> Path {
    path(format!("{DEFINITIONS}/{id}"))
}

fn path(text: String) -> Path {
    Path::new(text).expect("names and versions hold only letters that a path may hold")
}

/// What kind of record stands at a path.
pub(crate) enum Kind {
    Settings,
    Setting(&'static Setting),
    Key,
    Version {
        key: String,
    },
    Gcm {
        key: String,
        version: VersionId,
    },
    Assignment,
    AuditSinks,
    Schedule,
    CutOffs,
    Jobs,
    Held,
    Exchange,
    Definition,
    /// Written by a newer release or another part of the HSM: left alone.
    Other,
}

/// Reads a path.
pub(crate) fn kind(path: &Path) -> Kind {
    let segments: Vec<&str> = path.as_str().split('/').collect();
    match segments.as_slice() {
        [SETTINGS] => Kind::Settings,
        [SETTINGS, name] => setting(name).map_or(Kind::Other, Kind::Setting),
        ["audit-sinks"] => Kind::AuditSinks,
        [SCHEDULES, _] => Kind::Schedule,
        ["token-cut-offs"] => Kind::CutOffs,
        ["jobs"] => Kind::Jobs,
        ["security-domain", "held"] => Kind::Held,
        ["security-domain", "exchange"] => Kind::Exchange,
        [KEYS, _] => Kind::Key,
        [KEYS, key, "versions", _] => Kind::Version { key: (*key).to_owned() },
        [KEYS, key, "gcm", version] => match VersionId::parse(version) {
            Ok(version) => Kind::Gcm { key: (*key).to_owned(), version },
            Err(_) => Kind::Other,
        },
        ["rbac", "assignments", _] => Kind::Assignment,
        ["rbac", "definitions", _] => Kind::Definition,
        _ => Kind::Other,
    }
}

/// A record as bytes.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    encode_in(record, 512)
}

/// A record as bytes, with room for so many before the buffer grows.
pub(crate) fn encode_in<T: Serialize>(record: &T, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(room);
    ciborium::into_writer(record, &mut bytes).expect("writing CBOR to memory cannot fail");
    bytes
}

/// The bytes as a record.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    ciborium::from_reader(bytes).ok()
}

/// Key kinds as text.
mod spec_text {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(spec: &KeySpec, s: S) -> Result<S::Ok, S::Error> {
        let text = match spec {
            KeySpec::Rsa(size) => format!("rsa:{}", size.bits()),
            KeySpec::Ec(curve) => format!("ec:{}", curve.name()),
            KeySpec::Oct(size) => format!("oct:{}", size.bits()),
        };
        s.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<KeySpec, D::Error> {
        let text = String::deserialize(d)?;
        parse(&text).ok_or_else(|| D::Error::custom("unknown kind of key"))
    }

    fn parse(text: &str) -> Option<KeySpec> {
        let (family, rest) = text.split_once(':')?;
        match family {
            "rsa" => RsaSize::from_bits(rest.parse().ok()?).map(KeySpec::Rsa),
            "ec" => Curve::from_name(rest).map(KeySpec::Ec),
            "oct" => OctSize::from_bits(rest.parse().ok()?).map(KeySpec::Oct),
            _ => None,
        }
    }
}
