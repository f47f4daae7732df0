//! `casemate audit verify`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use casemate_audit::verify::{self, Report, Seen, Terms};
use casemate_audit::{NOTE_BYTES_MAX, VerifierKey};

use super::AuditError;
use super::arguments::Check;
use super::place::logs;

/// Checks all logs below a folder.
pub(crate) fn folders(folder: &Path, check: &Check, out: &mut dyn Write) -> Result<(), AuditError> {
    let known = Known::of(check)?;
    let logs = logs(folder)?;
    // What was seen was of one log.
    if known.seen.is_some() && logs.len() > 1 {
        return Err(AuditError::Several { path: folder.to_owned() });
    }
    let mut findings = 0;
    for log in logs {
        writeln!(out, "{}", log.display())?;
        findings += print(&verify::folder(&log, known.terms(check)), out)?;
    }
    conclude(findings)
}

/// Checks a sink's copy.
pub(crate) fn copy(from: &Path, check: &Check, out: &mut dyn Write) -> Result<(), AuditError> {
    let known = Known::of(check)?;
    writeln!(out, "{}", from.display())?;
    conclude(print(&verify::copy(from, known.terms(check)), out)?)
}

/// What the asker brings.
struct Known {
    trust: Option<VerifierKey>,
    seen: Option<Seen>,
}

impl Known {
    fn of(check: &Check) -> Result<Self, AuditError> {
        let trust = check.trust.as_deref().map(VerifierKey::parse).transpose();
        let seen = check.seen.as_deref().map(seen).transpose()?;
        Ok(Self { trust: trust.map_err(AuditError::Trust)?, seen })
    }

    fn terms(&self, check: &Check) -> Terms<'_> {
        Terms {
            trust: self.trust.as_ref(),
            seen: self.seen.as_ref(),
            untied: check.untied,
            unsigned_max: check.unsigned_max,
            losses_max: check.losses_max,
        }
    }
}

/// A number, or a file with a checkpoint.
fn seen(text: &str) -> Result<Seen, AuditError> {
    if let Ok(size) = text.parse() {
        return Ok(Seen::Size(size));
    }
    let path = Path::new(text);
    note(path).map(Seen::Note).map_err(|source| AuditError::Seen { path: path.to_owned(), source })
}

fn note(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = String::new();
    let limit = u64::try_from(NOTE_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    Ok(text)
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
        first => writeln!(out, "  records  {} from seq {} on", report.records, first + 1)?,
    }
    if let Some(head) = report.head {
        writeln!(out, "  signed   up to seq {}", head.size)?;
    }
    if report.untied > 0 {
        writeln!(out, "  untied   {} of them: checked for gaps only", report.untied)?;
    }
    if report.unsigned > 0 {
        writeln!(out, "  unsigned {} of them: vouched for by nothing", report.unsigned)?;
    }
    for loss in &report.losses {
        writeln!(out, "  lost     {loss}")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_a_number_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("checkpoint");
        fs::write(&file, "log\n").unwrap();
        assert_eq!(seen("812").unwrap(), Seen::Size(812));
        assert_eq!(seen(file.to_str().unwrap()).unwrap(), Seen::Note("log\n".to_owned()));
        fs::write(&file, b"\xff").unwrap();
        for bad in ["-1", "", "/no/such/file", "/dev/zero", "/", file.to_str().unwrap()] {
            assert!(matches!(seen(bad), Err(AuditError::Seen { .. })), "{bad}");
        }
    }

    #[test]
    fn what_was_seen_is_asked_of_one_log() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/audit", "b/audit"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let check = Check { seen: Some("1".to_owned()), ..Check::default() };
        let asked = folders(dir.path(), &check, &mut Vec::new());
        assert!(matches!(asked, Err(AuditError::Several { .. })));
        let asked = folders(dir.path(), &Check::default(), &mut Vec::new());
        assert!(matches!(asked, Err(AuditError::Findings { .. })));
    }
}
