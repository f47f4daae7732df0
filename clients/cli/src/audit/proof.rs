//! `casemate audit prove`.

use std::io::Write;
use std::path::Path;

use casemate_audit::{Proof, hash_text, prove_consistency, prove_inclusion};
use serde_json::{Value, json};

use super::AuditError;
use super::arguments::Wanted;

/// Prints a proof as JSON. Hashes are base64, as Go's `tlog.Hash` reads them.
pub(crate) fn prove(log: &Path, what: &Wanted, out: &mut dyn Write) -> Result<(), AuditError> {
    let text = match (what.index, what.old) {
        (Some(index), _) => {
            let proof = prove_inclusion(log, index)?;
            let mut text = common(&proof, proof.checkpoint.head.size);
            text["kind"] = json!("inclusion");
            text["index"] = json!(index);
            text["entry"] = json!(String::from_utf8_lossy(&proof.entry));
            text
        }
        (None, old) => {
            let newest = casemate_audit::Reader::new(log).checkpoint()?;
            let newest = newest.map_or(0, |checkpoint| checkpoint.head.size);
            let (old, size) = (old.unwrap_or_default(), what.new.unwrap_or(newest));
            let proof = prove_consistency(log, old, size)?;
            let mut text = common(&proof, size);
            text["kind"] = json!("consistency");
            text["old"] = json!(old);
            text
        }
    };
    writeln!(out, "{text:#}")?;
    Ok(())
}

fn common(proof: &Proof, size: u64) -> Value {
    let hashes: Vec<String> = proof.hashes.iter().map(hash_text).collect();
    json!({
        "checkpoint": proof.checkpoint.note,
        "size": size,
        "from": hash_text(&proof.from),
        "root": hash_text(&proof.root),
        "proof": hashes,
    })
}
