//! `casemate audit unwrap`: from what a syslog or OTLP receiver keeps to what `verify` takes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use casemate_audit::verify::carried;

use super::AuditError;

/// Longest line of a receiver's file, in bytes: a batch of OTLP in JSON is well below.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Prints the lines of the copy that a receiver's file carries; `-` is the standard input.
pub(crate) fn unwrap(file: &Path, out: &mut dyn Write) -> Result<(), AuditError> {
    let mut reader: Box<dyn BufRead> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(file)?)),
    };
    let mut found = false;
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if u64::try_from(line.len()) == Ok(LINE_BYTES_MAX) && !line.ends_with(b"\n") {
            return Err(AuditError::TooLong { line: number, bytes_max: LINE_BYTES_MAX });
        }
        // Of bytes that are no UTF-8 nothing is ours: a copy's lines are JSON.
        for text in std::str::from_utf8(&line).map(carried).unwrap_or_default() {
            writeln!(out, "{text}")?;
            found = true;
        }
    }
    out.flush()?;
    if found { Ok(()) } else { Err(AuditError::NothingCarried { path: file.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrapped(content: &[u8]) -> Result<String, AuditError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("messages");
        std::fs::write(&file, content).unwrap();
        let mut out = Vec::new();
        unwrap(&file, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_lines_of_the_copy_come_out_and_nothing_else() {
        let messages = b"\xff\xfe\n<30>1 - host sshd - - - hello\n\
            <110>1 - dev casemate - KeySign [casemate@32473 index=\"0\"] {\"seq\":1}\n\
            <110>1 - dev casemate - Checkpoint - {\"checkpoint\":\"x\"}";
        assert_eq!(unwrapped(messages).unwrap(), "{\"seq\":1}\n{\"checkpoint\":\"x\"}\n");
    }

    #[test]
    fn a_file_without_any_and_an_endless_line_are_errors() {
        for content in [&b""[..], b"{\"seq\":1}\n", b"hello\n"] {
            assert!(matches!(unwrapped(content), Err(AuditError::NothingCarried { .. })));
        }
        let long = vec![b'x'; usize::try_from(LINE_BYTES_MAX).unwrap() + 1];
        assert!(matches!(unwrapped(&long), Err(AuditError::TooLong { line: 1, .. })));
        let mut out = Vec::new();
        assert!(matches!(unwrap(Path::new("/no/such"), &mut out), Err(AuditError::Io(_))));
    }
}
