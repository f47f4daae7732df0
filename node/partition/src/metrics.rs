//! What the partition shows for monitoring, gathered when the agent asks.
//!
//! Invariant: a label is a word of this program, a status, or the name that an Administrator gave
//! to a sink or a schedule; never a key's name, a caller or anything else from a request.

mod schedules;
mod sinks;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use casemate_channel::{ChannelError, Family, MetricKind, SAMPLES_PER_PART_MAX, Sample, ToAgent};
use casemate_data_plane::DataPlane;
use casemate_data_plane::meter::{Answered, BOUNDS_US, Histogram, Times};
use casemate_hsm::{Door, Hsm};
use casemate_store_port::{
    BoxFuture, Entry, Outcome, Path, Revision, Store, StoreError, Transaction, Watch,
};
use casemate_trace::Tracer;

use crate::agent::Agent;
use crate::courier::Courier;
use crate::places::Places;
use crate::pool::NicedPool;
use crate::tls::Tls;

/// Counts that the partition itself makes.
#[derive(Default)]
pub(crate) struct Counts {
    /// TLS handshakes that came to their end.
    pub(crate) handshakes: AtomicU64,
    /// TLS handshakes that failed.
    pub(crate) handshakes_failed: AtomicU64,
    /// TLS handshakes that took too long.
    pub(crate) handshakes_late: AtomicU64,
    /// Connections for which there was no place.
    pub(crate) connections_refused: AtomicU64,
    /// Transactions of the store.
    store: Histogram,
    store_failures: AtomicU64,
}

/// Where the counts are taken from.
pub(crate) struct Metrics {
    pub(crate) counts: Arc<Counts>,
    pub(crate) plane: Arc<DataPlane>,
    pub(crate) door: Door,
    /// The active HSM.
    pub(crate) hsm: Option<Arc<Hsm>>,
    pub(crate) pool: Arc<NicedPool>,
    pub(crate) places: Arc<Places>,
    pub(crate) courier: Arc<Courier>,
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) tls: Arc<Tls>,
}

/// Adds one.
pub(crate) fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

impl Metrics {
    /// Sends everything to the agent, part by part.
    pub(crate) async fn tell(&self, agent: &Agent, id: u64) -> Result<(), ChannelError> {
        let mut families = self.families();
        families.extend(sinks::families(&self.courier).await);
        for family in families {
            let Family { samples, .. } = &family;
            for part in samples.chunks(SAMPLES_PER_PART_MAX) {
                let family = Family { samples: part.to_vec(), ..head(&family) };
                agent.tell(&ToAgent::Metrics { id, family }).await?;
            }
        }
        agent.tell(&ToAgent::MetricsEnd { id }).await
    }

    fn families(&self) -> Vec<Family> {
        let mut families = of_the_api(&self.plane.meter().answers());
        families.extend(self.of_storage());
        families.extend(self.of_work());
        families.extend(self.of_admission());
        families.extend(self.of_traces());
        let schedules = self.hsm.as_ref().map(|hsm| hsm.schedule_facts());
        families.extend(schedules::families(&schedules.unwrap_or_default()));
        families.push(self.of_tls());
        families
    }

    fn of_storage(&self) -> Vec<Family> {
        let (audit, audit_waiting) = self.plane.meter().audit();
        let counts = &self.counts;
        vec![
            times(
                "casemate_audit_append_seconds",
                "Time until an audit record was durable.",
                vec![(Vec::new(), audit)],
                &[],
            ),
            gauge("casemate_audit_waiting", "Requests that wait for the audit.", audit_waiting),
            times(
                "casemate_store_commit_seconds",
                "Time of a transaction of the store.",
                vec![(Vec::new(), counts.store.times())],
                &[],
            ),
            counter(
                "casemate_store_commit_failures_total",
                "Transactions that the store did not take, or whose outcome is unknown.",
                counts.store_failures.load(Ordering::Relaxed),
            ),
            counter("casemate_changes_total", "The HSM's count of changes.", self.door.sequence()),
        ]
    }

    fn of_work(&self) -> Vec<Family> {
        let pool = self.pool.counts();
        let active = self.hsm.as_ref();
        let (handles, handles_opened) = active.map(|hsm| hsm.handle_counts()).unwrap_or_default();
        let algorithms = self.plane.meter().algorithms().into_iter();
        let algorithms = algorithms.filter(|(_, uses)| *uses > 0);
        vec![
            of_words(
                "casemate_algorithm_uses_total",
                "Successful uses of keys by algorithm; creations by type of the key.",
                "algorithm",
                algorithms,
            ),
            gauge(
                "casemate_pool_queued",
                "Costly operations that wait for a thread.",
                count_of(pool.queued),
            ),
            gauge(
                "casemate_pool_turns_waiting",
                "Costly operations that wait for a turn on their worker.",
                count_of(pool.waiting_for_turn),
            ),
            counter("casemate_pool_jobs_total", "Costly operations ended.", pool.ended),
            gauge("casemate_handles", "Opened keys that are kept.", count_of(handles)),
            counter("casemate_handles_opened_total", "Keys opened.", handles_opened),
            gauge(
                "casemate_partition_time_seconds",
                "The partition's clock, in seconds since 1970.",
                u64::try_from(self.door.now().0).unwrap_or_default(),
            ),
        ]
    }

