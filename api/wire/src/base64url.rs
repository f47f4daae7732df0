//! Binary members: base64url (RFC 4648, section 5), without padding on the way out, with or
//! without on the way in, strict otherwise.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::display::Base64Display;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};
use zeroize::Zeroize;

use crate::Wiped;

const CODEC: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text is not base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url")]
pub struct Base64UrlError;

/// Bytes of a binary member. Wiped when dropped, never printed: some are plaintexts and keys.
#[derive(PartialEq, Eq)]
pub struct Binary(Wiped);

impl Binary {
    /// From bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Wiped::new(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hands the bytes over: who takes them wipes them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// Public bytes on their way out.
#[derive(Clone, Copy, Debug)]
pub struct BinaryRef<'a>(pub &'a [u8]);

impl Serialize for BinaryRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &CODEC))
    }
}

impl std::fmt::Debug for Binary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Binary(…)")
    }
}

/// Decodes a text. What was decoded before an error is wiped.
pub fn decode_base64url(text: &str) -> Result<Vec<u8>, Base64UrlError> {
    let mut bytes = vec![0; base64::decoded_len_estimate(text.len())];
    match CODEC.decode_slice(text, &mut bytes) {
        Ok(length) => {
            bytes.truncate(length);
            Ok(bytes)
        }
        Err(_) => {
            bytes.as_mut_slice().zeroize();
            Err(Base64UrlError)
        }
    }
}

/// Appends the bytes as base64url to a buffer. Room for secrets is made by the caller beforehand:
/// a buffer that grows leaves a copy behind.
pub fn append_base64url(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), false)
        .expect("a buffer that fits in memory has an encoding that does");
    out.resize(start + length, 0);
    CODEC
        .encode_slice(bytes, &mut out[start..])
        .expect("the room is exactly the encoding's length");
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Binary;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64url text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Binary, E> {
                decode_base64url(text).map(Binary::new).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_optional_on_the_way_in_and_absent_on_the_way_out() {
        for (text, bytes) in
            [("", b"".as_slice()), ("-_8", &[0xfb, 0xff]), ("-_8=", &[0xfb, 0xff]), ("AA==", &[0])]
        {
            assert_eq!(decode_base64url(text).unwrap(), bytes);
            let mut out = b"x".to_vec();
            append_base64url(&mut out, bytes);
            assert_eq!(&out[1..], text.trim_end_matches('=').as_bytes());
        }
    }

    #[test]
    fn what_is_not_base64url_is_refused() {
        for bad in ["+/8", "A", "AA=A", "A A", "AAA\n", "AB", "AA===", "=", "ä", "AAAAA", "AAB="] {
            assert_eq!(decode_base64url(bad), Err(Base64UrlError), "{bad:?}");
        }
    }

    #[test]
    fn other_types_than_text_are_refused_and_nothing_is_printed() {
        for bad in ["1", "true", "{}", "[1,2]", "null"] {
            assert!(serde_json::from_str::<Binary>(bad).is_err(), "{bad}");
        }
        let secret: Binary = serde_json::from_str("\"aHVudGVyMg\"").unwrap();
        assert_eq!(secret.as_bytes(), b"hunter2");
        assert_eq!(format!("{secret:?}"), "Binary(…)");
        let shown = serde_json::to_string(&BinaryRef(secret.as_bytes())).unwrap();
        assert_eq!(shown, "\"aHVudGVyMg\"");
    }
}
