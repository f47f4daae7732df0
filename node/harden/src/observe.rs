//! What the kernel says about a running process: read from `/proc`, never from what the process
//! says about itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Facts about one process. `None` where this user may not read them, which for a process that is
/// not dumpable is the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The process.
    pub pid: u32,
    /// `NoNewPrivs` of its status.
    pub no_new_privs: Option<bool>,
    /// Seccomp mode (2 is a filter).
    pub seccomp_mode: Option<u32>,
    /// Number of seccomp filters.
    pub seccomp_filters: Option<u32>,
    /// Effective capabilities, as a bit set.
    pub capabilities: Option<u64>,
    /// Effective user.
    pub uid: Option<u32>,
    /// Effective group.
    pub gid: Option<u32>,
    /// Parent process.
    pub parent: Option<u32>,
    /// Threads.
    pub threads: Option<u32>,
    /// Locked memory in KiB.
    pub locked_kib: Option<u64>,
    /// Resident memory in KiB.
    pub resident_kib: Option<u64>,
    /// Size of a core dump in bytes, hard limit; `Some(0)` forbids it.
    pub core_limit_bytes: Option<u64>,
    /// Memory that may be locked, soft limit; `u64::MAX` is no limit.
    pub lock_limit_bytes: Option<u64>,
    /// Whether the process can be dumped and traced by its user: its `/proc` files then belong to
    /// that user, otherwise to root. Unknown for a process of root.
    pub dumpable: Option<bool>,
    /// Its root folder.
    pub root: Option<PathBuf>,
    /// Open sockets by kind, from its descriptors: TCP connections that were handed in, and pairs.
    pub sockets: Option<usize>,
    /// Open sockets of it that listen for TCP connections.
    pub listening: Option<usize>,
}

/// Reads what `/proc` shows of a process.
///
/// # Errors
/// When there is no such process.
pub fn observe(pid: u32) -> io::Result<Observed> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let status = fs::read_to_string(folder.join("status"))?;
    let owner = fs::metadata(folder.join("mem"))?.uid();
    let limits = fs::read_to_string(folder.join("limits")).ok();
    let limits = limits.as_deref();
    let uid = column(&status, "Uid:", 1).and_then(|text| text.parse().ok());
    let sockets = socket_numbers(&folder).ok();
    Ok(Observed {
        pid,
        no_new_privs: number(&status, "NoNewPrivs:").map(|bit: u32| bit == 1),
        seccomp_mode: number(&status, "Seccomp:"),
        seccomp_filters: number(&status, "Seccomp_filters:"),
        capabilities: column(&status, "CapEff:", 0)
            .and_then(|text| u64::from_str_radix(text, 16).ok()),
        uid,
        gid: column(&status, "Gid:", 1).and_then(|text| text.parse().ok()),
        parent: number(&status, "PPid:"),
        threads: number(&status, "Threads:"),
        locked_kib: number(&status, "VmLck:"),
        resident_kib: number(&status, "VmRSS:"),
        core_limit_bytes: limits.and_then(|text| limit(text, "Max core file size", 1)),
        lock_limit_bytes: limits.and_then(|text| limit(text, "Max locked memory", 0)),
        dumpable: uid.filter(|uid| *uid != 0).map(|uid| owner == uid),
        root: fs::read_link(folder.join("root")).ok(),
        listening: sockets.as_deref().and_then(|open| listening(&folder, open).ok()),
        sockets: sockets.map(|open| open.len()),
    })
}

fn column<'a>(text: &'a str, name: &str, index: usize) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(index)
}

fn number<T: std::str::FromStr>(text: &str, name: &str) -> Option<T> {
    column(text, name, 0)?.parse().ok()
}

/// Column 0 is the soft limit, 1 the hard one.
fn limit(text: &str, name: &str, index: usize) -> Option<u64> {
    match column(text, name, index)? {
        "unlimited" => Some(u64::MAX),
        bytes => bytes.parse().ok(),
    }
}

/// The inode numbers of the sockets it has open.
fn socket_numbers(folder: &Path) -> io::Result<Vec<String>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder.join("fd"))? {
        // A descriptor may be closed between the listing and the look.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let number = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        numbers.extend(number.map(str::to_owned));
    }
    Ok(numbers)
}

/// How many of these sockets are in the state LISTEN (`0A`) of the process's TCP tables.
fn listening(folder: &Path, open: &[String]) -> io::Result<usize> {
    let tables =
        [fs::read_to_string(folder.join("net/tcp"))?, table_if_any(&folder.join("net/tcp6"))?];
    let listens = |line: &str| {
        let mut fields = line.split_whitespace();
        fields.nth(3) == Some("0A")
            && fields.nth(5).is_some_and(|inode| open.iter().any(|number| number == inode))
    };
    Ok(tables.iter().flat_map(|table| table.lines()).filter(|line| listens(line)).count())
}

fn table_if_any(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen_as_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let seen = observe(std::process::id()).unwrap();
        assert_eq!(seen.uid, Some(nix::unistd::geteuid().as_raw()));
        assert_eq!(seen.root, Some(PathBuf::from("/")));
        assert!(seen.listening.unwrap() >= 1);
        assert!(seen.threads.unwrap() >= 1);
        drop(listener);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(observe(u32::MAX).is_err());
    }

    #[test]
    fn unlimited_and_absent_limits_differ() {
        let text = "Max core file size        0   unlimited  bytes\n";
        assert_eq!(limit(text, "Max core file size", 0), Some(0));
        assert_eq!(limit(text, "Max core file size", 1), Some(u64::MAX));
        assert_eq!(limit(text, "Max locked memory", 0), None);
    }
}
