//! Method, path and query of a request: what they name, before anything is allowed.
#![no_main]

use casemate_data_plane::route::{PATH_BYTES_MAX, parse};
use libfuzzer_sys::fuzz_target;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

fuzz_target!(|input: (u8, &str, Option<&str>)| {
    let (method, path, query) = input;
    let method = METHODS[usize::from(method) % METHODS.len()];
    if let Ok(routed) = parse(method, path, query) {
        assert!(path.len() <= PATH_BYTES_MAX);
        assert_ne!(method, "OPTIONS", "no call has this method");
        assert!(routed.route.success_status() < 300);
    }
});
