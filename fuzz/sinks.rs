//! Settings of sinks, as a caller sends them: what is taken has every secret it needs, and shows
//! none.
#![no_main]

use casemate_audit_sinks::{SealedSinks, Sinks, SinksRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = SinksRequest::parse(bytes) else { return };
    let Ok(sinks) = request.complete(&Sinks::default()) else { return };
    let sealed = serde_json::to_vec(&sinks.seal()).expect("settings are JSON");
    let back: SealedSinks = serde_json::from_slice(&sealed).expect("sealed settings are read");
    assert_eq!(back.open().expect("they are whole"), sinks);
    let shown = serde_json::to_value(&sinks).expect("settings are JSON");
    for sink in shown["sinks"].as_array().expect("a list") {
        assert!(sink.get("secret").is_none());
    }
});
