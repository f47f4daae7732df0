//! `casemate audit tail`.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use casemate_audit::Reader;

use super::AuditError;

/// How often is looked for more.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints the last records, and those that follow if asked to.
pub(crate) fn tail(
    log: &Path,
    lines: u32,
    follow: bool,
    out: &mut dyn Write,
) -> Result<(), AuditError> {
    let reader = Reader::new(log);
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let signed = reader.checkpoint()?.map_or(0, |checkpoint| checkpoint.head.size);
    let mut cursor = reader.from(signed.saturating_sub(u64::from(lines)));
    let mut last: VecDeque<Vec<u8>> = VecDeque::new();
    while let Some(entry) = cursor.next_written()? {
        last.push_back(entry.bytes.to_vec());
        if last.len() > wanted {
            last.pop_front();
        }
    }
    for line in last {
        print(&line, out)?;
    }
    out.flush()?;
    if !follow {
        return Ok(());
    }
    // Until it is interrupted, or nobody reads any more.
    loop {
        let mut more = false;
        while let Some(entry) = cursor.next_written()? {
            print(entry.bytes, out)?;
            more = true;
        }
        if more {
            out.flush()?;
        }
        sleep(PAUSE);
    }
}

/// A record and a newline.
pub(crate) fn print(line: &[u8], out: &mut dyn Write) -> Result<(), AuditError> {
    out.write_all(line)?;
    out.write_all(b"\n")?;
    Ok(())
}