    fn of_tls(&self) -> Family {
        let (source, not_after) = self.tls.in_force();
        let end = u64::try_from(not_after).unwrap_or_default();
        Family {
            kind: MetricKind::Gauge,
            ..of_words(
                "casemate_tls_certificate_not_after_seconds",
                "End of the TLS certificate in force, in Unix seconds, by its source.",
                "source",
                [(source.name(), end)],
            )
        }
    }

    fn of_traces(&self) -> Vec<Family> {
        let (counts, delivery) = (self.tracer.counts(), self.tracer.delivery());
        vec![
            of_words(
                "casemate_trace_spans_total",
                "Spans of traced requests by what became of them.",
                "result",
                [
                    ("ended", counts.ended),
                    ("dropped", counts.dropped),
                    ("sent", delivery.sent),
                    ("lost", delivery.lost),
                ],
            ),
            gauge(
                "casemate_trace_spans_waiting",
                "Spans that wait for the courier.",
                count_of(counts.waiting),
            ),
            counter(
                "casemate_trace_wishes_refused_total",
                "Requests whose callers wished a trace, and that were too many for it.",
                counts.refused_wishes,
            ),
        ]
    }

    fn of_admission(&self) -> Vec<Family> {
        let counts = &self.counts;
        let load = |of: &AtomicU64| of.load(Ordering::Relaxed);
        vec![
            of_words(
                "casemate_tls_handshakes_total",
                "TLS handshakes by how they ended.",
                "result",
                [
                    ("done", load(&counts.handshakes)),
                    ("failed", load(&counts.handshakes_failed)),
                    ("late", load(&counts.handshakes_late)),
                ],
            ),
            gauge("casemate_connections", "Connections.", count_of(self.places.taken())),
            of_words(
                "casemate_admission_refusals_total",
                "What was refused because a limit was reached, by limit.",
                "limit",
                [
                    ("connections", load(&counts.connections_refused)),
                    ("caller_requests", self.plane.refused_by_admission()),
                    ("caller_refusals", self.plane.refusals_counted()),
                    ("pool_queue", self.pool.counts().refused),
                ],
            ),
        ]
    }
}

/// The original's metrics: hits, latency, availability.
fn of_the_api(answers: &[Answered]) -> Vec<Family> {
    let mut hits: Vec<(&'static str, u64)> = Vec::new();
    for one in answers {
        match hits.iter_mut().find(|(name, _)| *name == one.operation) {
            Some((_, count)) => *count += one.times.count(),
            None => hits.push((one.operation, one.times.count())),
        }
    }
    let hits = hits.into_iter().map(|(name, count)| Sample {
        labels: vec![activity_type(name).to_owned(), name.to_owned()],
        value: float(count),
        counts: Vec::new(),
    });
    let by_status = ["activity_type", "activity_name", "status_code", "status_code_class"];
    let labels = |one: &Answered| {
        let class = format!("{}xx", one.status / 100);
        let (kind, name) = (activity_type(one.operation).to_owned(), one.operation.to_owned());
        vec![kind, name, one.status.to_string(), class]
    };
    let latency = answers.iter().map(|one| (labels(one), one.times.clone())).collect();
    let available = answers.iter().map(|one| {
        let count = one.times.count();
        let percent = if one.status >= 500 { 0.0 } else { 100.0 };
        Sample { labels: labels(one), value: percent * float(count), counts: vec![count] }
    });
    vec![
        Family {
            samples: hits.collect(),
            ..family(
                "casemate_service_api_hit_total",
                "Requests answered (ServiceApiHit).",
                MetricKind::Counter,
                &["activity_type", "activity_name"],
            )
        },
        times(
            "casemate_service_api_latency_seconds",
            "Time from a request's head to its answer (ServiceApiLatency).",
            latency,
            &by_status,
        ),
        Family {
            samples: available.collect(),
            ..family(
                "casemate_availability_percent",
                "100 for each answer that is no fault of the service, 0 for others (Availability).",
                MetricKind::Summary,
                &by_status,
            )
        },
    ]
}

/// The original's dimension: the kind of thing that was asked about.
fn activity_type(operation: &str) -> &'static str {
    let is_of_keys = operation.starts_with("Key") || operation == "RandomBytesGet";
    if is_of_keys { "key" } else { "managedhsm" }
}

