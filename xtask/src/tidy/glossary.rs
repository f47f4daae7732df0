//! One word for one thing: the glossary's third column lists the words that are not used.
//!
//! `docs/glossary.md` holds a table of term, meaning and the words it replaces, those in
//! backticks. A replaced word is looked for in code and pages, joined or apart, in any case.

use super::Breach;
use super::words::has_word;
use crate::workspace::File;

const GLOSSARY: &str = "docs/glossary.md";

/// One word that is not used, and the term to use instead.
struct Replaced {
    word: String,
    term: String,
}

pub(super) fn check(files: &[File]) -> Vec<Breach> {
    let Some(glossary) = files.iter().find(|file| file.path == GLOSSARY) else {
        return vec![Breach::of(GLOSSARY, "is missing")];
    };
    let replaced = read(&glossary.text);
    if replaced.is_empty() {
        return vec![Breach::of(GLOSSARY, "has no table with a third column of words not used")];
    }
    let judged = files.iter().filter(|file| file.path != GLOSSARY);
    let judged = judged.filter(|file| matches!(file.ending(), "rs" | "md"));
    judged.flat_map(|file| judge(file, &replaced)).collect()
}

fn read(text: &str) -> Vec<Replaced> {
    let mut replaced = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [term, _, words] = cells.as_slice() else { continue };
        let words = words.split('`').skip(1).step_by(2);
        replaced.extend(words.map(|word| Replaced {
            word: word.to_lowercase(),
            term: term.trim_matches('*').to_owned(),
        }));
    }
    replaced
}

fn judge(file: &File, replaced: &[Replaced]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let plain = plain(line);
        for Replaced { word, term } in replaced.iter().filter(|entry| has_word(&plain, &entry.word))
        {
            let says = format!("`{word}`: the glossary calls it {term}");
            breaches.push(Breach::at(file, index + 1, says));
        }
    }
    breaches
}

/// The line as lower-case words: `PriceList`, `price_list` and `price-list` become
/// `price list`.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len() + 8);
    let mut after_small = false;
    for c in line.chars() {
        if c.is_uppercase() && after_small {
            plain.push(' ');
        }
        after_small = c.is_lowercase() || c.is_ascii_digit();
        match c {
            '_' | '-' => plain.push(' '),
            c => plain.extend(c.to_lowercase()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    const TABLE: &str = "| Term | Meaning | Not |\n|---|---|---|\n\
        | **fee table** | what it costs | `price list`, `cost table` |\n";

    fn judge_text(text: &str) -> Vec<String> {
        let files = [file(GLOSSARY, TABLE), file("hsm/core/src/a.rs", text)];
        check(&files).into_iter().map(|breach| breach.to_string()).collect()
    }

    #[test]
    fn the_term_itself_is_fine() {
        assert!(judge_text("struct FeeTable; // a price, list or not").is_empty());
    }

    #[test]
    fn a_replaced_word_is_found_however_it_is_written() {
        for text in ["PriceList", "price_list", "price-list", "a price list", "CostTable"] {
            let says = judge_text(text);
            assert_eq!(says.len(), 1, "{text}");
            assert!(says[0].ends_with("the glossary calls it fee table"), "{says:?}");
        }
    }

    #[test]
    fn no_glossary_or_an_empty_one_is_a_breach() {
        assert_eq!(check(&[]).len(), 1);
        assert_eq!(check(&[file(GLOSSARY, "nothing here")]).len(), 1);
    }
}
