//! Text of a source, so that a terminal shows it and does nothing else with it.

/// Longest text of a source that is repeated, in characters.
const CHARS_MAX: usize = 300;

/// The text with every sign that is not seen (control characters, changes of the direction,
/// spaces of no width) written out, such as `\u{1b}`; a longer one is cut.
#[must_use]
pub fn legible(text: &str) -> String {
    let mut told: String = text.chars().take(CHARS_MAX).map(written_out).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        told.push('…');
    }
    told
}

/// JSON in ASCII alone: it says the same, and nothing in it is hidden or moves a cursor.
#[must_use]
pub fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for sign in json.chars() {
        match sign {
            '\n' | ' '..='~' => text.push(sign),
            // Only strings of JSON hold other signs.
            other => {
                let mut units = [0; 2];
                let units = other.encode_utf16(&mut units).iter();
                text.extend(units.map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    text
}

/// Whether every sign of it is seen.
pub(crate) fn is_legible(text: &str) -> bool {
    text.chars().all(is_seen)
}

fn written_out(sign: char) -> String {
    match is_seen(sign) {
        true => sign.to_string(),
        false => sign.escape_unicode().to_string(),
    }
}

/// Unlike `escape_debug`, quotes and backslashes stand for themselves: to a terminal they are
/// letters, and what was written out once stays as it is.
fn is_seen(sign: char) -> bool {
    matches!(sign, '\'' | '"' | '\\') || sign.escape_debug().eq([sign])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_hides_is_written_out() {
        for (text, told) in [
            ("\u{1b}[2J\u{1b}]0;x\u{7}", r"\u{1b}[2J\u{1b}]0;x\u{7}"),
            ("a\r\nb\tc", r"a\u{d}\u{a}b\u{9}c"),
            ("\u{9b}31m\u{7f}\0", r"\u{9b}31m\u{7f}\u{0}"),
            ("pay\u{202e}gnp", r"pay\u{202e}gnp"),
            ("a\u{200b}b\u{2028}\u{feff}", r"a\u{200b}b\u{2028}\u{feff}"),
        ] {
            assert_eq!(legible(text), told);
            assert!(!is_legible(text), "{told}");
            assert_eq!(legible(&legible(text)), told, "twice is once");
        }
    }

    #[test]
    fn what_people_write_stays() {
        for text in ["", "it's \"ours\" \\ Größe", "支払い", "-x", "@x", "$(x) `y`"] {
            assert_eq!(legible(text), text);
            assert!(is_legible(text), "{text}");
        }
    }

    #[test]
    fn the_longest_text_is_cut() {
        let long = legible(&"ü".repeat(CHARS_MAX + 1));
        assert_eq!(long.chars().count(), CHARS_MAX + 1);
        assert!(long.ends_with("ü…"));
        assert!(!legible(&"x".repeat(CHARS_MAX)).ends_with('…'));
    }
    #[test]
    fn json_is_ascii_and_the_same() {
        let value = serde_json::json!({"a": "Größe \u{202e}\u{7f}\u{9b}\u{1f511}\n", "b": ["=@x"]});
        let text = ascii(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
