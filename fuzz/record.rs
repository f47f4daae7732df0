//! A stored value and the head: whoever owns the store can put any bytes there.
#![no_main]

use casemate_store_port::{FORMAT_VERSION, decode_head, decode_record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, sealed)) = decode_record(bytes) {
        assert_eq!(bytes.first(), Some(&FORMAT_VERSION));
        assert!(bytes.ends_with(sealed) && sealed.len() < bytes.len());
    }
    if decode_head(bytes).is_ok() {
        assert_eq!(bytes.len(), 49);
    }
});
