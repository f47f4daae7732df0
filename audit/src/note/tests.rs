//! Notes that are as they should be, and many that are not.

use super::*;
use crate::testing::TestSigner;

const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
/// Key and note are those of the documentation of Go's `sumdb/note`.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_SIGNATURE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgY\
                            N1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn key() -> VerifierKey {
    VerifierKey::new("hsm/log", TestSigner::new(1).public_key()).unwrap()
}

fn note() -> String {
    sign("hsm/log\n1\nx\n", &key(), &TestSigner::new(1))
}

#[test]
fn keys_survive_their_text() {
    let text = key().to_string();
    assert_eq!(VerifierKey::parse(&text), Ok(key()));
    assert_eq!(VerifierKey::parse(GO_KEY).unwrap().to_string(), GO_KEY);
}

#[test]
fn texts_that_are_no_keys_are_refused() {
    let good = key().to_string();
    let other_id = good.replacen('+', "+0", 1);
    let renamed = format!("x{good}");
    let other_number = {
        let mut bytes = vec![2];
        bytes.extend_from_slice(&key().public_key);
        format!("hsm/log+{}+{}", key().id_text(), BASE64_STANDARD.encode(bytes))
    };
    let short = good[..good.len() - 4].to_owned();
    for bad in
        ["", "+", "++", "a+b", "hsm/log+00000000+", &other_id, &renamed, &other_number, &short]
    {
        assert_eq!(VerifierKey::parse(bad), Err(NoteError::Key), "{bad}");
    }
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
        assert_eq!(VerifierKey::new(name, [0; 32]), Err(NoteError::Key), "{name:?}");
    }
}

#[test]
fn the_note_of_another_implementation_opens() {
    let note = format!("{TEXT}\n{GO_SIGNATURE}");
    assert_eq!(VerifierKey::parse(GO_KEY).unwrap().open(&note), Ok(TEXT));
}

#[test]
fn a_note_opens_with_its_key_alone() {
    let note = note();
    assert_eq!(key().open(&note), Ok("hsm/log\n1\nx\n"));
    let stranger = VerifierKey::new("hsm/log", TestSigner::new(2).public_key()).unwrap();
    assert_eq!(stranger.open(&note), Err(NoteError::Unsigned));
    let renamed = VerifierKey::new("hsm/lag", TestSigner::new(1).public_key()).unwrap();
    assert_eq!(renamed.open(&note), Err(NoteError::Unsigned));
}

#[test]
fn every_changed_byte_of_a_note_is_noticed() {
    let note = note();
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            assert!(key().open(&text).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn what_is_no_note_is_told_from_a_forged_one() {
    let note = note();
    let cut = &note[..note.len() - 1];
    let control = note.replacen("1\n", "\u{1}\n", 1);
    let many = format!("{note}{}", note.lines().last().unwrap()).repeat(40);
    for bad in ["", "\n", "\n\n", "a\n\nb\n", cut, &control, &many] {
        assert_eq!(key().open(bad), Err(NoteError::Form), "{bad:?}");
    }
    assert_eq!(key().open(&note.replacen('1', "2", 1)), Err(NoteError::Forged));
    let long = format!("{}{note}", "x\n".repeat(NOTE_BYTES_MAX));
    assert_eq!(key().open(&long), Err(NoteError::Form));
}
