//! What is to be done with each key, and in which order.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::commands::{self, ByHand, OPERATIONS, utc};
use crate::legible::legible;
use crate::read::{Found, FoundKey, FoundVersion};

/// The version of the plan's form.
const FORMAT: u32 = 1;
/// Operations after which data lies somewhere that only this key opens.
const OPENING: [&str; 2] = ["decrypt", "unwrapKey"];

/// Longest name of a type or curve that is repeated, in characters.
const KIND_CHARS_MAX: usize = 40;

/// How a key gets into the other HSM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// A new key in its place.
    Recreate,
    /// A new key, and what lies under the old one is decrypted or unwrapped there and encrypted or
    /// wrapped here.
    Rewrap,
    /// The same key: its owner brings the material, which the source does not give out.
    Byok,
    /// A certificate has it: that is issued anew.
    WithCertificate,
    /// The other HSM holds no such key.
    Unsupported,
    /// Not everything of it could be read: what it opens is not known.
    NotRead,
}

/// A plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The version of this form.
    pub format: u32,
    /// What was read.
    pub source: String,
    /// The keys, by name.
    pub keys: Vec<PlannedKey>,
    /// Roles first, then keys, then assignments: to be run in this order against the other HSM,
    /// whose name is `HSM`.
    pub commands: Vec<String>,
    /// What no command says safely or truly, and what to do instead.
    pub by_hand: Vec<String>,
    /// Names of keys that are deleted at the source: what is needed of them is recovered first.
    pub deleted: Vec<String>,
    /// What could not be read, and why.
    pub not_read: Vec<String>,
    /// Role definitions that somebody wrote, as they were told.
    pub definitions: Vec<Value>,
}

/// A key of a plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedKey {
    /// Its name.
    pub name: String,
    /// Type, with size or curve.
    pub kind: String,
    /// What is to be done.
    pub way: Way,
    /// Why, and what to look at.
    pub notes: Vec<String>,
    /// Its operations, of all versions.
    pub key_ops: BTreeSet<String>,
    /// Versions, the newest first.
    pub versions: Vec<PlannedVersion>,
    /// Its rotation policy, to be set by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<Value>,
}

/// A version of a key of a plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedVersion {
    /// Its id at the source.
    pub version: String,
    /// Whether it can be used there.
    pub enabled: bool,
    /// Its public key, a JSON web key: what was signed with it is verified with that for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Value>,
}

/// The plan for what was found; of the keys in `keep` the material must stay the same.
///
/// # Errors
/// The first name in `keep` that the source does not have.
pub fn plan(found: &Found, keep: &[String]) -> Result<Plan, String> {
    let has = |name: &&String| found.keys.iter().any(|key| key.name.eq_ignore_ascii_case(name));
    let mut not_read: Vec<String> =
        found.not_read.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    for unknown in keep.iter().filter(|name| !has(name)) {
        if found.is_listed {
            return Err(unknown.clone());
        }
        not_read.push(format!("{unknown}, which shall be kept: the list of keys is not whole"));
    }
    let is_kept = |key: &FoundKey| keep.iter().any(|name| name.eq_ignore_ascii_case(&key.name));
    let mut keys: Vec<_> = found.keys.iter().map(|key| planned(key, is_kept(key))).collect();
    let steps = commands::all(found, &keys);
    for key in &mut keys {
        let is_told =
            |step: &ByHand| matches!(step, ByHand::Key { key: name, .. } if *name == key.name);
        if steps.by_hand.iter().any(is_told) {
            key.notes.push("there is no command for it: see byHand".to_owned());
        }
    }
    Ok(Plan {
        format: FORMAT,
        source: found.source.clone(),
        commands: steps.commands,
        by_hand: steps.by_hand.iter().map(ToString::to_string).collect(),
        deleted: found.deleted.clone(),
        not_read,
        definitions: found.definitions.clone(),
        keys,
    })
}

