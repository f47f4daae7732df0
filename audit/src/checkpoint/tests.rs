//! Checkpoints and certificates.

use super::*;
use crate::testing::TestSigner;

fn key(name: &str, seed: u8) -> VerifierKey {
    VerifierKey::new(name, TestSigner::new(seed).public_key()).unwrap()
}

#[test]
fn a_checkpoint_says_what_was_signed() {
    let head = Head { size: 4711, root: [9; 32] };
    let key = key("hsm/log", 1);
    let signed = Checkpoint::sign(head, &key, &TestSigner::new(1));
    let read = Checkpoint::verified(&signed.note, &key).unwrap();
    assert_eq!((read.head, read.origin.as_str()), (head, "hsm/log"));
    assert!(signed.note.starts_with("hsm/log\n4711\nCQkJ"), "{}", signed.note);
}

#[test]
fn a_signed_text_that_is_no_checkpoint_is_refused() {
    let key = key("hsm/log", 1);
    let root = BASE64_STANDARD.encode([9; 32]);
    for text in [
        "hsm/log\n".to_owned(),
        format!("hsm/log\n\n{root}\n"),
        format!("hsm/log\n01\n{root}\n"),
        format!("hsm/log\n+1\n{root}\n"),
        format!("hsm/log\n-1\n{root}\n"),
        format!("hsm/log\n99999999999999999999\n{root}\n"),
        format!("hsm/log\n1\n{}\n", BASE64_STANDARD.encode([9; 31])),
        format!("\n1\n{root}\n"),
    ] {
        let note = sign(&text, &key, &TestSigner::new(1));
        assert!(Checkpoint::verified(&note, &key).is_err(), "{text:?}");
    }
    let other = sign(&format!("hsm/other\n1\n{root}\n"), &key, &TestSigner::new(1));
    assert_eq!(Checkpoint::verified(&other, &key), Err(NoteError::Unsigned), "another's log");
}

#[test]
fn a_certificate_names_the_key_and_is_the_identity_keys_alone() {
    let (log, identity) = (key("hsm/log", 1), key("hsm", 2));
    let time = "2026-01-01T00:00:00Z";
    let certificate = certify(&log, "dev 00ff", time, &identity, &TestSigner::new(2));
    let read = Certificate::read(&certificate).unwrap();
    assert_eq!(read, Certificate { log: log.clone(), identity: identity.clone() });
    let forged = certificate.replace("2026", "2027");
    assert_eq!(Certificate::read(&forged), Err(NoteError::Forged));
    let renamed = certificate.replace("log hsm/log", "log hsm/lag");
    assert!(Certificate::read(&renamed).is_err());
    let by_another = certify(&log, "dev 00ff", time, &identity, &TestSigner::new(3));
    assert_eq!(Certificate::read(&by_another), Err(NoteError::Forged));
    let twice = format!("{certificate}— other AAAAAAAA\n");
    assert_eq!(Certificate::read(&twice), Err(NoteError::Form), "nothing may be added to it");
    for text in [
        "something else\nhsm a\nlog b\n".to_owned(),
        format!("{CERTIFICATE_TITLE}\nhsm a\nlog {log}\n"),
        format!("{CERTIFICATE_TITLE}\nhsm a\nidentity {identity}\nlog {log}\ntime 1\n"),
    ] {
        let note = sign(&text, &identity, &TestSigner::new(2));
        assert_eq!(Certificate::read(&note), Err(NoteError::Form), "{text}");
    }
}
