//! Frames between a partition and its courier: each end reads what the other one sends, and either
//! may have been taken over.
#![no_main]

use casemate_channel::courier::{FromCourier, ToCourier};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = ToCourier::decode(bytes) {
        let again = ToCourier::decode(&message.encode()).expect("what was read can be written");
        assert_eq!(again, message);
    }
    if let Ok(message) = FromCourier::decode(bytes) {
        let again = FromCourier::decode(&message.encode()).expect("what was read can be written");
        assert_eq!(again, message);
    }
});
