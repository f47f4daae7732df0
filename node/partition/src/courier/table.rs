//! What the sinks have acknowledged.

use std::collections::HashMap;
use std::sync::Arc;

use casemate_audit_sinks::{SINKS_MAX, Sinks};
use casemate_channel::courier::Delivered;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What the sinks of the settings in force have acknowledged.
#[derive(Debug, Default)]
pub(super) struct Table {
    state: Mutex<State>,
    /// Something was acknowledged.
    changed: Notify,
    /// Somebody waits: the courier should hear at once how far the log goes.
    pub(super) nudge: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The settings that the reports are about, and their number.
    about: Option<(Arc<Sinks>, u64)>,
    generation: u64,
    known: HashMap<String, Known>,
}

/// What is known of one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its last report.
    pub(super) report: Delivered,
    /// Deliveries that failed since it began.
    pub(super) failed: u64,
    /// When the last one failed, in milliseconds since 1970.
    pub(super) failed_at_ms: Option<i64>,
}

impl Table {
    /// Begins anew with these settings; reports about earlier ones no longer count. Their number.
    pub(super) fn begin(&self, sinks: &Arc<Sinks>) -> u64 {
        let mut state = self.state.lock();
        state.generation += 1;
        state.known.clear();
        state.about = Some((Arc::clone(sinks), state.generation));
        state.generation
    }

    /// Notes a report that came at this time.
    pub(super) fn note(&self, report: Delivered, now_ms: i64) {
        {
            let mut state = self.state.lock();
            let current = state.about.as_ref().map(|(_, generation)| *generation);
            let room = state.known.len() < SINKS_MAX || state.known.contains_key(&report.sink);
            if current != Some(report.generation) || !room {
                return;
            }
            let before = state.known.get(&report.sink);
            let (mut failed, mut failed_at_ms) =
                before.map_or((0, None), |before| (before.failed, before.failed_at_ms));
            if report.error.is_some() {
                (failed, failed_at_ms) = (failed + 1, Some(now_ms));
            }
            let known = Known { report: report.clone(), failed, failed_at_ms };
            state.known.insert(report.sink, known);
        }
        self.changed.notify_waiters();
    }

    /// What is known of a sink of exactly these settings.
    pub(super) fn known(&self, sinks: &Arc<Sinks>, name: &str) -> Option<Known> {
        let state = self.state.lock();
        let (about, _) = state.about.as_ref()?;
        Arc::ptr_eq(about, sinks).then(|| state.known.get(name).cloned()).flatten()
    }

    /// Waits until this sink of exactly these settings has so many entries.
    pub(super) async fn arrived(&self, sinks: &Arc<Sinks>, name: &str, entries: u64) {
        loop {
            let changed = self.changed.notified();
            if self.known(sinks, name).is_some_and(|known| known.report.upto >= entries) {
                return;
            }
            self.nudge.notify_one();
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use casemate_audit_sinks::SinksRequest;
    use tokio::time::timeout;

    use super::*;

    fn sinks() -> Arc<Sinks> {
        let request = SinksRequest::parse(br#"{"sinks":[{"name":"a","kind":"file"}]}"#).unwrap();
        Arc::new(request.complete(&Sinks::default()).unwrap())
    }

    fn report(generation: u64, upto: u64) -> Delivered {
        Delivered { generation, sink: "a".to_owned(), upto, error: None, failures: 0 }
    }

    #[tokio::test]
    async fn a_report_wakes_who_waits_for_it_and_no_other() {
        let table = Table::default();
        let sinks = sinks();
        let generation = table.begin(&sinks);
        let soon =
            |entries| timeout(Duration::from_millis(50), table.arrived(&sinks, "a", entries));
        assert!(soon(1).await.is_err());
        let waiting = soon(5);
        let reporting = async {
            table.note(report(generation, 4), 5);
            table.note(report(generation, 5), 5);
        };
        assert!(tokio::join!(waiting, reporting).0.is_ok());
        assert!(soon(6).await.is_err());
    }

    #[tokio::test]
    async fn reports_about_earlier_settings_do_not_count() {
        let table = Table::default();
        let (old, new) = (sinks(), sinks());
        let before = table.begin(&old);
        table.note(report(before, 9), 5);
        assert_eq!(table.known(&old, "a").unwrap().report.upto, 9);
        assert_eq!(table.known(&new, "a"), None);
        let after = table.begin(&new);
        table.note(report(before, 9), 5);
        assert_eq!(table.known(&new, "a"), None, "the sink may be another place now");
        table.note(report(after, 1), 5);
        assert_eq!(table.known(&new, "a").unwrap().report.upto, 1);
    }

    #[test]
    fn failures_are_counted_and_dated_until_the_settings_change() {
        let table = Table::default();
        let sinks = sinks();
        let generation = table.begin(&sinks);
        let failed =
            Delivered { error: Some("no".to_owned()), failures: 1, ..report(generation, 1) };
        let known = |sinks| table.known(sinks, "a").map(|known| (known.failed, known.failed_at_ms));
        table.note(report(generation, 1), 10);
        assert_eq!(known(&sinks), Some((0, None)));
        table.note(failed.clone(), 20);
        table.note(failed, 30);
        table.note(report(generation, 2), 40);
        assert_eq!(known(&sinks), Some((2, Some(30))), "what has passed is still told");
        let generation = table.begin(&sinks);
        table.note(report(generation, 2), 50);
        assert_eq!(known(&sinks), Some((0, None)));
    }

    #[test]
    fn a_courier_cannot_fill_the_memory() {
        let table = Table::default();
        let sinks = sinks();
        let generation = table.begin(&sinks);
        for name in 0..1_000 {
            table.note(Delivered { sink: name.to_string(), ..report(generation, 1) }, 5);
        }
        assert!(table.state.lock().known.len() <= SINKS_MAX);
    }
}
