//! The one profile of JSON Web Encryption that is spoken, and all others that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::jwe::{JWE_BYTES_MAX, JweError, open_direct, seal_direct};
use casemate_quorum::{Hidden, ITEM_KEY_BYTES};

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(byte: u8) -> Hidden {
    Hidden::new(vec![byte; ITEM_KEY_BYTES])
}

fn sealed() -> String {
    seal_direct(&key(1), "tag", b"sixteen or more bytes", &SoftPrimitives).unwrap()
}

fn opened(text: &str) -> Result<Hidden, JweError> {
    open_direct(text, &key(1), &SoftPrimitives)
}

fn with_part(text: &str, at: usize, part: &str) -> String {
    let mut parts: Vec<&str> = text.split('.').collect();
    parts[at] = part;
    parts.join(".")
}

#[test]
fn what_was_sealed_opens_and_no_two_are_alike() {
    assert_eq!(opened(&sealed()).unwrap().expose(), b"sixteen or more bytes");
    assert_ne!(sealed(), sealed());
    for length in [0, 1, 15, 16, 17, 4096] {
        let text = vec![7; length];
        let sealed = seal_direct(&key(1), "t", &text, &SoftPrimitives).unwrap();
        assert_eq!(opened(&sealed).unwrap().expose(), text);
    }
}

#[test]
fn a_tag_of_another_length_is_refused_before_anything_is_decrypted() {
    let text = sealed();
    let tag = decode(text.rsplit('.').next().unwrap()).unwrap();
    for found in (0..=64).filter(|length| *length != 32) {
        let mut other = tag.clone();
        other.resize(found, 0);
        let text = with_part(&text, 4, &encode(&other));
        assert_eq!(opened(&text).unwrap_err(), JweError::TagLength { found });
    }
}

#[test]
fn no_changed_bit_of_any_part_opens() {
    let text = sealed();
    for part in [0, 2, 3, 4] {
        let bytes = decode(text.split('.').nth(part).unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = with_part(&text, part, &encode(&changed));
            assert!(opened(&changed).is_err(), "part {part} byte {at}");
        }
    }
    assert_eq!(open_direct(&text, &key(2), &SoftPrimitives), Err(JweError::NotAuthentic));
    let short = Hidden::new(vec![1; 63]);
    assert_eq!(open_direct(&text, &short, &SoftPrimitives), Err(JweError::Key));
}

#[test]
fn other_profiles_and_forms_are_refused_by_name() {
    let text = sealed();
    let header = |json: &str| with_part(&text, 0, &encode(json.as_bytes()));
    let enc = "A256CBC-HS512";
    let refused = |text: &str| opened(text).unwrap_err();
    let wrapped = header(&format!(r#"{{"alg":"RSA-OAEP-256","enc":"{enc}"}}"#));
    assert_eq!(refused(&wrapped), JweError::Algorithm { expected: "dir" });
    assert_eq!(refused(&header(r#"{"alg":"dir","enc":"A256GCM"}"#)), JweError::Encryption);
    for extension in [r#""zip":"DEF""#, r#""crit":["exp"]"#] {
        let text = header(&format!(r#"{{"alg":"dir","enc":"{enc}",{extension}}}"#));
        assert_eq!(refused(&text), JweError::Extension);
    }
    for json in ["", "[]", "{}", r#"{"alg":"dir"}"#, "\u{0}"] {
        assert_eq!(refused(&header(json)), JweError::Header, "{json}");
    }
    assert_eq!(refused(&with_part(&text, 1, "AAAA")), JweError::Key);
    assert_eq!(refused(&with_part(&text, 2, "AAAA")), JweError::Iv);
    for form in ["", "a.b", "a.b.c.d.e.f", "....", &format!("{text}=")] {
        assert!(matches!(refused(form), JweError::Form | JweError::Header), "{form}");
    }
    assert_eq!(refused(&"A".repeat(JWE_BYTES_MAX + 1)), JweError::TooLong);
}
