//! How long a file and a line of code may be.

use super::Breach;
use crate::workspace::File;

const FILE_LINES_MAX: usize = 600;
const LINE_COLUMNS_MAX: usize = 100;

/// Endings of files that hold code.
const CODE: &[&str] = &["rs", "py", "js", "mjs", "cjs", "ts", "sh"];

pub(super) fn check(file: &File) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if !CODE.contains(&file.ending()) {
        return breaches;
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let says =
            format!("{lines} lines; a file has at most {FILE_LINES_MAX}: one verb, one file");
        breaches.push(Breach::at(file, 0, says));
    }
    if file.ending() != "rs" {
        return breaches;
    }
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            let says = format!("{columns} columns; a line has at most {LINE_COLUMNS_MAX}");
            breaches.push(Breach::at(file, index + 1, says));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    #[test]
    fn sizes_at_the_limit_are_fine() {
        assert!(check(&file("a.rs", &"x\n".repeat(FILE_LINES_MAX))).is_empty());
        assert!(check(&file("a.rs", &"é".repeat(LINE_COLUMNS_MAX))).is_empty());
    }

    #[test]
    fn one_line_more_is_too_much_in_every_language() {
        for path in ["a.rs", "a.py", "a.js", "a.ts", "a.sh", "a.mjs"] {
            assert_eq!(check(&file(path, &"x\n".repeat(FILE_LINES_MAX + 1))).len(), 1, "{path}");
        }
    }

    #[test]
    fn one_column_more_is_too_much() {
        let breaches = check(&file("a.rs", &format!("ok\n{}", "x".repeat(LINE_COLUMNS_MAX + 1))));
        assert_eq!(breaches.len(), 1);
        assert_eq!(breaches[0].line, 2);
    }

    #[test]
    fn data_may_be_long() {
        assert!(check(&file("vectors.json", &"x\n".repeat(FILE_LINES_MAX + 1))).is_empty());
    }
}
