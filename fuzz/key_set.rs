//! An issuer's key set: fetched from outside, so it may hold anything.
#![no_main]

use casemate_token::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Ok(keys) = KeySet::parse(json) {
        assert!(keys.key("no such key, by its length alone").is_none() || json.len() > 32);
    }
});
