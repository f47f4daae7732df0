//! `casemate audit usage`: who still uses this key?

use std::io::Write;
use std::path::Path;

use casemate_audit::UsageIndex;
use serde_json::json;

use super::AuditError;
use super::each::Records;

/// Prints one JSON line for each key and caller who used it, and for each who read it; for one key
/// the latest first.
pub(crate) fn usage(log: &Path, key: Option<&str>, out: &mut dyn Write) -> Result<(), AuditError> {
    let mut records = Records::from(log, 0)?;
    let mut index = UsageIndex::default();
    while let Some(line) = records.next()? {
        if !index.see(line) {
            return Err(AuditError::Damaged { sequence: records.sequence() });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::each;

    #[test]
    fn what_cannot_be_counted_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let counted = || {
            let mut out = Vec::new();
            let counted = usage(dir.path(), Some("pay"), &mut out);
            (counted, String::from_utf8(out).unwrap())
        };
        each::samples::log(dir.path(), 5);
        let (done, out) = counted();
        assert!(done.is_ok() && out.contains("\"count\":5") && out.contains("\"kind\":\"use\""));
        each::samples::harm(dir.path(), |text| text.replacen("{\"seq\":4,", "{\"seq\":5,", 1));
        assert!(matches!(counted(), (Err(AuditError::Read(_)), out) if out.is_empty()));
        each::samples::log(dir.path(), 5);
        each::samples::harm(dir.path(), |text| text.replacen("\"time\"", "\"time", 1));
        assert!(matches!(counted().0, Err(AuditError::Damaged { sequence: 1 })));
    }
}
