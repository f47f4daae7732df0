//! A bearer token, before anything about it is verified.
#![no_main]

use casemate_token::{TOKEN_BYTES_MAX, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    if let Ok(parsed) = parse(token) {
        assert!(token.len() <= TOKEN_BYTES_MAX);
        assert_eq!(token.matches('.').count(), 2);
        assert!(parsed.header.contains_key("alg"));
    }
});
