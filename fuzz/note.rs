//! Notes, keys, checkpoints and certificates: whoever owns the folder or a copy can put any there.
#![no_main]

use casemate_audit::{Anchor, Certificate, Checkpoint, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(anchor) = Anchor::decode(bytes) {
        assert_eq!(anchor.encode(), bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key.clone()));
        assert!(key.open(text).is_err());
    }
    if let Ok(checkpoint) = Checkpoint::read(text) {
        assert!(text.starts_with(&checkpoint.origin));
    }
    assert!(Certificate::read(text).is_err(), "no fuzzer signs");
});
