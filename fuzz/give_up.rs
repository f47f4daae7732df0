//! What an operator wrote who gives a lost audit log up: whoever owns the disk can write that file.
#![no_main]

use casemate_audit::{GIVE_UP_BYTES_MAX, GiveUp, Loss, WORDS_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= GIVE_UP_BYTES_MAX)
        && let Ok(asked) = GiveUp::parse(bytes)
    {
        assert!(asked.by.len() <= WORDS_BYTES_MAX && asked.reason.len() <= WORDS_BYTES_MAX);
        assert_eq!(GiveUp::parse(&asked.encode()), Ok(asked));
    }
    if let Some(losses) = Loss::decode(bytes) {
        assert_eq!(Loss::decode(&Loss::encode(&losses)), Some(losses));
    }
});
