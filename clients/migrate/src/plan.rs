//! What is to be done with each key, and in which order.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::commands;
use crate::read::{Found, FoundKey, FoundVersion};

/// The version of the plan's form.
const FORMAT: u32 = 1;
/// Operations after which data lies somewhere that only this key opens.
const OPENING: [&str; 2] = ["decrypt", "unwrapKey"];

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
    let has = |name: &str| found.keys.iter().any(|key| key.name.eq_ignore_ascii_case(name));
    if let Some(unknown) = keep.iter().find(|name| !has(name)) {
        return Err(unknown.clone());
    }
    let is_kept = |key: &FoundKey| keep.iter().any(|name| name.eq_ignore_ascii_case(&key.name));
    let keys: Vec<_> = found.keys.iter().map(|key| planned(key, is_kept(key))).collect();
    Ok(Plan {
        format: FORMAT,
        source: found.source.clone(),
        commands: commands::all(found, &keys),
        deleted: found.deleted.clone(),
        not_read: found.not_read.iter().map(|(what, why)| format!("{what}: {why}")).collect(),
        definitions: found.definitions.clone(),
        keys,
    })
}

fn planned(key: &FoundKey, is_kept: bool) -> PlannedKey {
    let newest = key.versions.first().cloned().unwrap_or_default();
    let kind = Kind::of(&newest.bundle["key"]);
    let key_ops: BTreeSet<String> = key.versions.iter().flat_map(ops).collect();
    let opens = OPENING.iter().any(|op| key_ops.contains(*op));
    let way = match (key.managed, &kind, is_kept, opens) {
        (true, ..) => Way::WithCertificate,
        (_, Kind::Other(_), ..) => Way::Unsupported,
        (_, _, true, _) => Way::Byok,
        (_, _, _, true) => Way::Rewrap,
        _ => Way::Recreate,
    };
    let mut notes = notes(key, &newest, way);
    if let Kind::Oct(None) = kind {
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
    let attributes = &newest.bundle["attributes"];
    match way {
        Way::Recreate => notes.push(
            "whoever verifies gets the new public key; the old ones are in the plan, for what was \
             signed until now"
                .to_owned(),
        ),
        Way::Rewrap => {
            let closed = key.versions.iter().filter(|version| !is_usable(version)).count();
            notes.push(format!(
                "{} versions may have something under them: keep the source until it is wrapped \
                 anew",
                key.versions.len()
            ));
            if closed > 0 {
                notes.push(format!(
                    "{closed} of them are disabled or past their end: enable them at the source \
                     for that time"
                ));
            }
        }
        Way::Byok => {
            notes.push("bring the material that it was made from: `az keyvault key import`".into());
            if attributes["exportable"] == true {
                notes.push("its release policy may let an attested environment have it".into());
            }
        }
        Way::WithCertificate => {
            notes.push("it belongs to a certificate: have that issued anew with a new key".into());
        }
        Way::Unsupported => notes.push("make another kind of key, and wrap anew".into()),
    }
    if key.rotation_policy.is_some() {
        notes.push("it has a rotation policy, which is in the plan".to_owned());
    }
    if !is_usable(newest) {
        notes.push("its newest version is disabled or past its end".to_owned());
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

/// Whether it can be used, as far as it says without a clock: an end is a thing to look at.
fn is_usable(version: &FoundVersion) -> bool {
    let attributes = &version.bundle["attributes"];
    attributes["enabled"].as_bool().unwrap_or(true) && attributes["exp"].is_null()
}

fn ops(version: &FoundVersion) -> Vec<String> {
    let ops = version.bundle["key"]["key_ops"].as_array().cloned().unwrap_or_default();
    ops.iter().filter_map(|op| op.as_str().map(str::to_owned)).collect()
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
                curve => Self::Other(format!("EC-HSM {curve}")),
            },
            "oct" | "oct-HSM" => match jwk["key_size"].as_u64() {
                size @ (None | Some(128 | 192 | 256)) => Self::Oct(size),
                Some(size) => Self::Other(format!("oct-HSM {size}")),
            },
            other => Self::Other(other.chars().take(40).collect()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Rsa(bits) => format!("RSA-HSM {bits}"),
            Self::Ec(curve) => format!("EC-HSM {curve}"),
            Self::Oct(Some(bits)) => format!("oct-HSM {bits}"),
            Self::Oct(None) => "oct-HSM".to_owned(),
            Self::Other(text) => text.clone(),
        }
    }
}

/// Bits of a modulus in base64url, whose first bit is set.
fn modulus_bits(n: &str) -> usize {
    n.trim_end_matches('=').len() * 6 / 8 * 8
}

#[cfg(test)]
mod tests;
