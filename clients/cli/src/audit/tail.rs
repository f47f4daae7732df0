//! `casemate audit tail`.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::AuditError;
use super::each::Records;

/// How often is looked for more.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints the last records, and those that follow if asked to.
pub(crate) fn tail(
    log: &Path,
    lines: u32,
    follow: bool,
    out: &mut dyn Write,
) -> Result<(), AuditError> {
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    let signed = Records::from(log, 0)?.signed();
    let mut records = Records::from(log, signed.saturating_sub(u64::from(lines)))?;
    let mut last: VecDeque<Vec<u8>> = VecDeque::new();
    while let Some(line) = records.next()? {
        last.push_back(line.to_vec());
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
        records.look()?;
        while let Some(line) = records.next()? {
            print(line, out)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::each;

    #[test]
    fn the_last_records_are_printed_or_it_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        each::samples::log(dir.path(), 20);
        let printed = |lines, follow| {
            let mut out = Vec::new();
            let tailed = tail(dir.path(), lines, follow, &mut out);
            (tailed, String::from_utf8(out).unwrap().lines().count())
        };
        let (tailed, count) = printed(10, false);
        assert!(tailed.is_ok() && count == 10);
        each::samples::harm(dir.path(), |text| text.replacen("{\"seq\":15,", "{\"seq\":16,", 1));
        for follow in [false, true] {
            let (tailed, _) = printed(10, follow);
            assert!(matches!(tailed, Err(AuditError::Read(_))), "{tailed:?}");
        }
    }
}
