//! The management listener: metrics for Prometheus, health, readiness. Plain HTTP, meant for
//! loopback or a network of the operators' own; it shows no key, no caller and no secret.
//!
//! The partition has no network, so its counts are asked for over the channel, and checked before
//! they are passed on.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use casemate_channel::{Family, PARTS_MAX, ToPartition};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::accept;
use crate::directory::{Directory, Known};
use crate::exposition::{Exposition, agents_own};

/// Time for a request's head, and for the next one on an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Size of a request's head.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Time for a partition to tell its counts. Prometheus waits 10 seconds unless told otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which an answer is taken to be read yet.
const READING: Duration = Duration::from_secs(5);
/// Questions to one partition at once.
const QUESTIONS_MAX: usize = 8;

/// The text format of Prometheus, version 0.0.4.
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Questions for counts that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: AtomicU64,
    waiting: Mutex<Vec<Question>>,
}

#[derive(Debug)]
struct Question {
    id: u64,
    families: Vec<Family>,
    /// How many parts they came in.
    parts: usize,
    answer: oneshot::Sender<Vec<Family>>,
}

/// Why an answer is not taken: the partition does not do what every partition does.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCounts {
    /// Words or samples that are not of the agreed form.
    #[error("its counts are not of the agreed form")]
    Unsound,
    /// More than one answer may hold.
    #[error("its counts have more than {PARTS_MAX} parts")]
    TooMany,
}

/// What the listener shows.
pub(crate) struct Monitor {
    /// The HSMs.
    pub(crate) hsms: Arc<Directory>,
    /// Connections served at once.
    pub(crate) connections_max: usize,
}

impl Questions {
    fn ask(&self) -> Option<(u64, oneshot::Receiver<Vec<Family>>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        waiting.retain(|question| !question.answer.is_closed());
        if waiting.len() >= QUESTIONS_MAX {
            return None;
        }
        waiting.push(Question { id, families: Vec::new(), parts: 0, answer });
        Some((id, answered))
    }

    /// Takes a part of an answer. One that nobody waits for any more is dropped.
    pub(crate) fn part(&self, id: u64, family: Family) -> Result<(), BadCounts> {
        if !family.is_sound() {
            return Err(BadCounts::Unsound);
        }
        let mut waiting = self.waiting.lock();
        let Some(question) = waiting.iter_mut().find(|question| question.id == id) else {
            return Ok(());
        };
        question.parts += 1;
        if question.parts > PARTS_MAX {
            return Err(BadCounts::TooMany);
        }
        match question.families.iter_mut().find(|known| known.is_of(&family)) {
            Some(known) => known.samples.extend(family.samples),
            None => question.families.push(family),
        }
        Ok(())
    }

    /// The answer is complete.
    pub(crate) fn end(&self, id: u64) {
        let mut waiting = self.waiting.lock();
        let at = waiting.iter().position(|question| question.id == id);
        if let Some(Question { families, answer, .. }) = at.map(|at| waiting.swap_remove(at)) {
            // Who asked may have given up.
            let _given_up = answer.send(families);
        }
    }
}

/// A connection that is served.
struct Open {
    task: JoinHandle<()>,
    used: Arc<Mutex<Used>>,
}

/// Whether a connection is used, and since when it is as it is.
struct Used {
    under_way: bool,
    answered: bool,
    since: Instant,
}

impl Used {
    fn new() -> Self {
        Self { under_way: false, answered: false, since: Instant::now() }
    }

    fn begin(&mut self) {
        (self.under_way, self.since) = (true, Instant::now());
    }

    fn end(&mut self) {
        (self.under_way, self.answered, self.since) = (false, true, Instant::now());
    }

    /// Which one goes first: of those that nobody uses the one that has been so for longest, only
    /// then one with an answer under way.
    fn rank(&self) -> (bool, Instant) {
        let is_read = self.answered && self.since.elapsed() < READING;
        (self.under_way || is_read, self.since)
    }
}

