//! Tests in a program with a `main` of its own, told in the words of Rust's test runner.
//!
//! Whoever sums up a run reads `test result:` lines; a program without the usual harness must print
//! one too, above all when it fails.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// One test: its name, and what panics if it fails.
pub type Case<'a> = (&'a str, &'a mut dyn FnMut());

/// Runs every test, one after the other, and ends with the summary line.
pub fn run(cases: &mut [Case<'_>]) -> ExitCode {
    let (mut passed, mut failed) = (0_usize, 0_usize);
    say(&format!("\nrunning {} tests", cases.len()));
    for (name, case) in cases {
        let good = catch_unwind(AssertUnwindSafe(case)).is_ok();
        *(if good { &mut passed } else { &mut failed }) += 1;
        say(&format!("test {name} ... {}", if good { "ok" } else { "FAILED" }));
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored\n"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    writeln!(io::stdout().lock(), "{line}").expect("standard output is open");
}
