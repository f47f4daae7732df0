//! Refusing work before the disk is full: changes under way must still get their outcome.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// New work is refused below this much free space, in bytes: what may wait in memory (32 MiB), and
/// room for the store's own changes, tiles and a checkpoint.
const RESERVE_BYTES: u64 = 48 << 20;
/// It is taken again when there is this much more, in bytes, so that it does not flicker.
const RELIEF_BYTES: u64 = 16 << 20;

/// Whether the disk is nearly full, given whether it was; `None` when the system does not say.
pub(crate) fn is_low(dir: &Path, was_low: bool) -> Option<bool> {
    let facts = statvfs(dir).ok()?;
    let free = facts.blocks_available().saturating_mul(facts.fragment_size());
    Some(judge(free, was_low))
}

fn judge(free_bytes: u64, was_low: bool) -> bool {
    let wanted = if was_low { RESERVE_BYTES + RELIEF_BYTES } else { RESERVE_BYTES };
    free_bytes < wanted
}

/// What is said of a disk that has no more than the reserve.
pub(crate) fn nearly_full() -> io::Error {
    let says = "less than the reserve of 48 MiB is free";
    io::Error::new(io::ErrorKind::StorageFull, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_low_below_the_reserve_until_there_is_more() {
        assert!(!judge(RESERVE_BYTES, false));
        assert!(judge(RESERVE_BYTES - 1, false));
        assert!(judge(RESERVE_BYTES + RELIEF_BYTES - 1, true));
        assert!(!judge(RESERVE_BYTES + RELIEF_BYTES, true));
        assert!(is_low(Path::new("/no/such/folder"), false).is_none());
    }
}