fn planned(key: &FoundKey, is_kept: bool) -> PlannedKey {
    let newest = key.versions.first().cloned().unwrap_or_default();
    let kind = Kind::of(&newest.bundle["key"]);
    let key_ops: BTreeSet<String> = key.versions.iter().flat_map(ops).collect();
    let opens = OPENING.iter().any(|op| key_ops.contains(*op));
    let way = match (key.managed, key.is_whole, &kind, is_kept, opens) {
        (true, ..) => Way::WithCertificate,
        (_, false, ..) => Way::NotRead,
        (_, _, Kind::Other(_), ..) => Way::Unsupported,
        (_, _, _, true, _) => Way::Byok,
        (_, _, _, _, true) => Way::Rewrap,
        _ => Way::Recreate,
    };
    let mut notes = notes(key, &newest, way);
    if let (Kind::Oct(None), Way::Recreate | Way::Rewrap) = (&kind, way) {
        notes.push("the source does not tell its size; 256 bits are planned".to_owned());
    }
    let versions = key.versions.iter().map(planned_version).collect();
    let rotation_policy = key.rotation_policy.clone();
    PlannedKey {
        name: key.name.clone(),
        kind: kind.text(),
        way,
        notes,
        key_ops,
        versions,
        rotation_policy,
    }
}

/// What a person has to know or to look at.
fn notes(key: &FoundKey, newest: &FoundVersion, way: Way) -> Vec<String> {
    let mut notes = Vec::new();
    match way {
        Way::Recreate => notes.push(
            "whoever verifies gets the new public key; the old ones are in the plan, for what was \
             signed until now"
                .to_owned(),
        ),
        Way::Rewrap => {
            notes.push(format!(
                "{} versions may have something under them: keep the source until it is wrapped \
                 anew",
                key.versions.len()
            ));
            notes.extend(closed(key));
        }
        Way::Byok => {
            notes.push("bring the material that it was made from: `az keyvault key import`".into());
        }
        Way::WithCertificate => {
            notes.push("it belongs to a certificate: have that issued anew with a new key".into());
        }
        Way::Unsupported => notes.push("make another kind of key, and wrap anew".into()),
        Way::NotRead => notes.push(
            "not everything of it could be read (see notRead): do nothing with it until a further \
             plan has it whole"
                .to_owned(),
        ),
    }
    if key.rotation_policy.is_some() {
        notes.push("it has a rotation policy, which is in the plan".to_owned());
    }
    notes.extend(left_behind(newest, way));
    notes.extend(limits(newest, way));
    notes
}

/// Versions that may not open any more what lies under them.
fn closed(key: &FoundKey) -> Option<String> {
    let closed = key.versions.iter().filter(|version| !is_open_for_ever(version)).count();
    (closed > 0).then(|| {
        format!(
            "{closed} of them are disabled or have an end (exp): see whether each still opens what \
             lies under it, and enable it or put its end off at the source until that is wrapped \
             anew (`az keyvault key set-attributes --version`)"
        )
    })
}

/// What a key has at the source and the new one will not.
fn left_behind(newest: &FoundVersion, way: Way) -> Vec<String> {
    let mut notes = Vec::new();
    let bundle = &newest.bundle;
    if bundle["attributes"]["exportable"] == true || !bundle["release_policy"].is_null() {
        notes.push(match way {
            Way::Byok => "its release policy may let an attested environment have it".to_owned(),
            _ => "it can be released to an attested environment, which no command takes over: \
                  whoever relies on that needs another way"
                .to_owned(),
        });
    }
    let unknown: Vec<String> =
        ops(newest).into_iter().filter(|op| !OPERATIONS.contains(&op.as_str())).collect();
    if !unknown.is_empty() {
        notes.push(format!(
            "the new one will not have these operations, which are not offered: {}",
            unknown.join(", ")
        ));
    }
    notes
}

