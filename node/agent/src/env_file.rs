//! `dev.env`: what a shell needs to use the HSM. It is there exactly while the HSM answers.

use std::fmt::Write;

/// Its name in the data folder.
pub(crate) const ENV_FILE: &str = "dev.env";

/// The file's text: one `export NAME='value'` a line.
pub(crate) fn render(variables: &[(&str, String)]) -> String {
    let mut text = String::from("# Written by casemate dev; removed when it stops.\n");
    for (name, value) in variables {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "export {name}={}", quote(value));
    }
    text
}

/// A value that any POSIX shell reads back unchanged.
pub(crate) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: [&str; 9] = [
        "plain",
        "",
        "it's",
        "a b\tc",
        "$HOME `id` $(id) \\ \"",
        "''",
        "line\nbreak",
        "!event;&|<>*?[]{}~#",
        "\u{e4}\u{1f511}",
    ];

    #[test]
    fn a_shell_reads_back_what_was_written() {
        for value in NASTY {
            let text = render(&[("CASEMATE_X", value.to_owned())]);
            let script = format!("{text}printf %s \"$CASEMATE_X\"");
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn nothing_in_a_value_is_run() {
        let parent = tempfile::tempdir().unwrap();
        let mark = parent.path().join("mark");
        let value = format!("'; touch {} #", mark.display());
        let script = render(&[("X", value)]);
        let status = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
        assert!(status.success());
        assert!(!mark.exists());
    }
}
