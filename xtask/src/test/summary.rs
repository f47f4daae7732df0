//! Adds up the test runner's own summary lines.

use std::fmt;

/// The sum over all test programs of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Summary {
    /// Takes one line of output; only a summary line changes anything.
    ///
    /// Such a line reads `test result: ok. 5 passed; 0 failed; 0 ignored; …`.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let counts = rest.split_once(". ").map_or(rest, |(_, counts)| counts);
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u64>().ok());
            match (number, words.next()) {
                (Some(number), Some("passed")) => self.passed += number,
                (Some(number), Some("failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(lines: &[&str]) -> String {
        let mut summary = Summary::default();
        lines.iter().for_each(|line| summary.read(line));
        summary.to_string()
    }

    #[test]
    fn adds_up_all_summaries() {
        let says = sum(&[
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.01s",
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out",
        ]);
        assert_eq!(says, "12 passed, 2 failed");
    }

    #[test]
    fn other_lines_count_nothing() {
        let says = sum(&[
            "test keys::tests::a ... ok",
            "running 5 tests",
            "said: test result: ok. 5 passed; 0 failed",
            "test result: ok",
            "",
        ]);
        assert_eq!(says, "0 passed, 0 failed");
    }
}
