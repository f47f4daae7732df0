//! The partition's part, played: a log in memory, the settings, the reports that came back.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use casemate_audit_sinks::{Sinks, SinksRequest};
use casemate_channel::courier::{
    Delivered, Exported, FromCourier, Id, SPANS_MAX, Span, SpanValue, ToCourier, read_frame,
    stream_pair, write_frame,
};
use casemate_harden::spawn_bound;
use serde_json::Value;
use std::sync::Mutex;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// The argument that makes this program a courier.
pub(crate) const COURIER: &str = "courier";
/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The certificate of the key that signs the checkpoints; nobody looks into it.
pub(crate) const CERTIFICATE: &str = "casemate audit certificate v1\n\n\u{2014} dev c2ln\n";

/// A log that grows, whoever reads it.
#[derive(Clone, Default)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

/// Spans that wait, and what was said of those that went.
#[derive(Clone, Default)]
pub(crate) struct Spans {
    waiting: Arc<Mutex<Vec<Span>>>,
    told: Arc<Mutex<Vec<Exported>>>,
}

/// A courier process, and what it says.
pub(crate) struct Courier {
    process: Child,
    out: mpsc::UnboundedSender<ToCourier>,
    reports: Arc<Mutex<HashMap<String, Delivered>>>,
    generation: Arc<AtomicU64>,
    log: Log,
    pub(crate) spans: Spans,
    terminal: PathBuf,
}

impl Spans {
    /// So many more, each with an id of its own.
    pub(crate) fn add(&self, count: u64) {
        let mut waiting = self.waiting.lock().unwrap();
        for _ in 0..count {
            let at = u64::try_from(waiting.len()).unwrap() + 1;
            waiting.push(Span {
                trace: Id(*b"a trace for all."),
                id: Id(at.to_be_bytes()),
                parent: None,
                remote_parent: false,
                state: None,
                server: true,
                name: "GET /keys".to_owned(),
                start_ns: 1,
                end_ns: 2,
                attributes: vec![("http.route".to_owned(), SpanValue::Text("/keys".to_owned()))],
                failed: false,
            });
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }

    fn take(&self) -> Vec<Span> {
        let mut waiting = self.waiting.lock().unwrap();
        let most = waiting.len().min(SPANS_MAX);
        waiting.drain(..most).collect()
    }

    /// How many were said to be sent, and lost.
    pub(crate) fn told(&self) -> (u64, u64) {
        let told = self.told.lock().unwrap();
        (told.iter().map(|one| one.sent).sum(), told.iter().map(|one| one.lost).sum())
    }

    /// The last reason why they stood still.
    pub(crate) fn error(&self) -> Option<String> {
        self.told.lock().unwrap().iter().rev().find_map(|one| one.error.clone())
    }
}

impl Log {
    /// A log of so many entries.
    pub(crate) fn of(count: usize) -> Self {
        let log = Self::default();
        log.grow(count);
        log
    }

    pub(crate) fn grow(&self, count: usize) {
        let mut lines = self.lines.lock().unwrap();
        for _ in 0..count {
            let at = lines.len();
            let minute = at / 60 % 60;
            let (hour, second) = (at / 3_600 % 24, at % 60);
            lines.push(format!(
                "{{\"seq\":{},\"time\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}.000Z\",\
                 \"phase\":\"use\",\"operationName\":\"KeySign\",\"resultType\":\"Success\",\
                 \"text\":\"\u{e9}{}\"}}",
                at + 1,
                "x".repeat(at % 200)
            ));
        }
    }

    pub(crate) fn add(&self, line: &str) {
        self.lines.lock().unwrap().push(line.to_owned());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.lines.lock().unwrap().len()).unwrap()
    }

