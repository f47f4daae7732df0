//! Metrics, health and readiness, looked at with plain sockets, with promtool and through a real
//! Prometheus. Nothing that a caller chose may show in them.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_system_tests::casemate;
use casemate_system_tests::management::get;
use casemate_test_kit::{Dev, Options, process};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Prometheus has its first sample a few seconds after its start.
const PATIENCE: Duration = Duration::from_secs(60);

fn management(dev: &Dev) -> &str {
    dev.variable("CASEMATE_MANAGEMENT_URL")
}

fn metrics(dev: &Dev) -> String {
    let (status, text) = get(management(dev), "/metrics");
    assert_eq!(status, 200, "{text}");
    text
}

/// The value of the one line that begins so.
fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    assert!(line.is_some(), "there is no {series} in\n{text}");
    line.unwrap_or_default()
        .rsplit(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a value is a number")
}

fn hits(text: &str, kind: &str, name: &str) -> f64 {
    let labels = format!("hsm=\"dev\",activity_type=\"{kind}\",activity_name=\"{name}\"");
    value(text, &format!("casemate_service_api_hit_total{{{labels}}}"))
}

fn by_status(metric: &str, name: &str, status: u16) -> String {
    let labels = format!("hsm=\"dev\",activity_type=\"key\",activity_name=\"{name}\"");
    let class = status / 100;
    format!("{metric}{{{labels},status_code=\"{status}\",status_code_class=\"{class}xx\"}}")
}

/// Signs a few times, is refused once, asks without a token once.
fn some_work(dev: &Dev) {
    let mut rest = dev.rest();
    let create = json!({"kty": "EC-HSM", "crv": "P-256"});
    rest.call("POST", "/keys/secret-name-of-a-key/create", &create)
        .expect("an answer")
        .expect_ok("create");
    let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
    for _ in 0..5 {
        let signed = rest.call("POST", "/keys/secret-name-of-a-key/sign", &sign);
        signed.expect("an answer").expect_ok("sign");
    }
    let wrong = json!({"alg": "RS256", "value": "A".repeat(43)});
    let refused = rest.call("POST", "/keys/secret-name-of-a-key/sign", &wrong).expect("an answer");
    refused.expect_refusal(400, "BadParameter", "a wrong algorithm");
    assert_eq!(dev.anonymous().ask("GET", "/keys").expect("an answer").status, 401);
}

#[test]
fn what_was_done_is_counted_with_the_originals_dimensions() {
    let dev = Dev::fresh();
    some_work(&dev);
    let text = metrics(&dev);
    assert_eq!(hits(&text, "key", "KeySign"), 6.0);
    assert_eq!(hits(&text, "key", "KeyCreate"), 1.0);
    assert!(hits(&text, "managedhsm", "Authentication") >= 1.0);
    let latency = "casemate_service_api_latency_seconds_count";
    assert_eq!(value(&text, &by_status(latency, "KeySign", 200)), 5.0);
    assert_eq!(value(&text, &by_status(latency, "KeySign", 400)), 1.0);
    let available = "casemate_availability_percent_sum";
    assert_eq!(value(&text, &by_status(available, "KeySign", 200)), 500.0);
    let es256 = "casemate_algorithm_uses_total{hsm=\"dev\",algorithm=\"ES256\"}";
    assert_eq!(value(&text, es256), 5.0);
    assert!(value(&text, "casemate_store_commit_seconds_count{hsm=\"dev\"}") >= 1.0);
    assert!(value(&text, "casemate_audit_append_seconds_count{hsm=\"dev\"}") >= 8.0);
    let handshakes = "casemate_tls_handshakes_total{hsm=\"dev\",result=\"done\"}";
    assert!(value(&text, handshakes) >= 2.0);
    assert_eq!(value(&text, "casemate_partition_ready{hsm=\"dev\"}"), 1.0);
    assert_eq!(value(&text, "casemate_partition_scraped{hsm=\"dev\"}"), 1.0);
    dev.stop();
}

/// Names that callers choose must not show: neither of keys nor of callers, tags or paths.
#[test]
fn nothing_that_a_caller_chose_is_shown() {
    let dev = Dev::fresh();
    some_work(&dev);
    let app = casemate(&dev, &["dev", "identity", "add-app", "secret-caller"]);
    let [id, object, secret] =
        ["appId", "objectId", "secret"].map(|name| app[name].as_str().expect("a text").to_owned());
    let token = dev.token_of(&id, &secret, "https://managedhsm.azure.net/.default");
    let mut stranger = dev.anonymous().with_token(&token);
    for path in ["/keys/secret-name-of-a-key", "/secret-path", "/settings/secret-setting"] {
        assert!(stranger.ask("GET", path).expect("an answer").status >= 400);
    }
    assert!(stranger.ask("SECRET", "/keys").expect("an answer").status >= 400);
    let text = metrics(&dev);
    assert!(hits(&text, "managedhsm", "UnknownOperation") >= 1.0, "they were counted");
    for word in ["secret", "SECRET", id.as_str(), object.as_str(), secret.as_str()] {
        assert!(!text.contains(word), "{word} is in\n{text}");
    }
    dev.stop();
}

