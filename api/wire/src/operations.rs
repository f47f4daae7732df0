//! Uses of keys, and random bytes.

use serde::Deserialize;

use crate::{Binary, JsonObject, Number};

/// Body of `encrypt`, `decrypt`, `wrapkey` and `unwrapkey`.
#[derive(Debug, Deserialize)]
pub struct KeyOperationParameters {
    /// Algorithm.
    pub alg: String,
    /// The plaintext, ciphertext, key or wrapped key.
    pub value: Binary,
    /// Initialization vector.
    #[serde(default)]
    pub iv: Option<Binary>,
    /// Additional authenticated data.
    #[serde(default)]
    pub aad: Option<Binary>,
    /// Authentication tag.
    #[serde(default)]
    pub tag: Option<Binary>,
}

/// Body of `sign`.
#[derive(Debug, Deserialize)]
pub struct KeySignParameters {
    /// Algorithm.
    pub alg: String,
    /// The digest.
    pub value: Binary,
}

/// Body of `verify`.
#[derive(Debug, Deserialize)]
pub struct KeyVerifyParameters {
    /// Algorithm.
    pub alg: String,
    /// The digest.
    pub digest: Binary,
    /// The signature.
    pub value: Binary,
}

/// Body of `POST /rng`.
#[derive(Debug, Deserialize)]
pub struct RandomBytesParameters {
    /// How many.
    pub count: Number,
}

/// What came of a use.
#[derive(Clone, Copy)]
pub struct KeyOperationResult<'a> {
    /// Id of the version that did it.
    pub kid: &'a str,
    /// The algorithm, echoed.
    pub alg: &'a str,
    /// The result.
    pub value: &'a [u8],
    /// Initialization vector.
    pub iv: Option<&'a [u8]>,
    /// Authentication tag.
    pub tag: Option<&'a [u8]>,
    /// Additional authenticated data.
    pub aad: Option<&'a [u8]>,
}

/// What came of a verification.
#[derive(Clone, Copy, Debug)]
pub struct KeyVerifyResult {
    /// Whether the signature is right.
    pub value: bool,
}

/// Random bytes.
#[derive(Clone, Copy)]
pub struct RandomBytesResult<'a> {
    /// The bytes.
    pub value: &'a [u8],
}

/// What a result needs beside its binary members, in bytes: names, quotes, the algorithm.
const FRAME_BYTES: usize = 128;

impl KeyOperationResult<'_> {
    /// The JSON, in a buffer made large enough at once: one that grew would leave copies behind.
    pub fn to_json(&self) -> Vec<u8> {
        let optional = [self.iv, self.tag, self.aad].into_iter().flatten();
        let binary: usize = optional.chain([self.value]).map(<[u8]>::len).sum();
        // Four characters for three bytes, and a rest for each of the four members.
        let room = FRAME_BYTES + self.kid.len() + self.alg.len() + binary / 3 * 4 + 4 * 4;
        let mut out = Vec::with_capacity(room);
        let mut object = JsonObject::begin(&mut out);
        object.plain("kid", self.kid).plain("alg", self.alg).binary("value", self.value);
        for (name, member) in [("iv", self.iv), ("tag", self.tag), ("aad", self.aad)] {
            if let Some(bytes) = member {
                object.binary(name, bytes);
            }
        }
        object.end();
        debug_assert!(out.len() <= room, "the buffer did not grow");
        out
    }
}

impl KeyVerifyResult {
    /// The JSON.
    pub fn to_json(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_BYTES);
        JsonObject::begin(&mut out).boolean("value", self.value).end();
        out
    }
}

impl RandomBytesResult<'_> {
    /// The JSON, in a buffer made large enough at once.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_BYTES + self.value.len() * 2);
        JsonObject::begin(&mut out).binary("value", self.value).end();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_complete_and_leave_out_what_is_absent() {
        let result = KeyOperationResult {
            kid: "https://h/keys/a/0",
            alg: "A256GCM",
            value: &[0; 4096],
            iv: Some(&[1; 12]),
            tag: Some(&[2; 16]),
            aad: None,
        };
        let out = result.to_json();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["kid"], "https://h/keys/a/0");
        assert_eq!(read["alg"], "A256GCM");
        assert_eq!(read["iv"], "AQEBAQEBAQEBAQEB");
        assert_eq!(read["value"].as_str().unwrap().len(), 5462);
        assert!(read.get("aad").is_none());
        assert_eq!(KeyVerifyResult { value: false }.to_json(), br#"{"value":false}"#);
        assert_eq!(RandomBytesResult { value: &[255] }.to_json(), br#"{"value":"_w"}"#);
    }

    #[test]
    fn incomplete_or_wrong_parameters_are_refused() {
        for bad in [
            r#"{"alg":"RS256"}"#,
            r#"{"value":"AA"}"#,
            r#"{"alg":"RS256","value":null}"#,
            r#"{"alg":"RS256","value":"A+"}"#,
            r#"{"alg":["RS256"],"value":"AA"}"#,
            r#"{"alg":"RS256","value":"AA","value":"AA"}"#,
            "",
        ] {
            assert!(serde_json::from_str::<KeySignParameters>(bad).is_err(), "{bad}");
        }
        for bad in [r#"{"count":"x"}"#, r#"{"count":1.5}"#, "{}"] {
            assert!(serde_json::from_str::<RandomBytesParameters>(bad).is_err(), "{bad}");
        }
    }
}
