//! Progress, one line at a time, on standard error.

use std::fmt::Arguments;
use std::io::{self, Write};

/// Writes one line. A closed standard error is no reason to stop serving.
pub(crate) fn say(line: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "casemate: {line}");
}
