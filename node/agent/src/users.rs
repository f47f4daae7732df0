//! The partition's own user, where the agent is root.
//!
//! Users are taken by number from a range that no distribution gives to accounts: 1,879,050,000 to
//! 1,879,115,535 (above systemd's range for containers), or, in a container whose user map ends
//! before that, 58,000 to 58,999. The number is kept in the agent's state; the HSM's folder
//! belongs to it alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use uuid::Uuid;

const HIGH: (u32, u32) = (1_879_050_000, 65_536);
const LOW: (u32, u32) = (58_000, 1_000);

/// Files below an HSM's folder, at most: a bound for the walk that gives them to their user.
const FILES_MAX: usize = 100_000;

/// How deep folders lie in one that is given away, at most.
const FOLDERS_MAX: usize = 64;

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

/// Gives a folder and all in it, or a file, to the user. Who writes there meanwhile cannot lead the
/// walk out: each folder is reached through its parent that is held open, and no link is followed.
pub(crate) fn give(place: &Path, user: u32) -> io::Result<()> {
    let mut seen = 0_usize;
    let is_folder = give_one(place, user, &mut seen)?;
    if is_folder { give_all_in(&open_folder(place)?, user, &mut seen, FOLDERS_MAX) } else { Ok(()) }
}

fn give_all_in(folder: &File, user: u32, seen: &mut usize, deeper: usize) -> io::Result<()> {
    let deeper = deeper.checked_sub(1).ok_or_else(|| {
        io::Error::other("folders lie more than 64 deep in what is to be the HSM's; move them out")
    })?;
    let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    for entry in fs::read_dir(&through)? {
        let path = through.join(entry?.file_name());
        if give_one(&path, user, seen)? {
            give_all_in(&open_folder(&path)?, user, seen, deeper)?;
        }
    }
    Ok(())
}

/// Gives what has this very name; whether it is a folder.
fn give_one(path: &Path, user: u32, seen: &mut usize) -> io::Result<bool> {
    *seen += 1;
    if *seen > FILES_MAX {
        return Err(io::Error::other("the HSM's folder holds too many files"));
    }
    let about = fs::symlink_metadata(path)?;
    if (about.uid(), about.gid()) != (user, user) {
        lchown(path, Some(user), Some(user))?;
    }
    Ok(about.is_dir())
}

/// Opens a folder that is one, and no link to one.
fn open_folder(path: &Path) -> io::Result<File> {
    let only_folders = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(only_folders.bits()).open(path)
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

    /// Gives to the user that has it already: the walk is the same, and needs no root.
    fn walk(place: &Path) -> io::Result<usize> {
        let own = nix::unistd::geteuid().as_raw();
        let mut seen = 0;
        if give_one(place, own, &mut seen)? {
            give_all_in(&open_folder(place)?, own, &mut seen, FOLDERS_MAX)?;
        }
        Ok(seen)
    }

    #[test]
    fn no_link_is_followed_out_of_what_is_given_away() {
        let dir = tempfile::tempdir().expect("a folder");
        let (given, outside) = (dir.path().join("given"), dir.path().join("outside"));
        fs::create_dir_all(given.join("a/b")).expect("folders");
        fs::create_dir(&outside).expect("a folder");
        for file in [given.join("a/b/c"), outside.join("x"), outside.join("y")] {
            fs::write(file, "").expect("a file");
        }
        assert_eq!(walk(&given).expect("given"), 4);
        std::os::unix::fs::symlink(&outside, given.join("link")).expect("a link");
        assert_eq!(walk(&given).expect("given"), 5, "the link alone");
        let link = given.join("link");
        assert!(open_folder(&link).is_err(), "a folder that was exchanged for a link");
        assert_eq!(walk(&link).expect("given"), 1);
        assert_eq!(walk(&given.join("a/b/c")).expect("given"), 1, "a file");
        assert!(walk(&given.join("none")).is_err());
    }

    #[test]
    fn what_lies_too_deep_is_not_walked() {
        let dir = tempfile::tempdir().expect("a folder");
        let deep: PathBuf = std::iter::repeat_n("d", FOLDERS_MAX).collect();
        fs::create_dir_all(dir.path().join(&deep)).expect("folders");
        assert!(walk(dir.path()).is_err());
        assert!(walk(&dir.path().join("d")).is_ok());
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
