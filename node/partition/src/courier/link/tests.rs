use std::sync::atomic::{AtomicU64, Ordering};

use casemate_audit::ReadError;
use casemate_audit_sinks::SinksRequest;
use casemate_channel::Proven;
use casemate_channel::courier::{Delivered, Exported, stream_pair};
use casemate_hsm::backup::TransferError;
use casemate_store_port::BoxFuture;
use casemate_trace::{Sampling, Tracer};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::*;
use crate::identify::Identify;

const PATIENCE: Duration = Duration::from_secs(10);

/// An HSM without an identity.
struct NoIdentity;

impl Identify for NoIdentity {
    fn identify(&self) -> BoxFuture<'_, Result<Proven, TransferError>> {
        Box::pin(async { Err(TransferError::NoIdentity) })
    }
}

/// A log of numbers, one a line.
#[derive(Default)]
struct Numbers(AtomicU64);

impl Log for Numbers {
    fn committed(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn certificate(&self) -> Option<String> {
        Some("certificate".to_owned())
    }

    fn checkpoint(&self) -> Option<String> {
        Some(format!("log\n{}\nroot\n", self.committed()))
    }

    fn recorded_at_ms(&self, _: u64) -> Option<i64> {
        None
    }

    fn lines(&self, from: u64, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let lines = (from..self.committed()).map(|at| format!("{at}\n").into_bytes());
        let mut all = Vec::new();
        for line in lines {
            if all.len() + line.len() > bytes_max {
                break;
            }
            all.extend(line);
        }
        Ok(all)
    }

    fn frontier(&self, size: u64) -> Result<String, ReadError> {
        let missing = ReadError::Missing { index: size, dir: "numbers".into() };
        if size > self.committed() { Err(missing) } else { Ok(format!("{size}\nroots\n")) }
    }

    fn consistency(&self, old: u64, new: u64) -> Result<String, ReadError> {
        let missing = ReadError::Missing { index: new, dir: "numbers".into() };
        if new > self.committed() { Err(missing) } else { Ok(format!("{old}\n{new}\nproof\n")) }
    }
}

struct Played {
    stream: UnixStream,
    log: Arc<Numbers>,
    table: Arc<Table>,
    sinks: Arc<Mutex<Arc<Sinks>>>,
    tracer: Arc<Tracer>,
    link: tokio::task::JoinHandle<Result<(), CourierProtocolError>>,
}

fn sinks(name: &str) -> Arc<Sinks> {
    let json = format!(r#"{{"sinks":[{{"name":"{name}","kind":"file"}}]}}"#);
    let request = SinksRequest::parse(json.as_bytes()).unwrap();
    Arc::new(request.complete(&Sinks::default()).unwrap())
}

impl Played {
    fn begin() -> Self {
        let (ours, theirs) = stream_pair().unwrap();
        let sinks = Arc::new(Mutex::new(sinks("a")));
        let tracer = Tracer::new(|| 0);
        tracer.configure(Some(Sampling { ratio_ppm: 1_000_000, callers_per_second: 0 }));
        let (log, table) = (Arc::<Numbers>::default(), Arc::<Table>::default());
        log.0.store(10, Ordering::SeqCst);
        let in_force = Arc::clone(&sinks);
        let link = Link {
            in_force: Arc::new(move || Arc::clone(&in_force.lock())),
            log: Arc::<Numbers>::clone(&log),
            origin: Origin { hsm: "dev".to_owned(), resource_id: "/r".to_owned(), log: 0 },
            table: Arc::clone(&table),
            transfers: Arc::new(Transfers::new(Arc::new(NoIdentity))),
            spans: Arc::new(Spans::new(Arc::clone(&tracer))),
        };
        let stream = StdUnixStream::from(theirs);
        stream.set_nonblocking(true).unwrap();
        let stream = UnixStream::from_std(stream).unwrap();
        Self { stream, log, table, sinks, tracer, link: tokio::spawn(link.run(ours)) }
    }

    async fn hear(&mut self) -> ToCourier {
        let frame = timeout(PATIENCE, read_frame(&mut self.stream)).await.unwrap().unwrap();
        ToCourier::decode(&frame.expect("it has not ended")).unwrap()
    }

    /// The next message that this takes.
    async fn hear_until<T>(&mut self, take: impl Fn(ToCourier) -> Option<T>) -> T {
        loop {
            if let Some(taken) = take(self.hear().await) {
                return taken;
            }
        }
    }

    async fn say(&mut self, message: &FromCourier) {
        write_frame(&mut self.stream, &message.encode()).await.unwrap();
    }

    async fn read(&mut self, from: u64, bytes_max: u32) -> String {
        self.say(&FromCourier::Read { from, bytes_max }).await;
        let entries = |message| match message {
            ToCourier::Entries { from: at, lines } if at == from => Some(lines),
            _ => None,
        };
        String::from_utf8(self.hear_until(entries).await).unwrap()
    }
}

fn configuration(message: ToCourier) -> Option<u64> {
    match message {
        ToCourier::Configuration { generation, .. } => Some(generation),
        _ => None,
    }
}

#[tokio::test]
async fn a_courier_hears_who_what_and_how_far_and_reads_what_is_committed() {
    let mut played = Played::begin();
    let hello = ToCourier::Hello { hsm: "dev".to_owned(), resource_id: "/r".to_owned(), log: 0 };
    assert_eq!(played.hear().await, hello);
    assert_eq!(configuration(played.hear().await), Some(1));
    assert_eq!(played.hear().await, ToCourier::Committed(10));
    assert_eq!(played.hear().await, ToCourier::Certificate("certificate".to_owned()));
    assert_eq!(played.hear().await, ToCourier::Checkpoint("log\n10\nroot\n".to_owned()));
    assert_eq!(played.read(7, 1_000).await, "7\n8\n9\n");
    assert_eq!(played.read(7, 4).await, "7\n8\n");
    assert_eq!(played.read(10, 1_000).await, "", "nothing beyond what is committed");
    assert_eq!(played.read(u64::MAX, u32::MAX).await, "");
    for (size, text) in [(7, "7\nroots\n"), (10, "10\nroots\n"), (11, "")] {
        played.say(&FromCourier::Frontier { size }).await;
        let frontier = |message| match message {
            ToCourier::Frontier { size: at, text } if at == size => Some(text),
            _ => None,
        };
        assert_eq!(played.hear_until(frontier).await, text);
    }
    for (old, new, text) in [(7, 9, "7\n9\nproof\n"), (7, 11, "")] {
        played.say(&FromCourier::Consistency { old, new }).await;
        let proof = |message| match message {
            ToCourier::Consistency { old: from, new: to, text } if (from, to) == (old, new) => {
                Some(text)
            }
            _ => None,
        };
        assert_eq!(played.hear_until(proof).await, text);
    }
    played.log.0.store(500_000, Ordering::SeqCst);
    let all = played.read(0, u32::MAX).await;
    assert!(all.len() <= ENTRIES_BYTES_MAX && all.ends_with('\n'), "{}", all.len());
    assert_eq!(
        played
            .hear_until(|message| match message {
                ToCourier::Committed(size) => Some(size),
                _ => None,
            })
            .await,
        500_000
    );
    drop(played.stream);
    assert!(timeout(PATIENCE, played.link).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn new_settings_are_told_and_reports_about_old_ones_dropped() {
    let mut played = Played::begin();
    let first = played.hear_until(configuration).await;
    let old = Arc::clone(&played.sinks.lock());
    let report = |generation| Delivered {
        generation,
        sink: "a".to_owned(),
        upto: 9,
        error: None,
        failures: 0,
    };
    played.say(&FromCourier::Delivered(report(first))).await;
    timeout(PATIENCE, played.table.arrived(&old, "a", 9)).await.unwrap();
    let new = sinks("a");
    *played.sinks.lock() = Arc::clone(&new);
    let second = played.hear_until(configuration).await;
    assert!(second > first);
    played.say(&FromCourier::Delivered(report(first))).await;
    let soon = timeout(Duration::from_millis(300), played.table.arrived(&new, "a", 9));
    assert!(soon.await.is_err(), "it was another place");
    played.say(&FromCourier::Delivered(report(second))).await;
    timeout(PATIENCE, played.table.arrived(&new, "a", 9)).await.unwrap();
}

#[tokio::test]
async fn who_waits_hears_of_the_log_at_once() {
    let mut played = Played::begin();
    played.hear_until(configuration).await;
    let (table, in_force) = (Arc::clone(&played.table), Arc::clone(&played.sinks.lock()));
    let waiting = tokio::spawn(async move { table.arrived(&in_force, "a", 11).await });
    played.log.0.store(11, Ordering::SeqCst);
    let eleven = |message| matches!(message, ToCourier::Committed(11)).then_some(());
    timeout(Duration::from_secs(2), played.hear_until(eleven)).await.unwrap();
    waiting.abort();
}

#[tokio::test]
async fn spans_come_when_they_are_asked_for_and_are_for_the_settings_in_force() {
    let mut played = Played::begin();
    let generation = played.hear_until(configuration).await;
    let spans = |message| match message {
        ToCourier::Spans { generation, spans } => Some((generation, spans.len())),
        _ => None,
    };
    played.say(&FromCourier::ReadSpans { generation }).await;
    assert_eq!(played.hear_until(spans).await, (generation, 0));
    drop(played.tracer.begin(|| None, || None));
    played.say(&FromCourier::ReadSpans { generation: generation + 1 }).await;
    assert_eq!(played.hear_until(spans).await, (generation + 1, 0));
    played.say(&FromCourier::ReadSpans { generation }).await;
    assert_eq!(played.hear_until(spans).await, (generation, 1));
    let error = Some("refused".to_owned());
    let told = Exported { generation, sent: 1, lost: 0, error, failures: 2 };
    played.say(&FromCourier::Exported(told)).await;
    // What is answered after it was heard after it.
    played.read(0, 100).await;
    let delivery = played.tracer.delivery();
    assert_eq!((delivery.sent, delivery.failures), (1, 2));
}

#[tokio::test]
async fn a_courier_that_talks_nonsense_is_left() {
    for frame in [
        ToCourier::Committed(1).encode(),
        vec![0x82, 1],
        vec![0xff],
        b"\x83{\"generation\":1}".to_vec(),
        vec![0x81, 0, 0, 0, 9],
        vec![0x84, 1],
        b"\x85{\"generation\":1}".to_vec(),
    ] {
        let mut played = Played::begin();
        write_frame(&mut played.stream, &frame).await.unwrap();
        let Played { stream, link, .. } = played;
        assert!(timeout(PATIENCE, link).await.unwrap().unwrap().is_err(), "{frame:?}");
        drop(stream);
    }
}

#[tokio::test]
async fn a_courier_that_reads_nothing_holds_up_nobody() {
    let played = Played::begin();
    for size in 11..2_000 {
        played.log.0.store(size, Ordering::SeqCst);
        played.table.nudge.notify_one();
        tokio::task::yield_now().await;
    }
    let known = Arc::clone(&played.sinks.lock());
    let waited = timeout(Duration::from_millis(100), played.table.arrived(&known, "a", 1)).await;
    assert!(waited.is_err());
    let Played { stream, link, .. } = played;
    drop(stream);
    let _ended = timeout(PATIENCE, link).await.unwrap();
}
