//! Reads what `strace` saw of a partition and judges whether answers waited for the disk.
//!
//! For each request on one connection: from the first bytes that came in to the first that went
//! out, everything that was written to the store's log and to the audit log must have been synced,
//! and the sync must have returned.

use std::collections::BTreeMap;

/// A file whose writes must be synced before an answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durable {
    /// The store's write-ahead log.
    Store,
    /// The audit log.
    Audit,
}

/// What happened between the arrival of a request and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// Syncs that returned in time, and how many of each file.
    pub synced: BTreeMap<Durable, usize>,
    /// Files that had been written to and not synced when the answer left.
    pub unsynced: Vec<Durable>,
}

/// One system call that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Arrives,
    Leaves,
    Writes(Durable),
    SyncBegins(Durable),
    SyncReturns(Durable),
}

/// The windows of all requests that came from this client port, in their order.
pub fn windows(trace: &str, client_port: u16) -> Vec<Window> {
    let mut judge = Judge::default();
    for event in events(trace, client_port) {
        judge.take(event);
    }
    judge.windows
}

#[derive(Debug, Default)]
struct Judge {
    windows: Vec<Window>,
    open: Option<Window>,
    /// For each file, how many of its writes no returned sync covers.
    dirty: BTreeMap<Durable, usize>,
    /// For each sync under way, how many writes there were when it began.
    running: BTreeMap<Durable, usize>,
}

impl Judge {
    fn take(&mut self, event: Event) {
        match event {
            Event::Arrives => {
                self.open.get_or_insert_default();
            }
            Event::Leaves => {
                if let Some(mut window) = self.open.take() {
                    let dirty = self.dirty.iter().filter(|(_, writes)| **writes > 0);
                    window.unsynced = dirty.map(|(file, _)| *file).collect();
                    self.windows.push(window);
                }
            }
            Event::Writes(file) => *self.dirty.entry(file).or_default() += 1,
            Event::SyncBegins(file) => {
                self.running.insert(file, self.dirty.get(&file).copied().unwrap_or_default());
            }
            Event::SyncReturns(file) => {
                let covered = self.running.remove(&file).unwrap_or_default();
                let dirty = self.dirty.entry(file).or_default();
                *dirty = dirty.saturating_sub(covered);
                if let Some(window) = &mut self.open {
                    *window.synced.entry(file).or_default() += 1;
                }
            }
        }
    }
}

fn events(trace: &str, client_port: u16) -> Vec<Event> {
    let peer = format!("->127.0.0.1:{client_port}]");
    let mut unfinished: BTreeMap<&str, Event> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<...") {
            // The end of a call that began on an earlier line of the same thread.
            if let Some(begun) = unfinished.remove(thread) {
                events.extend(end_of(begun, rest));
            }
            continue;
        }
        let Some(event) = begin_of(rest, &peer) else { continue };
        // Of a call in one line, begin and end stand at one place.
        if event != Event::Arrives {
            events.push(event);
        }
        if rest.ends_with("<unfinished ...>") {
            unfinished.insert(thread, event);
        } else {
            events.extend(end_of(event, rest));
        }
    }
    events
}

fn begin_of(call: &str, peer: &str) -> Option<Event> {
    let (name, arguments) = call.split_once('(')?;
    let file = arguments.split_once('>').map_or(arguments, |(first, _)| first);
    let durable = if file.ends_with("-wal") {
        Some(Durable::Store)
    } else if file.contains("/audit-") && file.ends_with(".jsonl") {
        Some(Durable::Audit)
    } else {
        None
    };
    let on_connection = arguments.split_once(',').is_some_and(|(fd, _)| fd.contains(peer));
    match name {
        "fsync" | "fdatasync" => durable.map(Event::SyncBegins),
        "write" | "pwrite64" | "writev" | "pwritev" if durable.is_some() => {
            durable.map(Event::Writes)
        }
        "write" | "writev" | "sendto" | "sendmsg" if on_connection => Some(Event::Leaves),
        "read" | "readv" | "recvfrom" | "recvmsg" if on_connection => Some(Event::Arrives),
        _ => None,
    }
}

