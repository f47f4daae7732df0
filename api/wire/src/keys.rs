//! Keys: what makes them, and how they are shown.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::base64url::BinaryRef;
use crate::each_once::each_once;
use crate::{Binary, Number};

/// Body of `POST /keys/NAME/create`.
#[derive(Debug, Deserialize)]
pub struct KeyCreateParameters {
    /// Type.
    pub kty: String,
    /// Size in bits.
    #[serde(default)]
    pub key_size: Option<Number>,
    /// RSA public exponent.
    #[serde(default)]
    pub public_exponent: Option<Number>,
    /// Curve.
    #[serde(default)]
    pub crv: Option<String>,
    /// Permitted operations.
    #[serde(default)]
    pub key_ops: Option<Vec<String>>,
    /// Attributes.
    #[serde(default)]
    pub attributes: Option<KeyRequestAttributes>,
    /// Tags.
    #[serde(default, deserialize_with = "each_once")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Policy of secure key release.
    #[serde(default)]
    pub release_policy: Option<IgnoredAny>,
}

/// Body of `PUT /keys/NAME`. Its member `Hsm` changes nothing: every key here is an HSM's.
#[derive(Debug, Deserialize)]
pub struct KeyImportParameters {
    /// The key.
    pub key: JsonWebKey,
    /// Attributes.
    #[serde(default)]
    pub attributes: Option<KeyRequestAttributes>,
    /// Tags.
    #[serde(default, deserialize_with = "each_once")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Policy of secure key release.
    #[serde(default)]
    pub release_policy: Option<IgnoredAny>,
}

/// Body of `PATCH /keys/NAME/VERSION`.
#[derive(Debug, Default, Deserialize)]
pub struct KeyUpdateParameters {
    /// Permitted operations, replacing all.
    #[serde(default)]
    pub key_ops: Option<Vec<String>>,
    /// Attributes.
    #[serde(default)]
    pub attributes: Option<KeyRequestAttributes>,
    /// Tags, replacing all.
    #[serde(default, deserialize_with = "each_once")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Policy of secure key release.
    #[serde(default)]
    pub release_policy: Option<IgnoredAny>,
}

/// Attributes in a request.
#[derive(Debug, Default, Deserialize)]
pub struct KeyRequestAttributes {
    /// Whether the version may be used.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Not to be used before, in Unix seconds.
    #[serde(default)]
    pub nbf: Option<Number>,
    /// Not to be used from then on, in Unix seconds.
    #[serde(default)]
    pub exp: Option<Number>,
    /// Whether the key may be released.
    #[serde(default)]
    pub exportable: Option<bool>,
    /// A key outside the HSM.
    #[serde(default)]
    pub external_key: Option<IgnoredAny>,
}

/// A key on its way in (RFC 7517, RFC 7518). Its members are wiped when dropped.
#[derive(Debug, Deserialize)]
pub struct JsonWebKey {
    /// Type.
    pub kty: String,
    /// Permitted operations.
    #[serde(default)]
    pub key_ops: Option<Vec<String>>,
    /// Curve.
    #[serde(default)]
    pub crv: Option<String>,
    /// RSA modulus.
    #[serde(default)]
    pub n: Option<Binary>,
    /// RSA public exponent.
    #[serde(default)]
    pub e: Option<Binary>,
    /// RSA private exponent, or EC private scalar.
    #[serde(default)]
    pub d: Option<Binary>,
    /// First RSA prime.
    #[serde(default)]
    pub p: Option<Binary>,
    /// Second RSA prime.
    #[serde(default)]
    pub q: Option<Binary>,
    /// d mod (p - 1).
    #[serde(default)]
    pub dp: Option<Binary>,
    /// d mod (q - 1).
    #[serde(default)]
    pub dq: Option<Binary>,
    /// q^-1 mod p.
    #[serde(default)]
    pub qi: Option<Binary>,
    /// EC x coordinate.
    #[serde(default)]
    pub x: Option<Binary>,
    /// EC y coordinate.
    #[serde(default)]
    pub y: Option<Binary>,
    /// Symmetric key.
    #[serde(default)]
    pub k: Option<Binary>,
    /// A transfer blob (BYOK).
    #[serde(default)]
    pub key_hsm: Option<IgnoredAny>,
}