/// When the newest version can be used, and what to do about that.
fn limits(newest: &FoundVersion, way: Way) -> Vec<String> {
    let mut notes = Vec::new();
    let attributes = &newest.bundle["attributes"];
    let is_made = matches!(way, Way::Recreate | Way::Rewrap);
    if attributes["enabled"] == false {
        notes.push(match is_made {
            true => "its newest version is disabled, and the command makes the new one so: take \
                     `--disabled true` out if it shall be used"
                .to_owned(),
            false => "its newest version is disabled: enable it if it shall be used".to_owned(),
        });
    }
    if let Some(end) = attributes["exp"].as_i64().and_then(utc) {
        notes.push(match is_made {
            true => format!(
                "its newest version ends at {end}, and so will the new one: alter `--expires` in \
                 the command if it shall be used for longer"
            ),
            false => format!("its newest version ends at {end}: see whether it is still used"),
        });
    }
    notes
}

fn planned_version(version: &FoundVersion) -> PlannedVersion {
    let jwk = &version.bundle["key"];
    let is_public = jwk["n"].is_string() || jwk["x"].is_string();
    let members = ["kty", "n", "e", "crv", "x", "y"];
    let public = members.iter().filter(|member| jwk[**member].is_string());
    let public = public.map(|member| ((*member).to_owned(), jwk[*member].clone())).collect();
    PlannedVersion {
        version: version.version.clone(),
        enabled: version.bundle["attributes"]["enabled"].as_bool().unwrap_or(true),
        public_key: is_public.then_some(Value::Object(public)),
    }
}

/// Whether nothing keeps it from being used, now or later.
fn is_open_for_ever(version: &FoundVersion) -> bool {
    let attributes = &version.bundle["attributes"];
    attributes["enabled"].as_bool().unwrap_or(true) && attributes["exp"].is_null()
}

fn ops(version: &FoundVersion) -> Vec<String> {
    let ops = version.bundle["key"]["key_ops"].as_array().cloned().unwrap_or_default();
    ops.iter().filter_map(Value::as_str).map(legible).collect()
}

/// The kinds that a managed HSM of Casemate holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With so many bits.
    Rsa(usize),
    /// With this curve.
    Ec(String),
    /// With so many bits, if they are told.
    Oct(Option<u64>),
    /// None of these.
    Other(String),
}

impl Kind {
    pub(crate) fn of(jwk: &Value) -> Self {
        let text = |member: &str| jwk[member].as_str().unwrap_or_default();
        match text("kty") {
            "RSA" | "RSA-HSM" => match modulus_bits(text("n")) {
                bits @ (2048 | 3072 | 4096) => Self::Rsa(bits),
                bits => Self::Other(format!("RSA-HSM {bits}")),
            },
            "EC" | "EC-HSM" => match text("crv") {
                curve @ ("P-256" | "P-256K" | "P-384" | "P-521") => Self::Ec(curve.to_owned()),
                curve => {
                    let curve: String = curve.chars().take(KIND_CHARS_MAX).collect();
                    Self::Other(format!("EC-HSM {curve}"))
                }
            },
            "oct" | "oct-HSM" => match jwk["key_size"].as_u64() {
                size @ (None | Some(128 | 192 | 256)) => Self::Oct(size),
                Some(size) => Self::Other(format!("oct-HSM {size}")),
            },
            other => Self::Other(other.chars().take(KIND_CHARS_MAX).collect()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Rsa(bits) => format!("RSA-HSM {bits}"),
            Self::Ec(curve) => format!("EC-HSM {curve}"),
            Self::Oct(Some(bits)) => format!("oct-HSM {bits}"),
            Self::Oct(None) => "oct-HSM".to_owned(),
            Self::Other(text) if text.is_empty() => "unknown".to_owned(),
            Self::Other(text) => legible(text),
        }
    }
}

/// Bits of a modulus in base64url, whose first bit is set.
fn modulus_bits(n: &str) -> usize {
    n.trim_end_matches('=').len() * 6 / 8 * 8
}

#[cfg(test)]
mod tests;
