//! Searches anything for traces of a secret.
//!
//! A secret counts as leaked when any 24 bytes from its beginning, middle or end are found: as they
//! are, reversed, in hex, in base64 and base64url at every alignment, or as the list of numbers
//! that a careless debug print makes. It does not look inside compressed or encrypted data.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// So many bytes of a secret together are no accident.
const WINDOW_BYTES: usize = 24;

/// A shorter secret could be found by accident.
const SECRET_BYTES_MIN: usize = 12;

/// One form in which a part of a secret may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    /// The bytes to look for.
    pub bytes: Vec<u8>,
    /// What they are, for the message.
    pub form: String,
}

/// Where a secret was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Name of the secret.
    pub secret: String,
    /// The form in which it showed.
    pub form: String,
    /// File, answer or other place.
    pub place: String,
    /// Offset in bytes.
    pub offset: usize,
}

/// Looks for many secrets at once.
#[derive(Debug)]
pub struct Scanner {
    automaton: AhoCorasick,
    names: Vec<(String, String)>,
}

/// Every form of one secret.
pub fn needles(secret: &[u8]) -> Vec<Needle> {
    assert!(secret.len() >= SECRET_BYTES_MIN, "a secret of {} bytes is too short", secret.len());
    let mut all = Vec::new();
    for (part, window) in windows(secret) {
        let reversed: Vec<u8> = window.iter().rev().copied().collect();
        for (order, bytes) in [("", window), (" reversed", &reversed)] {
            for (form, shown) in forms(bytes) {
                all.push(Needle { bytes: shown, form: format!("{part}{order} {form}") });
            }
        }
    }
    all
}

impl Scanner {
    /// A scanner for secrets with names.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut patterns = Vec::new();
        let mut names = Vec::new();
        for (name, secret) in secrets {
            for needle in needles(secret) {
                names.push((name.to_owned(), needle.form));
                patterns.push(needle.bytes);
            }
        }
        assert!(!patterns.is_empty(), "a scanner without secrets finds nothing");
        let automaton = AhoCorasick::new(patterns).expect("a few thousand short patterns fit");
        Self { automaton, names }
    }

    /// Everything found in these bytes.
    pub fn bytes(&self, place: &str, bytes: &[u8]) -> Vec<Found> {
        let hits = self.automaton.find_iter(bytes);
        let found = hits.map(|hit| {
            let (secret, form) = self.names[hit.pattern().as_usize()].clone();
            Found { secret, form, place: place.to_owned(), offset: hit.start() }
        });
        found.collect()
    }

    /// Everything found in a file or in all files below a folder, names of files included.
    pub fn files(&self, below: &Path) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for file in files(below)? {
            let place = file.display().to_string();
            found.extend(self.bytes(&place, place.as_bytes()));
            found.extend(self.bytes(&place, &fs::read(&file)?));
        }
        Ok(found)
    }
}

impl Scanner {
    /// Everything found in the memory of a running process; the reader must be root, or the user of
    /// a process that may be traced. Also how many bytes were looked at.
    pub fn memory(&self, process: u32) -> io::Result<(Vec<Found>, u64)> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let memory = fs::File::open(format!("/proc/{process}/mem"))?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for line in maps.lines() {
            let mut fields = line.split(' ');
            let (range, rights) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
            let Some((from, to)) = range.split_once('-') else { continue };
            let ends = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16));
            let (Ok(from), Ok(to)) = ends else { continue };
            if !rights.starts_with('r') {
                continue;
            }
            let mut hay = vec![0; usize::try_from(to - from).unwrap_or_default()];
            // Pages of the kernel's own, and secret ones, cannot be read, by nobody.
            if memory.read_exact_at(&mut hay, from).is_ok() {
                bytes += to - from;
                found.extend(self.bytes(line, &hay));
            }
        }
        Ok((found, bytes))
    }
}

/// All plain files below a folder (or the file itself). Links are not followed.
pub fn files(below: &Path) -> io::Result<Vec<PathBuf>> {
    let mut waiting = vec![below.to_owned()];
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn windows(secret: &[u8]) -> Vec<(&'static str, &[u8])> {
    let length = secret.len();
    if length <= WINDOW_BYTES {
        return vec![("whole", secret)];
    }
    let middle = (length - WINDOW_BYTES) / 2;
    vec![
        ("beginning", &secret[..WINDOW_BYTES]),
        ("middle", &secret[middle..middle + WINDOW_BYTES]),
        ("end", &secret[length - WINDOW_BYTES..]),
    ]
}

fn forms(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("raw".to_owned(), bytes.to_vec()),
        ("hex upper".to_owned(), lower.to_uppercase().into_bytes()),
        ("hex lower".to_owned(), lower.into_bytes()),
        ("list".to_owned(), decimal.join(",").into_bytes()),
        ("spaced list".to_owned(), decimal.join(", ").into_bytes()),
    ];
    for alignment in 0..3 {
        forms.push((format!("base64+{alignment}"), inner(&STANDARD_NO_PAD, bytes, alignment)));
        forms.push((format!("base64url+{alignment}"), inner(&URL_SAFE_NO_PAD, bytes, alignment)));
    }
    forms
}

/// The characters that depend on these bytes alone when `alignment` others stand before them.
fn inner(engine: &impl Engine, bytes: &[u8], alignment: usize) -> Vec<u8> {
    let mut padded = vec![0; alignment];
    padded.extend_from_slice(bytes);
    let text = engine.encode(&padded).into_bytes();
    // A character holds six bits: skip those that share bits with what stands before or behind.
    let first = (alignment * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    text[first..last].to_vec()
}

#[cfg(test)]
mod tests {
    use super::{Scanner, needles};
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    fn secret() -> Vec<u8> {
        (0..64_u8).map(|number| number.wrapping_mul(37).wrapping_add(251)).collect()
    }

    fn finds(hay: &[u8]) -> bool {
        let secret = secret();
        !Scanner::new([("planted", secret.as_slice())]).bytes("hay", hay).is_empty()
    }

    #[test]
    fn every_form_is_found_between_other_bytes() {
        for needle in needles(&secret()) {
            let mut hay = b"before".to_vec();
            hay.extend_from_slice(&needle.bytes);
            hay.extend_from_slice(b"after");
            assert!(finds(&hay), "{}", needle.form);
        }
    }

    #[test]
    fn base64_of_any_surroundings_is_found() {
        for before in 0..5 {
            for after in 0..5 {
                let mut hay = vec![b'x'; before];
                hay.extend_from_slice(&secret());
                hay.extend(vec![b'y'; after]);
                assert!(finds(STANDARD.encode(&hay).as_bytes()), "{before} {after}");
                assert!(finds(URL_SAFE_NO_PAD.encode(&hay).as_bytes()), "{before} {after}");
            }
        }
    }

    #[test]
    fn a_part_and_a_debug_print_are_found() {
        assert!(finds(&secret()[20..44]));
        assert!(finds(format!("{:?}", secret()).as_bytes()));
        assert!(finds(&secret().into_iter().rev().collect::<Vec<_>>()));
    }

    #[test]
    fn other_bytes_are_not_found() {
        let other: Vec<u8> = secret().iter().map(|byte| byte ^ 1).collect();
        assert!(!finds(&other));
        assert!(!finds(&secret()[1..20]));
    }
}
