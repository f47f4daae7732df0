//! `casemate audit usage`: who still uses this key?

use std::io::Write;
use std::path::Path;

use casemate_audit::{Reader, UsageIndex};
use serde_json::json;

use super::AuditError;

/// Prints one JSON line for each key and caller, for one key the latest first.
pub(crate) fn usage(log: &Path, key: Option<&str>, out: &mut dyn Write) -> Result<(), AuditError> {
    let mut cursor = Reader::new(log).from(0);
    let mut index = UsageIndex::default();
    while let Some(entry) = cursor.next_written()? {
        index.see(entry.bytes);
    }
    for row in index.rows(key) {
        writeln!(out, "{}", json!(row))?;
    }
    if index.left_out() > 0 {
        writeln!(out, "{}", json!({ "usesOfFurtherCallers": index.left_out() }))?;
    }
    out.flush()?;
    Ok(())
}