fn head(of: &Family) -> Family {
    let Family { name, help, kind, labels, bounds, samples: _ } = of;
    Family {
        name: name.clone(),
        help: help.clone(),
        kind: *kind,
        labels: labels.clone(),
        bounds: bounds.clone(),
        samples: Vec::new(),
    }
}

fn family(name: &str, help: &str, kind: MetricKind, labels: &[&str]) -> Family {
    Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        bounds: Vec::new(),
        samples: Vec::new(),
    }
}

fn of_words<'a>(
    name: &str,
    help: &str,
    label: &str,
    words: impl IntoIterator<Item = (&'a str, u64)>,
) -> Family {
    let sample = |(word, count): (&str, u64)| Sample {
        labels: vec![word.to_owned()],
        value: float(count),
        counts: Vec::new(),
    };
    let samples = words.into_iter().map(sample).collect();
    Family { samples, ..family(name, help, MetricKind::Counter, &[label]) }
}

fn counter(name: &str, help: &str, value: u64) -> Family {
    single(name, help, MetricKind::Counter, value)
}

fn gauge(name: &str, help: &str, value: u64) -> Family {
    single(name, help, MetricKind::Gauge, value)
}

fn single(name: &str, help: &str, kind: MetricKind, value: u64) -> Family {
    let sample = Sample { labels: Vec::new(), value: float(value), counts: Vec::new() };
    Family { samples: vec![sample], ..family(name, help, kind, &[]) }
}

fn times(name: &str, help: &str, of: Vec<(Vec<String>, Times)>, labels: &[&str]) -> Family {
    let samples = of.into_iter().map(|(labels, times)| Sample {
        labels,
        value: seconds(times.sum_us),
        counts: times.counts.to_vec(),
    });
    Family {
        bounds: BOUNDS_US.map(seconds).to_vec(),
        samples: samples.collect(),
        ..family(name, help, MetricKind::Histogram, labels)
    }
}

fn seconds(time_us: u64) -> f64 {
    float(time_us) / 1_000_000.0
}

/// Counts beyond 2⁵³ lose their last digits, as everywhere in this format.
#[expect(clippy::as_conversions, reason = "there is no other way from u64 to f64")]
fn float(count: u64) -> f64 {
    count as f64
}

fn count_of(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A store whose transactions are timed.
pub(crate) struct TimedStore {
    store: Arc<dyn Store>,
    counts: Arc<Counts>,
}

impl TimedStore {
    /// The same store.
    pub(crate) fn around(store: Arc<dyn Store>, counts: Arc<Counts>) -> Arc<dyn Store> {
        Arc::new(Self { store, counts })
    }
}

impl Store for TimedStore {
    fn read_all(&self) -> BoxFuture<'_, Result<(Vec<Entry>, Revision), StoreError>> {
        self.store.read_all()
    }

    fn read<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        self.store.read(path)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let outcome = self.store.commit(transaction).await;
            self.counts.store.note(begun.elapsed());
            if outcome.is_err() {
                count(&self.counts.store_failures);
            }
            outcome
        })
    }

    fn watch(&self, after: Revision) -> BoxFuture<'_, Result<Box<dyn Watch>, StoreError>> {
        self.store.watch(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(operation: &'static str, status: u16, count: u64) -> Answered {
        let mut counts = [0; BOUNDS_US.len() + 1];
        counts[0] = count;
        Answered { operation, status, times: Times { counts, sum_us: count * 100 } }
    }

    #[test]
    fn the_originals_metrics_come_with_its_dimensions() {
        let answers = [
            answered("KeySign", 200, 3),
            answered("KeySign", 503, 1),
            answered("SettingGet", 0, 2),
        ];
        let [hits, latency, available]: [Family; 3] = of_the_api(&answers).try_into().unwrap();
        for family in [&hits, &latency, &available] {
            assert!(family.is_sound(), "{}", family.name);
        }
        let shown: Vec<_> =
            hits.samples.iter().map(|one| (one.labels.join(" "), one.value)).collect();
        let expected = [("key KeySign".to_owned(), 4.0), ("managedhsm SettingGet".to_owned(), 2.0)];
        assert_eq!(shown, expected);
        assert_eq!(latency.samples[1].labels, ["key", "KeySign", "503", "5xx"]);
        let percents: Vec<_> =
            available.samples.iter().map(|one| (one.value, one.counts[0])).collect();
        assert_eq!(percents, [(300.0, 3), (0.0, 1), (200.0, 2)]);
    }

    #[test]
    fn bounds_are_shown_in_seconds() {
        let family = times("casemate_a_seconds", "A.", Vec::new(), &[]);
        assert_eq!((family.bounds[0], family.bounds[13]), (0.0005, 10.0));
    }
}
