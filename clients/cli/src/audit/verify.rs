//! `casemate audit verify`.

use std::io::Write;
use std::path::Path;

use casemate_audit::VerifierKey;
use casemate_audit::verify::{self, Report};

use super::AuditError;
use super::place::logs;

/// Checks all logs below a folder.
pub(crate) fn folders(
    folder: &Path,
    trust: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), AuditError> {
    let trust = trusted(trust)?;
    let mut findings = 0;
    for log in logs(folder)? {
        writeln!(out, "{}", log.display())?;
        findings += print(&verify::folder(&log, trust.as_ref()), out)?;
    }
    conclude(findings)
}

/// Checks a sink's copy.
pub(crate) fn copy(
    from: &Path,
    trust: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), AuditError> {
    let trust = trusted(trust)?;
    writeln!(out, "{}", from.display())?;
    conclude(print(&verify::copy(from, trust.as_ref()), out)?)
}

fn trusted(text: Option<&str>) -> Result<Option<VerifierKey>, AuditError> {
    text.map(VerifierKey::parse).transpose().map_err(AuditError::Trust)
}

fn conclude(findings: u64) -> Result<(), AuditError> {
    if findings == 0 { Ok(()) } else { Err(AuditError::Findings { findings }) }
}

/// Prints a report and returns the number of findings.
fn print(report: &Report, out: &mut dyn Write) -> Result<u64, AuditError> {
    if report.key_is_its_own {
        writeln!(
            out,
            "  warning: no --trust was given: the key was taken from what is checked, so whoever \
             could change all of it could change the key too"
        )?;
    }
    if let Some(key) = &report.key {
        writeln!(out, "  key      {key}")?;
    }
    match report.first {
        0 => writeln!(out, "  records  {}", report.records)?,
        first => writeln!(
            out,
            "  records  {} from seq {} on; they do not begin at 1, so no root was compared",
            report.records,
            first + 1
        )?,
    }
    if let Some(head) = report.head {
        writeln!(out, "  signed   {} of them", head.size)?;
    }
    for finding in &report.findings {
        write!(out, "  FINDING  {finding}")?;
        let mut cause = std::error::Error::source(finding);
        while let Some(inner) = cause {
            write!(out, ": {inner}")?;
            cause = inner.source();
        }
        writeln!(out)?;
    }
    if report.more > 0 {
        writeln!(out, "  and {} more", report.more)?;
    }
    if report.is_clean() {
        writeln!(out, "  ok")?;
    }
    Ok(u64::try_from(report.findings.len()).unwrap_or(u64::MAX).saturating_add(report.more))
}