/// What the end of a call adds: bytes that came in, a sync that succeeded.
fn end_of(begun: Event, rest: &str) -> Option<Event> {
    let result = rest.rsplit_once("= ").map_or("", |(_, result)| result);
    match begun {
        Event::Arrives => {
            let came = result.split_whitespace().next().and_then(|text| text.parse::<u64>().ok());
            came.filter(|bytes| *bytes > 0).map(|_| Event::Arrives)
        }
        Event::SyncBegins(file) => result.starts_with('0').then_some(Event::SyncReturns(file)),
        Event::Leaves | Event::Writes(_) | Event::SyncReturns(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Durable, Window, windows};

    const GOOD: &str = "\
7 recvfrom(9<TCP:[127.0.0.1:8444->127.0.0.1:5000]>, \"\", 4096, 0, NULL, NULL) = 812
8 pwrite64(5</d/hsm/audit/audit-00000000000000000001.jsonl>, \"\", 100, 0) = 100
8 fdatasync(5</d/hsm/audit/audit-00000000000000000001.jsonl> <unfinished ...>
9 pwrite64(6</d/hsm/records.db-wal>, \"\", 4096, 0) = 4096
8 <... fdatasync resumed>) = 0
9 fdatasync(6</d/hsm/records.db-wal>) = 0
8 pwrite64(5</d/hsm/audit/audit-00000000000000000001.jsonl>, \"\", 100, 100) = 100
8 fdatasync(5</d/hsm/audit/audit-00000000000000000001.jsonl>) = 0
7 sendto(9<TCP:[127.0.0.1:8444->127.0.0.1:5000]>, \"\", 900, MSG_NOSIGNAL, NULL, 0) = 900
7 recvfrom(9<TCP:[127.0.0.1:8444->127.0.0.1:5000]>, 0x7f, 4096, 0, NULL, NULL) = -1 EAGAIN
7 sendto(9<TCP:[127.0.0.1:8444->127.0.0.1:5000]>, \"\", 10, MSG_NOSIGNAL, NULL, 0) = 10
";

    #[test]
    fn a_good_trace_has_one_clean_window() {
        let [window] = windows(GOOD, 5000).try_into().expect("one request came");
        let Window { synced, unsynced } = window;
        assert_eq!((synced[&Durable::Audit], synced[&Durable::Store]), (2, 1));
        assert_eq!(unsynced, []);
        assert_eq!(windows(GOOD, 5001), []);
    }

    #[test]
    fn each_missing_sync_shows() {
        let lines: Vec<_> = GOOD.lines().collect();
        for (gone, file) in
            [(&[2, 4][..], Durable::Audit), (&[5][..], Durable::Store), (&[7][..], Durable::Audit)]
        {
            let kept = lines.iter().enumerate().filter(|(at, _)| !gone.contains(at));
            let trace: Vec<_> = kept.map(|(_, line)| *line).collect();
            let windows = windows(&trace.join("\n"), 5000);
            let bad = !windows[0].unsynced.is_empty()
                || windows[0].synced.get(&file).copied().unwrap_or_default() < 1
                || (file == Durable::Audit && windows[0].synced[&file] < 2);
            assert!(bad, "{gone:?}: {windows:?}");
        }
    }

    #[test]
    fn a_failed_or_late_sync_does_not_count() {
        let failed = GOOD.replace("records.db-wal>) = 0", "records.db-wal>) = -1 EIO");
        assert_eq!(windows(&failed, 5000)[0].unsynced, [Durable::Store]);
        let mut lines: Vec<_> = GOOD.lines().collect();
        lines.swap(7, 8);
        assert_eq!(windows(&lines.join("\n"), 5000)[0].unsynced, [Durable::Audit]);
    }
}