/// A key as it is shown: public members only.
#[derive(Debug, Default, Serialize)]
pub struct PublicJsonWebKey<'a> {
    /// Id.
    pub kid: &'a str,
    /// Type.
    pub kty: &'a str,
    /// Permitted operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<&'a str>>,
    /// RSA modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<BinaryRef<'a>>,
    /// RSA public exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<BinaryRef<'a>>,
    /// Curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<&'a str>,
    /// EC x coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<BinaryRef<'a>>,
    /// EC y coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<BinaryRef<'a>>,
}

/// Attributes as they are shown.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAttributes<'a> {
    /// Whether the version may be used.
    pub enabled: bool,
    /// Not to be used before, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Not to be used from then on, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was made, in Unix seconds.
    pub created: i64,
    /// When it was last changed, in Unix seconds.
    pub updated: i64,
    /// What a deletion leaves possible.
    pub recovery_level: &'a str,
    /// Days from deletion to purge.
    pub recoverable_days: u32,
    /// Whether the key may be released.
    pub exportable: bool,
    /// Size of a symmetric key in bits.
    #[serde(rename = "key_size", skip_serializing_if = "Option::is_none")]
    pub key_size: Option<u32>,
}

/// A key with its attributes.
#[derive(Debug, Serialize)]
pub struct KeyBundle<'a> {
    /// The key.
    pub key: PublicJsonWebKey<'a>,
    /// Attributes.
    pub attributes: KeyAttributes<'a>,
    /// Tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: &'a BTreeMap<String, String>,
}

/// A deleted key with its attributes.
#[derive(Debug, Serialize)]
pub struct DeletedKeyBundle<'a> {
    /// What the key was.
    #[serde(flatten)]
    pub bundle: KeyBundle<'a>,
    /// Its deletion.
    #[serde(flatten)]
    pub deletion: DeletionMembers,
}

/// What a deleted key has in addition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionMembers {
    /// Where it can be recovered.
    pub recovery_id: String,
    /// When it was deleted, in Unix seconds.
    pub deleted_date: i64,
    /// When it is purged, in Unix seconds.
    pub scheduled_purge_date: i64,
}

/// A key or version in a list.
#[derive(Debug, Serialize)]
pub struct KeyItem<'a> {
    /// Id; without a version in lists of keys.
    pub kid: String,
    /// Attributes.
    pub attributes: KeyAttributes<'a>,
    /// Tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: &'a BTreeMap<String, String>,
    /// Its deletion, in lists of deleted keys.
    #[serde(flatten)]
    pub deletion: Option<DeletionMembers>,
}

/// A page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The items.
    pub value: Vec<T>,
    /// Where the next page is; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_are_ignored_and_numbers_may_be_strings() {
        let text = r#"{"kty":"RSA","key_size":"3072","attributes":{"exp":"5","new":[1]},"x":{}}"#;
        let read: KeyCreateParameters = serde_json::from_str(text).unwrap();
        assert_eq!(read.key_size, Some(Number(3072)));
        assert_eq!(read.attributes.unwrap().exp, Some(Number(5)));
        assert!(read.release_policy.is_none());
    }

    #[test]
    fn wrong_types_missing_and_repeated_members_are_refused() {
        for bad in [
            r#"{}"#,
            r#"{"kty":1}"#,
            r#"{"kty":"RSA","kty":"EC"}"#,
            r#"{"kty":"RSA","key_ops":"sign"}"#,
            r#"{"kty":"RSA","attributes":{"enabled":"yes"}}"#,
            r#"{"kty":"RSA","tags":{"a":1}}"#,
            r#"{"kty":"RSA","tags":{"a":"1","a":"2"}}"#,
            r#"{"kty":"RSA","tags":[]}"#,
            r#"{"kty":"RSA","key_size":[]}"#,
            r#"[]"#,
            r#""RSA""#,
        ] {
            assert!(serde_json::from_str::<KeyCreateParameters>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_import_never_shows_what_it_holds() {
        let text = r#"{"key":{"kty":"oct","k":"aHVudGVyMg"},"Hsm":false}"#;
        let read: KeyImportParameters = serde_json::from_str(text).unwrap();
        let shown = format!("{read:?}");
        assert!(!shown.contains("aHVudGVyMg") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(read.key.k.unwrap().as_bytes(), b"hunter2");
    }

    #[test]
    fn null_is_as_good_as_absent() {
        let text = r#"{"kty":"EC","crv":null,"attributes":null,"tags":null,"release_policy":null}"#;
        let read: KeyCreateParameters = serde_json::from_str(text).unwrap();
        assert!(read.crv.is_none() && read.tags.is_none() && read.release_policy.is_none());
    }
}
