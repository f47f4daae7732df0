//! The audit log as the operator finds it: lines of JSON in the HSM's folder.
//!
//! It is the tests' second witness: what a client claims to have asked must stand here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::scan;

/// All records below a data folder, in the order of their files.
///
/// A torn last line (the process may be writing) is left out; any other line that is no JSON ends
/// the test.
pub fn records(data_dir: &Path) -> Vec<Value> {
    let mut records = Vec::new();
    for file in scan::files(data_dir).expect("the data folder can be read") {
        if is_log(&file) {
            let bytes = fs::read(&file).expect("the audit log can be read");
            records.extend(lines(&bytes, &file));
        }
    }
    records
}

/// How many calls of each operation are recorded as ended. An intent is no ended call.
pub fn counts(data_dir: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in records(data_dir).iter().filter(|record| record["phase"] != "intent") {
        let name = record["operationName"].as_str().expect("a record names its operation");
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

/// Whether this file is a part of an audit log.
pub fn is_log(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("audit-") && name.ends_with(".jsonl")
}

/// Whole lines; while the process runs, zeros stand ahead of where it will write next.
fn lines(bytes: &[u8], file: &Path) -> Vec<Value> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
    let parse = |line: &str| {
        let record = serde_json::from_str(line);
        assert!(record.is_ok(), "{}: not JSON: {line:?}", file.display());
        record.unwrap_or(Value::Null)
    };
    text.lines().filter(|line| !line.is_empty()).map(parse).collect()
}
