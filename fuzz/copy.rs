//! Frontiers, proofs, receivers' messages and records to be counted: whoever owns a copy can put
//! any there.
#![no_main]

use casemate_audit::{Consistency, Frontier, UsageIndex, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut index = UsageIndex::default();
    index.see(bytes);
    assert_eq!(index.covered(), 1);
    if let Some(index) = UsageIndex::decode(bytes) {
        let again = UsageIndex::decode(&index.encode()).expect("what was read can be written");
        assert_eq!(again.rows(None), index.rows(None));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(frontier) = Frontier::read(text) {
        assert_eq!(frontier.text(), text);
    }
    if let Some(proof) = Consistency::read(text) {
        assert_eq!(proof.text(), text);
    }
    for line in verify::carried(text) {
        assert!(line.starts_with('{') && !line.contains('\n'));
    }
});