#[test]
fn promtool_finds_nothing_to_say() {
    let dev = Dev::fresh();
    some_work(&dev);
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there");
    let mut input = child.stdin.take().expect("its input is open");
    input.write_all(metrics(&dev).as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    dev.stop();
}

#[test]
fn readiness_follows_the_partition_and_health_the_agent() {
    let dev = Dev::fresh();
    let url = management(&dev).to_owned();
    for path in ["/healthz", "/readyz", "/readyz/dev"] {
        assert_eq!(get(&url, path).0, 200, "{path}");
    }
    for path in ["/", "/readyz/other", "/metrics/", "/keys", "/../etc/passwd"] {
        assert_eq!(get(&url, path).0, 404, "{path}");
    }
    // Stopped, it neither answers nor ends: it is ready by its last word but tells no counts.
    process::signal(dev.partition(), Signal::SIGSTOP);
    let text = metrics(&dev);
    assert_eq!(value(&text, "casemate_partition_scraped{hsm=\"dev\"}"), 0.0);
    let began = Instant::now();
    process::signal(dev.partition(), Signal::SIGKILL);
    let mut was_down = false;
    while !(was_down && get(&url, "/readyz").0 == 200) {
        was_down |= get(&url, "/readyz").0 == 503;
        assert_eq!(get(&url, "/healthz").0, 200, "the agent lives");
        assert!(began.elapsed() < PATIENCE, "it became ready again (was down: {was_down})");
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = metrics(&dev);
    assert_eq!(value(&text, "casemate_partition_restarts_total{hsm=\"dev\"}"), 1.0);
    dev.stop();
}

/// A Prometheus with the configuration that is shipped, on another port; ended when dropped.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(dev: &Dev) -> Self {
        let folder = dev.scratch().join("prometheus");
        fs::create_dir_all(&folder).expect("the scratch folder can be written");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus");
        let rules = "casemate.rules.yml";
        fs::copy(shipped.join(rules), folder.join(rules)).expect("the rules are there");
        let config = fs::read_to_string(shipped.join("prometheus.yml")).expect("it is there");
        let target = management(dev).trim_start_matches("http://");
        assert!(config.contains("127.0.0.1:8445") && config.contains("15s"));
        let config = config.replace("127.0.0.1:8445", target).replace("15s", "1s");
        fs::write(folder.join("prometheus.yml"), config).expect("it can be written");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
        let listen = free.expect("a free port").to_string();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={listen}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is there");
        Self { child, url: format!("http://{listen}") }
    }

    /// The first sample of a query, when there is one.
    fn query(&self, query: &str) -> Option<f64> {
        TcpStream::connect(self.url.trim_start_matches("http://")).ok()?;
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let (status, body) = get(&self.url, &format!("/api/v1/query?query={query}"));
        let answer: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn eventually(&self, query: &str, holds: impl Fn(f64) -> bool) {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < PATIENCE {
            last = self.query(query);
            if last.is_some_and(&holds) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(last.is_some_and(holds), "{query} is {last:?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_reads_it_and_its_rules_work() {
    let dev = Dev::start(Options::default());
    let prometheus = Prometheus::start(&dev);
    prometheus.eventually("up{job=\"casemate\"}", |up| up == 1.0);
    some_work(&dev);
    let signs = "casemate_service_api_hit_total{activity_name=\"KeySign\"}";
    prometheus.eventually(signs, |count| count == 6.0);
    some_use(&dev);
    prometheus.eventually(signs, |count| count == 26.0);
    prometheus.eventually("casemate:availability_of_hsm:percent5m", |percent| percent == 100.0);
    let p99 = "casemate:service_api_latency_seconds:p99_5m{activity_name=\"KeySign\"}";
    prometheus.eventually(p99, |seconds| seconds > 0.0 && seconds < 5.0);
    dev.stop();
    prometheus.eventually("up{job=\"casemate\"}", |up| up == 0.0);
}

fn some_use(dev: &Dev) {
    let mut rest = dev.rest();
    let sign = json!({"alg": "ES256", "value": "A".repeat(43)});
    for _ in 0..20 {
        let signed = rest.call("POST", "/keys/secret-name-of-a-key/sign", &sign);
        signed.expect("an answer").expect_ok("sign");
    }
}

#[test]
fn the_shipped_rules_pass_promtool_and_the_dashboard_asks_for_what_there_is() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for words in [
        &["check", "rules", "casemate.rules.yml"][..],
        &["test", "rules", "casemate.rules.test.yml"],
        &["check", "config", "prometheus.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        let run = promtool.current_dir(deploy.join("prometheus")).args(words).output();
        let output = run.expect("promtool is there");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {words:?}: {said}");
    }
    let dev = Dev::fresh();
    // What there is to say of sinks is said once there are some.
    let sinks = json!({"sinks": [{"name": "archive", "kind": "file"}]});
    dev.rest().call("PUT", "/audit/sinks", &sinks).expect("an answer").expect_ok("sinks");
    // So it is with schedules of backups.
    let schedule = json!({"storageResourceUri": "file:///nightly", "everyMinutes": 1_440});
    let set = dev.rest().call("PUT", "/backup/schedules/nightly", &schedule);
    set.expect("an answer").expect_ok("a schedule");
    some_work(&dev);
    let text = metrics(&dev);
    let rules =
        fs::read_to_string(deploy.join("prometheus/casemate.rules.yml")).expect("an answer");
    let dashboard = fs::read_to_string(deploy.join("grafana/casemate.json")).expect("an answer");
    let parsed: Value = serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    for used in metric_names(&rules).into_iter().chain(metric_names(&dashboard)) {
        let is_there = text.lines().any(|line| {
            line.strip_prefix(used.as_str()).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        assert!(is_there, "{used} is asked for but not shown");
    }
    dev.stop();
}

/// The words in a text that are names of our metrics.
fn metric_names(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let names = words.filter(|word| word.starts_with("casemate_")).map(str::to_owned);
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    assert!(!names.is_empty());
    names
}
