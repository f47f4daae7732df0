//! The name in a TLS hello: the first bytes of anybody reach this parser, in the agent.
#![no_main]

use casemate_agent::sni::{HELLO_BYTES_MAX, Sni, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        // What is given out as a name must be fit to look an HSM up with.
        Sni::Name(name) => {
            assert!(!name.is_empty() && name.len() <= 253);
            assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
        // Asked for what it has, or for more than the limit, the gate would wait for ever.
        Sni::NeedMore(wanted) => {
            assert!(wanted > bytes.len() && bytes.len() < HELLO_BYTES_MAX);
        }
        Sni::Absent | Sni::NotTls => {}
    }
});
