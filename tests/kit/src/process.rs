//! Processes seen through `/proc`: who descends from whom, what rights they have, what they use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Sends a signal to one process. `false`: it is not there any more.
pub fn signal(process: u32, what: Signal) -> bool {
    match kill(pid(process), what) {
        Ok(()) => true,
        Err(Errno::ESRCH) => false,
        Err(error) => {
            assert!(error == Errno::ESRCH, "signal {what} to {process}: {error}");
            false
        }
    }
}

/// Whether the process runs (a zombie does not).
pub fn runs(process: u32) -> bool {
    matches!(stat(process), Some(stat) if stat.state != 'Z')
}

/// Whether a process has ended before the deadline.
pub fn ends_within(process: u32, limit: Duration) -> bool {
    eventually(limit, || !runs(process))
}

/// Sends a signal until the process has ended of it.
///
/// Once is not always enough: Rust's own handler of SIGSEGV lets the first one that no bad access
/// caused pass, and takes itself away.
pub fn dies_of(process: u32, what: Signal, limit: Duration) -> bool {
    eventually(limit, || {
        signal(process, what);
        ends_within(process, Duration::from_millis(200))
    })
}

/// Asks until the answer is yes or the time is up.
pub fn eventually(limit: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if ask() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All running descendants of a process, the nearest first.
pub fn descendants(of: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, above)| **above == parent).map(|(child, _)| child));
        next += 1;
    }
    found.remove(0);
    found.retain(|process| runs(*process));
    found
}

/// The command line, its words divided by spaces.
pub fn command_line(process: u32) -> String {
    let bytes = fs::read(proc(process, "cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").trim().to_owned()
}

/// One line of `/proc/PID/status`, for instance `Seccomp` or `NoNewPrivs`.
pub fn status(process: u32, field: &str) -> Option<String> {
    let text = fs::read_to_string(proc(process, "status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Memory in use, in KiB.
pub fn resident_kib(process: u32) -> usize {
    let text = status(process, "VmRSS").expect("a living process says how much memory it uses");
    let number = text.split_whitespace().next().expect("VmRSS has a number");
    number.parse().expect("VmRSS is a number of KiB")
}

/// Number of open file descriptors.
pub fn open_files(process: u32) -> usize {
    fs::read_dir(proc(process, "fd")).map_or(0, Iterator::count)
}

struct Stat {
    state: char,
    parent: u32,
}

fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(proc(process, "stat")).ok()?;
    // The name stands in brackets and may hold anything, so read from behind the last one.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent })
}

fn parents() -> BTreeMap<u32, u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let processes = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter_map(|process| Some((process, stat(process)?.parent))).collect()
}

fn proc(process: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(process.to_string()).join(file)
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).expect("Linux process ids fit into i32"))
}

#[cfg(test)]
mod tests {
    use super::{descendants, ends_within, resident_kib, runs, status};
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_child_is_found_and_its_end_is_seen() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("sleep starts");
        assert!(descendants(std::process::id()).contains(&child.id()));
        assert!(runs(child.id()));
        child.kill().expect("a child of ours");
        assert!(ends_within(child.id(), Duration::from_secs(5)));
        child.wait().expect("it has ended");
    }

    #[test]
    fn the_status_of_this_process_is_read() {
        assert!(resident_kib(std::process::id()) > 100);
        assert_eq!(status(std::process::id(), "NoSuchField"), None);
    }
}
