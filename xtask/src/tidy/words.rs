//! Words that announce unfinished work.
//!
//! Work that is not done is not committed as a promise in a comment. The words below are written
//! in halves, so that this file obeys its own rule.

use super::Breach;
use crate::workspace::File;

/// Banned with exactly this case, as whole words.
const MARKS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];

/// Banned in any case.
const PHRASES: &[&str] = &[concat!("for", " now"), concat!("simpli", "fied")];

/// Banned in Rust, in any place.
const CALLS: &[&str] = &[
    concat!("unimple", "mented!"),
    concat!("to", "do!"),
    concat!("db", "g!"),
    concat!("#[ig", "nore"),
];

/// Endings of the files that people write.
const WRITTEN: &[&str] =
    &["rs", "py", "js", "mjs", "cjs", "ts", "sh", "md", "toml", "yml", "yaml", "patch"];

pub(super) fn check(file: &File) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if !WRITTEN.contains(&file.ending()) {
        return breaches;
    }
    for (index, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let marks = MARKS.iter().filter(|word| has_word(line, word));
        let phrases = PHRASES.iter().filter(|phrase| has_word(&lower, phrase));
        let calls = CALLS.iter().filter(|call| file.ending() == "rs" && line.contains(*call));
        for word in marks.chain(phrases).chain(calls) {
            breaches.push(Breach::at(file, index + 1, format!("`{word}`: finish it or drop it")));
        }
    }
    breaches
}

/// Is the word in the text, with no letter, digit or underscore beside it?
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|head| head.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|tail| tail.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    #[test]
    fn each_banned_word_is_found() {
        for word in MARKS.iter().chain(PHRASES).chain(CALLS) {
            let breaches = check(&file("a.rs", &format!("fn a() {{}}\n// {word} later")));
            assert_eq!(breaches.len(), 1, "{word}");
            assert_eq!(breaches[0].line, 2);
        }
    }

    #[test]
    fn a_phrase_is_found_in_any_case_and_a_mark_only_in_its_own() {
        let phrase = PHRASES[0].to_uppercase();
        assert_eq!(check(&file("a.md", &phrase)).len(), 1);
        assert!(check(&file("a.md", &MARKS[0].to_lowercase())).is_empty());
    }

    #[test]
    fn a_part_of_a_longer_word_is_no_word() {
        for word in MARKS {
            assert!(check(&file("a.py", &format!("{word}S _{word}"))).is_empty(), "{word}");
        }
    }

    #[test]
    fn data_is_not_prose() {
        assert!(check(&file("vectors.json", MARKS[0])).is_empty());
        assert!(check(&file("a.md", CALLS[0])).is_empty());
    }
}