    fn read(&self, from: u64, bytes_max: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in self.lines.lock().unwrap().iter().skip(usize::try_from(from).unwrap()) {
            if !bytes.is_empty() && bytes.len() + line.len() > usize::try_from(bytes_max).unwrap() {
                break;
            }
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Settings from JSON.
pub(crate) fn sinks(value: &Value) -> Sinks {
    let request = SinksRequest::parse(value.to_string().as_bytes()).unwrap();
    request.complete(&Sinks::default()).unwrap()
}

impl Courier {
    pub(crate) fn start(folder: &Path, log: &Log, settings: &Value) -> Self {
        let (ours, theirs) = stream_pair().unwrap();
        let terminal = folder.with_extension("terminal");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(COURIER).arg(folder);
        command.stderr(File::options().create(true).append(true).open(&terminal).unwrap());
        let process = spawn_bound(command, theirs).unwrap();
        let stream = std::os::unix::net::UnixStream::from(ours);
        stream.set_nonblocking(true).unwrap();
        let (mut incoming, mut outgoing) = UnixStream::from_std(stream).unwrap().into_split();
        let (out, mut frames) = mpsc::unbounded_channel::<ToCourier>();
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                if write_frame(&mut outgoing, &frame.encode()).await.is_err() {
                    return;
                }
            }
        });
        let reports: Arc<Mutex<HashMap<String, Delivered>>> = Arc::default();
        let (answers, known, read) = (out.downgrade(), Arc::clone(&reports), log.clone());
        let spans = Spans::default();
        let of_spans = spans.clone();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = read_frame(&mut incoming).await {
                match FromCourier::decode(&frame).unwrap() {
                    FromCourier::Hello => {}
                    FromCourier::Read { from, bytes_max } => {
                        let lines = read.read(from, bytes_max);
                        let Some(out) = answers.upgrade() else { return };
                        let _gone = out.send(ToCourier::Entries { from, lines });
                    }
                    FromCourier::ReadSpans { generation } => {
                        let spans = of_spans.take();
                        let Some(out) = answers.upgrade() else { return };
                        let _gone = out.send(ToCourier::Spans { generation, spans });
                    }
                    FromCourier::Exported(told) => of_spans.told.lock().unwrap().push(told),
                    FromCourier::Frontier { size } => {
                        let Some(out) = answers.upgrade() else { return };
                        let text = format!("{size}\nroots\n");
                        let _gone = out.send(ToCourier::Frontier { size, text });
                    }
                    FromCourier::Consistency { old, new } => {
                        let Some(out) = answers.upgrade() else { return };
                        let text = format!("{old}\n{new}\nproof\n");
                        let _gone = out.send(ToCourier::Consistency { old, new, text });
                    }
                    FromCourier::Transferred(_) | FromCourier::Piece { .. } => {
                        unreachable!("nothing was to be transferred")
                    }
                    FromCourier::Delivered(report) => {
                        known.lock().unwrap().insert(report.sink.clone(), report);
                    }
                }
            }
        });
        let hsm = "dev".to_owned();
        let resource_id =
            "/subscriptions/s/providers/Microsoft.KeyVault/managedHSMs/dev".to_owned();
        out.send(ToCourier::Hello { hsm, resource_id, log: 0 }).unwrap();
        out.send(ToCourier::Certificate(CERTIFICATE.to_owned())).unwrap();
        let (log, generation) = (log.clone(), Arc::default());
        let courier = Self { process, out, reports, generation, log, spans, terminal };
        courier.configure(settings);
        courier.commit();
        courier
    }

    pub(crate) fn configure(&self, settings: &Value) {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        let json = serde_json::to_vec(&sinks(settings).seal()).unwrap();
        self.reports.lock().unwrap().clear();
        self.out.send(ToCourier::Configuration { generation, json }).unwrap();
    }

    /// All that the log holds is committed, and a checkpoint is over it.
    pub(crate) fn commit(&self) {
        let size = self.log.len();
        // A courier that was killed hears no more.
        let _gone = self.out.send(ToCourier::Committed(size));
        let _gone = self.out.send(ToCourier::Checkpoint(checkpoint(size)));
    }

    pub(crate) fn send(&self, message: ToCourier) {
        self.out.send(message).unwrap();
    }

    pub(crate) fn report(&self, sink: &str) -> Option<Delivered> {
        self.reports.lock().unwrap().get(sink).cloned()
    }

    /// Waits until a sink has said that it has all there is.
    pub(crate) async fn delivered(&self, sink: &str) {
        let wanted = self.log.len();
        let generation = self.generation.load(Ordering::SeqCst);
        self.wait(sink, |report| report.upto == wanted && report.generation == generation).await;
    }

    /// Waits until a sink has failed, and returns why.
    pub(crate) async fn failed(&self, sink: &str) -> String {
        self.wait(sink, |report| report.error.is_some()).await.error.unwrap()
    }

    async fn wait(&self, sink: &str, is: impl Fn(&Delivered) -> bool) -> Delivered {
        let begun = Instant::now();
        loop {
            if let Some(report) = self.report(sink).filter(&is) {
                return report;
            }
            let terminal = || std::fs::read_to_string(&self.terminal).unwrap_or_default();
            let known = self.report(sink);
            assert!(begun.elapsed() < PATIENCE, "{sink}: {known:?}\n{}", terminal());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn terminal(&self) -> String {
        std::fs::read_to_string(&self.terminal).unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The partition goes away; how the courier ends then.
    pub(crate) async fn end(self) -> bool {
        let Self { mut process, out, .. } = self;
        drop(out);
        let begun = Instant::now();
        loop {
            if let Some(status) = process.try_wait().unwrap() {
                return status.success();
            }
            assert!(begun.elapsed() < PATIENCE, "it ends with its partition");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A checkpoint over so many entries; its signature is nobody's.
pub(crate) fn checkpoint(size: u64) -> String {
    format!("casemate/dev\n{size}\ncm9vdA==\n\n\u{2014} casemate/dev c2ln\n")
}
