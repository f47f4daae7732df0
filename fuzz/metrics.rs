//! Counts that a partition tells its agent: what is taken for sound can be shown.
#![no_main]

use casemate_channel::Family;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(family) = serde_json::from_slice::<Family>(input) else { return };
    if !family.is_sound() {
        return;
    }
    assert!(family.name.starts_with("casemate_"));
    let words = family.labels.iter().chain([&family.name]);
    for word in words {
        assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
    }
    assert!(family.samples.iter().all(|sample| sample.labels.len() == family.labels.len()));
});
