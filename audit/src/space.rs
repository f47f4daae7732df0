//! Refusing work before the disk is full: changes under way must still get their outcome.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Unless told otherwise, new work is refused below this much free space, in bytes: what may wait
/// in memory (32 MiB), and room for the store's own changes, tiles and a checkpoint.
pub(crate) const RESERVE_BYTES: u64 = 48 << 20;
/// It is taken again when there is this much more, in bytes, so that it does not flicker.
const RELIEF_BYTES: u64 = 16 << 20;

/// Whether less than the reserve is free, given whether it was so; `None` when the system does not
/// say.
pub(crate) fn is_low(dir: &Path, reserve_bytes: u64, was_low: bool) -> Option<bool> {
    let facts = statvfs(dir).ok()?;
    let free = facts.blocks_available().saturating_mul(facts.fragment_size());
    Some(judge(free, reserve_bytes, was_low))
}

fn judge(free_bytes: u64, reserve_bytes: u64, was_low: bool) -> bool {
    let relief = if was_low { RELIEF_BYTES } else { 0 };
    free_bytes < reserve_bytes.saturating_add(relief)
}

/// What is said of a disk that has no more than the reserve.
pub(crate) fn nearly_full(reserve_bytes: u64) -> io::Error {
    let says = format!("less than the reserve of {} MiB is free", reserve_bytes >> 20);
    io::Error::new(io::ErrorKind::StorageFull, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_low_below_the_reserve_until_there_is_more() {
        for reserve in [RESERVE_BYTES, 1, 1 << 40] {
            assert!(!judge(reserve, reserve, false));
            assert!(judge(reserve - 1, reserve, false));
            assert!(judge(reserve + RELIEF_BYTES - 1, reserve, true));
            assert!(!judge(reserve + RELIEF_BYTES, reserve, true));
        }
        assert!(judge(u64::MAX - 1, u64::MAX, true));
        assert!(is_low(Path::new("/no/such/folder"), RESERVE_BYTES, false).is_none());
    }
}
