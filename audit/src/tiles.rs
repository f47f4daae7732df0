//! Full tiles of hashes as files, named as C2SP tlog-tiles says: `tile/LEVEL/x001/x234/067`.
//!
//! They can be computed from the records at any time, so they are not synced one by one: what a
//! crash took is written again at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::merkle::{Hash, TILE_BYTES, Tile, hashes_of};

/// The folder of the tiles.
pub(crate) const TILE_FOLDER: &str = "tile";

/// A power cut takes fewer tiles of leaves than this: two million records, minutes of full load.
const UNSYNCED_TILES_MAX: u64 = 8_192;

/// Where a tile lies below the log's folder.
pub(crate) fn path(level: u8, index: u64) -> PathBuf {
    let mut path = PathBuf::from(TILE_FOLDER);
    path.push(level.to_string());
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    path.extend(groups.iter().rev());
    path
}

/// Writes a full tile; whatever was there is replaced.
pub(crate) fn write(dir: &Path, tile: &Tile) -> io::Result<()> {
    let path = dir.join(path(tile.level, tile.index));
    let folder = path.parent().unwrap_or(dir);
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(tile.hashes.as_flattened())?;
    fs::rename(new, path)
}

/// How many of the first `full` tiles of leaves are whole, judged by their length. Only the last
/// can have been taken by a power cut: what is older than the file system's own interval is on the
/// disk.
pub(crate) fn whole_up_to(dir: &Path, full: u64) -> u64 {
    let is_whole = |index: &u64| {
        let found = fs::metadata(dir.join(path(0, *index)));
        found.is_ok_and(|facts| usize::try_from(facts.len()) == Ok(TILE_BYTES))
    };
    let mut last = full.saturating_sub(UNSYNCED_TILES_MAX)..full;
    last.find(|index| !is_whole(index)).unwrap_or(full)
}

/// Reads a full tile.
pub(crate) fn read(dir: &Path, level: u8, index: u64) -> io::Result<Vec<Hash>> {
    let limit = u64::try_from(TILE_BYTES).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::with_capacity(TILE_BYTES + 1);
    File::open(dir.join(path(level, index)))?.take(limit).read_to_end(&mut bytes)?;
    let whole = if bytes.len() == TILE_BYTES { hashes_of(&bytes) } else { None };
    whole.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
