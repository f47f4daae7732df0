//! What lies in the log's folder and does not belong there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Finding, Report};
use crate::file::first_of;
use crate::merkle::TILE_LEAVES;
use crate::read::{CERTIFICATE_FILE, CHECKPOINT_FILE};
use crate::recover::LOCK_FILE;
use crate::tiles::{self, TILE_FOLDER};

/// Deepest folder below the tiles: a level, and groups of three digits of a 64-bit number.
const DEPTH_MAX: usize = 9;

/// Looks at all names; tiles may be there as far as `size` records fill them.
pub(super) fn look(dir: &Path, size: u64, report: &mut Report) {
    let names = match names(dir) {
        Ok(names) => names,
        Err(error) => return report.find(unreadable(dir, error)),
    };
    for path in names {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_file = fs::symlink_metadata(&path).is_ok_and(|facts| facts.is_file());
        let known = match name {
            TILE_FOLDER if !is_file => {
                look_at_tiles(dir, &path, size, 0, report);
                true
            }
            LOCK_FILE => is_file && fs::metadata(&path).is_ok_and(|facts| facts.len() == 0),
            CHECKPOINT_FILE | CERTIFICATE_FILE => is_file,
            _ => is_file && (first_of(name).is_some() || is_new(&path, report)),
        };
        if !known {
            report.find(Finding::Stray { path });
        }
    }
}

fn look_at_tiles(dir: &Path, folder: &Path, size: u64, depth: usize, report: &mut Report) {
    let names = match names(folder) {
        Ok(names) if depth < DEPTH_MAX => names,
        Ok(_) => return report.find(Finding::Stray { path: folder.to_owned() }),
        Err(error) => return report.find(unreadable(folder, error)),
    };
    // A folder is there for the sake of a tile.
    if names.is_empty() {
        report.find(Finding::Stray { path: folder.to_owned() });
    }
    for path in names {
        match fs::symlink_metadata(&path) {
            Ok(facts) if facts.is_dir() => look_at_tiles(dir, &path, size, depth + 1, report),
            Ok(facts)
                if facts.is_file() && (is_tile(dir, &path, size) || is_new(&path, report)) => {}
            // A tile that was being written has its name by now.
            Err(_) if report.in_use => {}
            Ok(_) | Err(_) => report.find(Finding::Stray { path }),
        }
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

/// While the log is in use a file may be about to get its name.
fn is_new(path: &Path, report: &Report) -> bool {
    report.in_use && path.extension().is_some_and(|end| end == "new")
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
