//! The JSON bodies of the API.
#![no_main]

use casemate_wire::{
    BackupScheduleParameters, KeyCreateParameters, KeyImportParameters, KeyOperationParameters,
    KeySignParameters, KeyUpdateParameters, KeyVerifyParameters, RandomBytesParameters,
    RoleAssignmentCreateParameters, RoleDefinitionCreateParameters, decode_base64url,
};
use libfuzzer_sys::fuzz_target;
use serde_json::from_slice;

fuzz_target!(|bytes: &[u8]| {
    // Only a JSON object is taken, whatever the shape asks.
    let taken = from_slice::<KeyCreateParameters>(bytes).is_ok()
        | from_slice::<KeyImportParameters>(bytes).is_ok()
        | from_slice::<KeyUpdateParameters>(bytes).is_ok()
        | from_slice::<KeyOperationParameters>(bytes).is_ok()
        | from_slice::<KeySignParameters>(bytes).is_ok()
        | from_slice::<KeyVerifyParameters>(bytes).is_ok()
        | from_slice::<RandomBytesParameters>(bytes).is_ok()
        | from_slice::<BackupScheduleParameters>(bytes).is_ok()
        | from_slice::<RoleAssignmentCreateParameters>(bytes).is_ok()
        | from_slice::<RoleDefinitionCreateParameters>(bytes).is_ok();
    if taken {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        assert!(matches!(first, Some(b'{' | b'[')));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(decoded) = decode_base64url(text)
    {
        assert!(decoded.len() <= text.len());
    }
});
