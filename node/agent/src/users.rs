//! The partition's own user, where the agent is root.
//!
//! Users are taken by number from a range that no distribution gives to accounts: 1,879,050,000 to
//! 1,879,115,535 (above systemd's range for containers), or, in a container whose user map ends
//! before that, 58,000 to 58,999. The number is kept in the agent's state; the HSM's folder
//! belongs to it alone.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use uuid::Uuid;

const HIGH: (u32, u32) = (1_879_050_000, 65_536);
const LOW: (u32, u32) = (58_000, 1_000);

/// Files below an HSM's folder, at most: a bound for the walk that gives them to their user.
const FILES_MAX: usize = 100_000;

/// Whether this process may change users and root folders.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Picks a user for a new HSM; the same HSM name and random part give another number each time.
pub(crate) fn pick() -> u32 {
    let (first, count) = if is_mapped(HIGH.0, HIGH.1) { HIGH } else { LOW };
    let random = u32::try_from(Uuid::new_v4().as_u128() & 0x7fff_ffff).unwrap_or_default();
    first + random % count
}

/// Whether a user is one of those that are picked here.
pub(crate) fn is_picked(user: u32) -> bool {
    [HIGH, LOW].iter().any(|(first, count)| (*first..*first + *count).contains(&user))
}

/// Gives the folder and all in it to the user.
pub(crate) fn give(folder: &Path, user: u32) -> io::Result<()> {
    let mut left = vec![folder.to_owned()];
    let mut seen = 0_usize;
    while let Some(path) = left.pop() {
        seen += 1;
        if seen > FILES_MAX {
            return Err(io::Error::other("the HSM's folder holds too many files"));
        }
        let about = fs::symlink_metadata(&path)?;
        if (about.uid(), about.gid()) != (user, user) {
            lchown(&path, Some(user), Some(user))?;
        }
        if about.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// Whether this user namespace knows these numbers.
fn is_mapped(first: u32, count: u32) -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map_holds(&map, first, count))
}

fn map_holds(map: &str, first: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        match (fields.next(), fields.next(), fields.next()) {
            (Some(Ok(inside)), _, Some(Ok(length))) => {
                u64::from(first) >= inside
                    && u64::from(first) + u64::from(count) <= inside.saturating_add(length)
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_user_map_does_not_hold_the_high_range() {
        let whole = "         0          0 4294967295\n";
        let container = "0 100000 65536\n";
        assert!(map_holds(whole, HIGH.0, HIGH.1));
        assert!(!map_holds(container, HIGH.0, HIGH.1));
        assert!(map_holds(container, LOW.0, LOW.1));
        assert!(!map_holds("", LOW.0, LOW.1));
        assert!(!map_holds("x y z", LOW.0, LOW.1));
    }

    #[test]
    fn picked_users_are_in_a_range() {
        assert!(![0, 1000, 57_999, 59_000, 65_534, u32::MAX].into_iter().any(is_picked));
        for _ in 0..100 {
            let user = pick();
            assert!(is_picked(user));
            let within = |(first, count)| user >= first && user < first + count;
            assert!(within(HIGH) || within(LOW));
        }
    }
}
