//! Tells watchers of committed transactions, from a bounded memory of the newest ones.
//!
//! It keeps no history on disk: whoever asks for more than is remembered, or is too slow, gets the
//! end of the watch and reads everything anew.

use std::collections::VecDeque;

use casemate_store_port::{BoxFuture, Event, Revision, Watch, Write};
use tokio::sync::mpsc;

/// Most events that are remembered, and that one watcher may lag behind.
pub const WATCH_EVENTS_MAX: usize = 1024;

/// Most bytes of values that are remembered.
const WATCH_BYTES_MAX: usize = 4 << 20;

/// The newest events and those who wait for the next ones.
pub(crate) struct Log {
    /// Every event after this revision is remembered.
    complete_after: Revision,
    events: VecDeque<Event>,
    bytes: usize,
    watchers: Vec<Watcher>,
}

struct Watcher {
    after: Revision,
    events: mpsc::Sender<Event>,
}

/// One watcher's end.
pub(crate) struct EventStream(mpsc::Receiver<Event>);

impl Watch for EventStream {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(self.0.recv())
    }
}

impl Log {
    pub(crate) fn new(complete_after: Revision) -> Self {
        let (events, watchers) = (VecDeque::new(), Vec::new());
        Self { complete_after, events, bytes: 0, watchers }
    }

    /// A watch of everything after this revision; one that ends at once if that is not remembered.
    pub(crate) fn watch(&mut self, after: Revision) -> EventStream {
        let (events, receiver) = mpsc::channel(WATCH_EVENTS_MAX);
        let watcher = Watcher { after, events };
        let known = after >= self.complete_after;
        if known && self.events.iter().all(|event| watcher.tell(event)) {
            self.watchers.push(watcher);
        }
        EventStream(receiver)
    }

    /// Tells everybody; those who lag too far behind lose their watch.
    pub(crate) fn publish(&mut self, event: Event) {
        self.watchers.retain(|watcher| watcher.tell(&event));
        self.bytes += bytes(&event);
        self.events.push_back(event);
        while self.events.len() > WATCH_EVENTS_MAX || self.bytes > WATCH_BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= bytes(&oldest);
            self.complete_after = oldest.revision;
        }
    }
}

impl Watcher {
    /// Whether the watcher is still there and keeps up.
    fn tell(&self, event: &Event) -> bool {
        event.revision <= self.after || self.events.try_send(event.clone()).is_ok()
    }
}

fn bytes(event: &Event) -> usize {
    let value = |write: &Write| match write {
        Write::Put(path, value) => path.as_str().len() + value.len(),
        Write::Delete(path) => path.as_str().len(),
    };
    event.writes.iter().map(value).sum()
}

#[cfg(test)]
mod tests {
    use casemate_store_port::Path;
    use futures_util::FutureExt;

    use super::*;

    fn event(revision: u64, value: usize) -> Event {
        let writes = vec![Write::Put(Path::new("a").unwrap(), vec![0; value])];
        Event { revision: Revision(revision), writes }
    }

    fn told(stream: &mut EventStream) -> Vec<u64> {
        let next = || stream.next().now_or_never().flatten().map(|event| event.revision.0);
        std::iter::from_fn(next).collect()
    }

    fn has_ended(stream: &mut EventStream) -> bool {
        stream.next().now_or_never() == Some(None)
    }

    #[test]
    fn what_is_remembered_is_told_and_then_what_comes() {
        let mut log = Log::new(Revision(3));
        (4..=6).for_each(|revision| log.publish(event(revision, 1)));
        let (mut early, mut late) = (log.watch(Revision(3)), log.watch(Revision(5)));
        log.publish(event(7, 1));
        assert_eq!(told(&mut early), [4, 5, 6, 7]);
        assert_eq!(told(&mut late), [6, 7]);
        assert!(!has_ended(&mut early));
    }

    #[test]
    fn a_watch_from_before_the_memory_ends_at_once() {
        let mut log = Log::new(Revision(3));
        log.publish(event(4, 1));
        assert!(has_ended(&mut log.watch(Revision(2))));
    }

    #[test]
    fn the_memory_is_bounded_in_number_and_in_bytes() {
        let mut log = Log::new(Revision(0));
        let most = u64::try_from(WATCH_EVENTS_MAX).unwrap();
        (1..=most + 1).for_each(|revision| log.publish(event(revision, 1)));
        assert!(has_ended(&mut log.watch(Revision(0))));
        assert!(!has_ended(&mut log.watch(Revision(1))));
        log.publish(event(most + 2, WATCH_BYTES_MAX));
        assert!(has_ended(&mut log.watch(Revision(most))));
        assert_eq!(log.events.len(), 0, "a value as big as the memory leaves nothing");
    }

    #[test]
    fn a_watcher_that_lags_too_far_behind_loses_its_watch() {
        let mut log = Log::new(Revision(0));
        let mut stream = log.watch(Revision(0));
        let most = u64::try_from(WATCH_EVENTS_MAX).unwrap();
        (1..=most + 1).for_each(|revision| log.publish(event(revision, 1)));
        assert_eq!(told(&mut stream).len(), WATCH_EVENTS_MAX);
        assert!(has_ended(&mut stream));
    }
}
