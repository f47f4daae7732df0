//! What lies in the log's folder and does not belong there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Finding;
use crate::file::first_of;
use crate::merkle::TILE_LEAVES;
use crate::read::{CERTIFICATE_FILE, CHECKPOINT_FILE};
use crate::recover::LOCK_FILE;
use crate::tiles::{self, TILE_FOLDER};

/// Deepest folder below the tiles: a level, and groups of three digits of a 64-bit number.
const DEPTH_MAX: usize = 9;
/// What is about to replace a note.
const NEW_NOTES: [&str; 2] = ["checkpoint.new", "certificate.new"];
/// Most tiles of a level that a writer fills between two looks, at 160,000 records a second.
const AT_ONCE_MAX: u64 = 64;

/// What there is beside the log.
#[derive(Default)]
pub(super) struct Strays {
    /// What never belongs there.
    pub(super) found: Vec<Finding>,
    /// What a writer at work leaves there for a moment, and nobody else.
    pub(super) passing: Vec<Passing>,
}

/// A file that is about to get its name, or has just got it; or a folder made for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passing {
    pub(super) path: PathBuf,
    /// Inode and the time of its last change, seconds and nanoseconds: another file of the same
    /// name is another one.
    state: (u64, i64, i64),
}

/// What there is beside the log, if `size` records fill its tiles and lie in files that begin with
/// the records of these numbers.
pub(super) fn look(dir: &Path, size: u64, files: &BTreeSet<u64>) -> Strays {
    let mut look = Look { dir, size, files, strays: Strays::default() };
    look.look();
    look.strays
}

struct Look<'a> {
    dir: &'a Path,
    size: u64,
    files: &'a BTreeSet<u64>,
    strays: Strays,
}

impl Look<'_> {
    fn look(&mut self) {
        let names = match names(self.dir) {
            Ok(names) => names,
            Err(error) => return self.strays.found.push(unreadable(self.dir, error)),
        };
        for path in names {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Gone since its folder was read: a name of the writer's that has passed.
            let Ok(facts) = fs::symlink_metadata(&path) else { continue };
            let is_new = NEW_NOTES.contains(&name);
            match name {
                TILE_FOLDER if facts.is_dir() => self.look_at_tiles(&path, 0),
                LOCK_FILE if facts.is_file() && facts.len() == 0 => {}
                CHECKPOINT_FILE | CERTIFICATE_FILE if facts.is_file() => {}
                _ if facts.is_file() && self.is_of_records(name) => {}
                _ if facts.is_file() && is_new => self.passes(path, &facts),
                _ => self.strays.found.push(Finding::Stray { path }),
            }
        }
    }

    /// Whether records were read from this file, or are to come: those it is named for are not
    /// among those that were read elsewhere.
    fn is_of_records(&self, name: &str) -> bool {
        first_of(name).is_some_and(|first| first > self.size || self.files.contains(&first))
    }

    fn passes(&mut self, path: PathBuf, facts: &fs::Metadata) {
        let state = (facts.ino(), facts.ctime(), facts.ctime_nsec());
        self.strays.passing.push(Passing { path, state });
    }

    fn look_at_tiles(&mut self, folder: &Path, depth: usize) {
        let names = match names(folder) {
            Ok(names) if depth < DEPTH_MAX => names,
            Ok(_) => {
                return self.strays.found.push(Finding::Stray { path: folder.to_owned() });
            }
            Err(error) => return self.strays.found.push(unreadable(folder, error)),
        };
        // A folder is there for the sake of a tile, which may be about to come.
        if names.is_empty()
            && let Ok(facts) = fs::symlink_metadata(folder)
        {
            self.passes(folder.to_owned(), &facts);
        }
        for path in names {
            let Ok(facts) = fs::symlink_metadata(&path) else { continue };
            if facts.is_dir() {
                self.look_at_tiles(&path, depth + 1);
                continue;
            }
            let is_new = path.extension().is_some_and(|end| end == "new");
            let place = if is_new { path.with_extension("") } else { path.clone() };
            match tile_at(self.dir, &place).filter(|_| facts.is_file()) {
                Some((level, index)) if !is_new && index < self.full(level) => {}
                Some((level, index)) if self.may_be_next(level, index) => {
                    self.passes(path, &facts);
                }
                _ => self.strays.found.push(Finding::Stray { path }),
            }
        }
    }

    /// How many tiles of this level the records fill.
    fn full(&self, level: u8) -> u64 {
        (0..=level).fold(self.size, |count, _| count / TILE_LEAVES)
    }

    /// Whether the writer may have this tile in hand: the last that was full when it was looked,
    /// or one of those that became full since.
    fn may_be_next(&self, level: u8, index: u64) -> bool {
        let full = self.full(level);
        (full.saturating_sub(AT_ONCE_MAX)..full + AT_ONCE_MAX).contains(&index)
    }
}

/// Level and index of the tile that lies at this path, if one could.
fn tile_at(dir: &Path, path: &Path) -> Option<(u8, u64)> {
    let relative = path.strip_prefix(dir.join(TILE_FOLDER)).ok()?;
    let mut parts = relative.iter().filter_map(|part| part.to_str());
    let level = parts.next()?.parse::<u8>().ok()?;
    let digits: String = parts.map(|part| part.trim_start_matches('x')).collect();
    let index = digits.parse::<u64>().ok()?;
    (dir.join(tiles::path(level, index)) == path).then_some((level, index))
}

fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.path());
    }
    names.sort();
    Ok(names)
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> Finding {
    Finding::Unreadable { path: path.to_owned(), source: Arc::new(source) }
}