impl Monitor {
    /// Serves until told to stop.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut open: Vec<Open> = Vec::new();
        while let Some((stream, _)) = accept::next(|| listener.accept(), &mut stopping).await {
            open.retain(|connection| !connection.task.is_finished());
            // The newest comes in: whoever only holds connections must not keep Prometheus out.
            while open.len() >= self.connections_max.max(1) {
                let last = open.iter().enumerate().min_by_key(|(_, one)| one.used.lock().rank());
                let Some((at, _)) = last else { break };
                open.swap_remove(at).task.abort();
            }
            let (monitor, used) = (Arc::clone(&self), Arc::new(Mutex::new(Used::new())));
            let of = Arc::clone(&used);
            let task = tokio::spawn(async move { monitor.connection(stream, &of).await });
            open.push(Open { task, used });
        }
    }

    async fn connection(&self, stream: TcpStream, used: &Mutex<Used>) {
        let service = service_fn(|request: Request<Incoming>| async move {
            used.lock().begin();
            let answer = self.answer(request.method(), request.uri().path()).await;
            used.lock().end();
            Ok::<_, Infallible>(answer.map(Full::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        // A connection that breaks has nobody left to be told.
        let _broken = connection.await;
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Bytes> {
        if method != Method::GET && method != Method::HEAD {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/healthz" => plain(StatusCode::OK, "the agent runs\n".to_owned()),
            "/readyz" => self.readiness(None),
            other => match other.strip_prefix("/readyz/") {
                Some(hsm) => self.readiness(Some(hsm)),
                None => {
                    let text = "there are /metrics, /healthz, /readyz and /readyz/HSM\n";
                    plain(StatusCode::NOT_FOUND, text.to_owned())
                }
            },
        }
    }

    /// Of one HSM, or of all: ready only if every one is.
    fn readiness(&self, asked: Option<&str>) -> Response<Bytes> {
        let mut all = self.hsms.all();
        if let Some(name) = asked {
            all.retain(|known| known.facts.read().hsm.eq_ignore_ascii_case(name));
            if all.is_empty() {
                return plain(StatusCode::NOT_FOUND, "there is no HSM of this name\n".to_owned());
            }
        }
        let mut status = StatusCode::OK;
        let mut text = String::new();
        for known in all {
            let facts = known.facts.read();
            if !facts.ready || facts.disk_low || facts.copy_missing {
                status = StatusCode::SERVICE_UNAVAILABLE;
            }
            let says = match (facts.ready, facts.last_end) {
                (true, _) if facts.disk_low => "refuses calls: its disk is nearly full".to_owned(),
                (true, _) if facts.copy_missing => {
                    "refuses calls: its synchronous sink of the audit log lacks records".to_owned()
                }
                (true, _) => "ready".to_owned(),
                (false, None) => "starting".to_owned(),
                (false, Some(end)) => format!("not ready; its partition last ended: {end}"),
            };
            text.push_str(&format!("{}: {says}\n", facts.hsm));
        }
        plain(status, text)
    }

    /// What the agent knows is shown in any case; what a partition does not tell is missing, and
    /// `casemate_partition_scraped` says so.
    async fn metrics(&self) -> Response<Bytes> {
        let mut asked = JoinSet::new();
        for (at, known) in self.hsms.all().into_iter().enumerate() {
            asked.spawn(async move { (at, ask(&known).await, known) });
        }
        let mut told = asked.join_all().await;
        told.sort_by_key(|(at, ..)| *at);
        let mut exposition = Exposition::default();
        for (_, told, known) in told {
            let facts = known.facts.read();
            exposition.add(&facts.hsm, &agents_own(&facts, told.is_some()));
            exposition.add(&facts.hsm, &told.unwrap_or_default());
        }
        match exposition.text() {
            Ok(text) => {
                let mut answer = plain(StatusCode::OK, text);
                answer.headers_mut().insert(header::CONTENT_TYPE, EXPOSITION);
                answer
            }
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

async fn ask(known: &Known) -> Option<Vec<Family>> {
    let end = known.link.now()?;
    let (id, answered) = known.facts.questions.ask()?;
    let asked = async {
        end.send(&ToPartition::Metrics { id }, None).await.ok()?;
        answered.await.ok()
    };
    timeout(ANSWER_TIMEOUT, asked).await.ok().flatten()
}

fn plain(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, PLAIN);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use casemate_channel::{MetricKind, Sample};

    use super::*;
    use crate::facts::{Facts, SharedFacts};
    use crate::hsm::HsmLink;

    fn monitor(facts: Facts) -> Monitor {
        monitor_of([facts])
    }

    fn monitor_of<const N: usize>(facts: [Facts; N]) -> Monitor {
        let hsms = Arc::new(Directory::default());
        for facts in facts {
            let link = Arc::new(HsmLink::new(Duration::from_secs(10)));
            let facts = Arc::new(SharedFacts::new(facts));
            hsms.add(Known { hosts: Vec::new(), link, facts });
        }
        Monitor { hsms, connections_max: 16 }
    }

    fn part(name: &str, value: f64) -> Family {
        let sample = Sample { labels: Vec::new(), value, counts: Vec::new() };
        Family {
            name: name.to_owned(),
            help: "A.".to_owned(),
            kind: MetricKind::Gauge,
            labels: Vec::new(),
            bounds: Vec::new(),
            samples: vec![sample],
        }
    }

    async fn get(monitor: &Monitor, path: &str) -> (u16, String) {
        let answer = monitor.answer(&Method::GET, path).await;
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        (answer.status().as_u16(), text)
    }

    #[tokio::test]
    async fn health_is_the_agents_and_readiness_the_hsms() {
        let facts = || Facts { hsm: "dev".to_owned(), ..Facts::default() };
        let starting = monitor(facts());
        assert_eq!(get(&starting, "/healthz").await.0, 200);
        assert_eq!(get(&starting, "/readyz").await, (503, "dev: starting\n".to_owned()));
        let ready = monitor(Facts { ready: true, ..facts() });
        for path in ["/readyz", "/readyz/dev", "/readyz/DEV"] {
            assert_eq!(get(&ready, path).await.0, 200, "{path}");
        }
        let gone = monitor(Facts { last_end: Some("killed".to_owned()), ..facts() });
        let (status, text) = get(&gone, "/readyz/dev").await;
        assert!(status == 503 && text.contains("killed"), "{text}");
        for path in ["/readyz/other", "/readyz/", "/", "/metrics/x", "/healthz/"] {
            assert_eq!(get(&ready, path).await.0, 404, "{path}");
        }
        let posted = ready.answer(&Method::POST, "/metrics").await;
        assert_eq!(posted.status(), 405);
        assert_eq!(posted.headers()["allow"], "GET, HEAD");
    }

    #[tokio::test]
    async fn a_nearly_full_disk_is_not_ready() {
        let facts =
            Facts { hsm: "dev".to_owned(), ready: true, disk_low: true, ..Facts::default() };
        let (status, text) = get(&monitor(facts), "/readyz").await;
        assert!(status == 503 && text.contains("disk is nearly full"), "{text}");
    }

    #[test]
    fn idle_connections_go_before_those_that_are_used() {
        let idle = Used::new();
        let mut asking = Used::new();
        asking.since = idle.since - Duration::from_secs(60);
        asking.begin();
        asking.since = idle.since - Duration::from_secs(60);
        assert!(idle.rank() < asking.rank(), "the one that is asking is older, and stays");
        asking.end();
        assert!(idle.rank() < asking.rank(), "its answer is being read");
        asking.since -= READING;
        let older = Used { since: asking.since - READING, ..Used::new() };
        assert!(asking.rank() < idle.rank() && older.rank() < asking.rank());
    }

    #[tokio::test]
    async fn a_missing_copy_is_not_ready() {
        let facts =
            Facts { hsm: "dev".to_owned(), ready: true, copy_missing: true, ..Facts::default() };
        let monitor = monitor(facts);
        let (status, text) = get(&monitor, "/readyz/dev").await;
        assert!(status == 503 && text.contains("synchronous sink"), "{text}");
        let (_, metrics) = get(&monitor, "/metrics").await;
        assert!(metrics.contains("casemate_audit_copy_missing{hsm=\"dev\"} 1"), "{metrics}");
    }

    #[tokio::test]
    async fn idle_connections_keep_nobody_out() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let facts = Facts { hsm: "dev".to_owned(), ready: true, ..Facts::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(Arc::new(monitor(facts)).serve(listener, stopping));
        let mut idle = Vec::new();
        for _ in 0..40 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut asking = TcpStream::connect(address).await.unwrap();
        let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        asking.write_all(request).await.unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn of_several_hsms_each_is_shown_and_all_must_be_ready() {
        let facts = |hsm: &str, ready| Facts { hsm: hsm.to_owned(), ready, ..Facts::default() };
        let monitor = monitor_of([facts("alpha", true), facts("beta", false)]);
        let both = "alpha: ready\nbeta: starting\n".to_owned();
        assert_eq!(get(&monitor, "/readyz").await, (503, both));
        assert_eq!(get(&monitor, "/readyz/alpha").await.0, 200);
        assert_eq!(get(&monitor, "/readyz/beta").await.0, 503);
        let (_, text) = get(&monitor, "/metrics").await;
        assert!(text.contains("casemate_partition_ready{hsm=\"alpha\"} 1\n"), "{text}");
        assert!(text.contains("casemate_partition_ready{hsm=\"beta\"} 0\n"), "{text}");
        // A family is described once, whoever has samples of it.
        assert_eq!(text.matches("# TYPE casemate_partition_ready ").count(), 1, "{text}");
        assert_eq!(get(&monitor_of([]), "/readyz").await.0, 200);
        assert_eq!(get(&monitor_of([]), "/metrics").await.0, 200);
    }

    #[tokio::test]
    async fn without_a_partition_the_agents_own_counts_are_shown() {
        let monitor = monitor(Facts { hsm: "dev".to_owned(), restarts: 3, ..Facts::default() });
        let (status, text) = get(&monitor, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("casemate_partition_restarts_total{hsm=\"dev\"} 3\n"), "{text}");
        assert!(text.contains("casemate_partition_scraped{hsm=\"dev\"} 0\n"), "{text}");
        assert!(text.contains("casemate_partition_ready{hsm=\"dev\"} 0\n"), "{text}");
    }

    #[test]
    fn parts_are_put_together_and_unsound_ones_refused() {
        let questions = Questions::default();
        let (id, mut answered) = questions.ask().unwrap();
        questions.part(id, part("casemate_a", 1.0)).unwrap();
        questions.part(id, part("casemate_b", 2.0)).unwrap();
        questions.part(id, part("casemate_a", 3.0)).unwrap();
        assert_eq!(questions.part(id, part("up", 1.0)), Err(BadCounts::Unsound));
        questions.part(id + 1, part("casemate_c", 4.0)).unwrap();
        questions.end(id + 1);
        assert!(answered.try_recv().is_err());
        questions.end(id);
        let families = answered.try_recv().unwrap();
        let sizes: Vec<_> =
            families.iter().map(|one| (one.name.as_str(), one.samples.len())).collect();
        assert_eq!(sizes, [("casemate_a", 2), ("casemate_b", 1)]);
    }

    #[test]
    fn an_answer_without_end_is_cut_off_and_questions_are_few() {
        let questions = Questions::default();
        let (id, _first) = questions.ask().unwrap();
        let endless =
            (0..=PARTS_MAX).map(|n| questions.part(id, part(&format!("casemate_{n}"), 0.0)));
        assert_eq!(endless.last(), Some(Err(BadCounts::TooMany)));
        let (id, _answered) = questions.ask().unwrap();
        let same = (0..=PARTS_MAX).map(|_| questions.part(id, part("casemate_0", 0.0)));
        assert_eq!(same.last(), Some(Err(BadCounts::TooMany)));
        let _held: Vec<_> = (2..QUESTIONS_MAX).map(|_| questions.ask().unwrap()).collect();
        assert!(questions.ask().is_none());
    }
}
