//! The headers `traceparent` and `tracestate`, as anybody sends them: what is taken is of the form,
//! and no two texts are taken for the same ids.
#![no_main]

use casemate_trace::{Incoming, STATE_BYTES_MAX, trace_state};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let headers = || bytes.split(|byte| *byte == b'\n');
    if let Some(incoming) = Incoming::parse(headers()) {
        assert!(incoming.trace != [0; 16] && incoming.parent != [0; 8]);
        let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ids = format!("-{}-{}-", hex(&incoming.trace), hex(&incoming.parent));
        assert_eq!(&bytes[2..53], ids.as_bytes());
        assert!(!bytes.contains(&b'\n'), "two headers are none");
    }
    if let Some(state) = trace_state(headers()) {
        assert!(!state.is_empty() && state.len() <= STATE_BYTES_MAX);
        assert!(state.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
        let again = trace_state([state.as_bytes()].into_iter());
        assert_eq!(again.as_deref(), Some(&*state), "what was read can be read again");
    }
});
