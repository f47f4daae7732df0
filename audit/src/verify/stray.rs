//! What lies in the log's folder and does not belong there.

use std::fs;
use std::io;
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

/// What there is beside the log, if `size` records fill its tiles.
pub(super) fn look(dir: &Path, size: u64, in_use: bool) -> Vec<Finding> {
    let mut strays = Strays { dir, size, in_use, found: Vec::new() };
    strays.look();
    strays.found
}

struct Strays<'a> {
    dir: &'a Path,
    size: u64,
    in_use: bool,
    found: Vec<Finding>,
}

impl Strays<'_> {
    fn look(&mut self) {
        let names = match names(self.dir) {
            Ok(names) => names,
            Err(error) => return self.found.push(unreadable(self.dir, error)),
        };
        for path in names {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let facts = fs::symlink_metadata(&path).ok();
            let is_file = facts.as_ref().is_some_and(fs::Metadata::is_file);
            let known = match name {
                TILE_FOLDER if !is_file => {
                    self.look_at_tiles(&path, 0);
                    true
                }
                LOCK_FILE => is_file && facts.is_some_and(|facts| facts.len() == 0),
                CHECKPOINT_FILE | CERTIFICATE_FILE => is_file,
                _ => is_file && first_of(name).is_some() || self.is_new(&path),
            };
            if !known {
                self.found.push(Finding::Stray { path });
            }
        }
    }

    fn look_at_tiles(&mut self, folder: &Path, depth: usize) {
        let names = match names(folder) {
            Ok(names) if depth < DEPTH_MAX => names,
            Ok(_) => return self.found.push(Finding::Stray { path: folder.to_owned() }),
            Err(error) => return self.found.push(unreadable(folder, error)),
        };
        // A folder is there for the sake of a tile.
        if names.is_empty() {
            self.found.push(Finding::Stray { path: folder.to_owned() });
        }
        for path in names {
            let facts = fs::symlink_metadata(&path).ok();
            if facts.as_ref().is_some_and(fs::Metadata::is_dir) {
                self.look_at_tiles(&path, depth + 1);
                continue;
            }
            let is_file = facts.is_some_and(|facts| facts.is_file());
            let known = is_file && is_tile(self.dir, &path, self.size) || self.is_new(&path);
            if !known {
                self.found.push(Finding::Stray { path });
            }
        }
    }

    /// While the log is in use a file may be about to get its name, or have got it just now.
    fn is_new(&self, path: &Path) -> bool {
        self.in_use && path.extension().is_some_and(|end| end == "new")
    }
}

/// Whether this is where a full tile of so many records lies.
fn is_tile(dir: &Path, path: &Path, size: u64) -> bool {
    let Ok(relative) = path.strip_prefix(dir.join(TILE_FOLDER)) else { return false };
    let mut parts = relative.iter().filter_map(|part| part.to_str());
    let Some(level) = parts.next().and_then(|level| level.parse::<u8>().ok()) else {
        return false;
    };
    let digits: String = parts.map(|part| part.trim_start_matches('x')).collect();
    let Ok(index) = digits.parse::<u64>() else { return false };
    let full = (0..=level).fold(size, |count, _| count / TILE_LEAVES);
    index < full && dir.join(tiles::path(level, index)) == path
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
