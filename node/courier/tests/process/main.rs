//! A real courier process between a partition and receivers played by this test: everything
//! arrives, in order, whatever hangs, refuses or dies meanwhile.
//!
//! The test starts itself again as the courier, so it has no test harness, which would bring
//! threads along: a courier begins on the only thread of its process.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod farewell;
mod partition;
mod receivers;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use casemate_channel::courier::ToCourier;
use casemate_test_kit::own_main;
use partition::{CERTIFICATE, COURIER, Courier, Log, checkpoint};
use receivers::{Authority, Manner, Receiver};
use serde_json::{Value, json};

const SIGNING: &str = "whsec_c2VjcmV0LXRoYXQtaXMtbm90LXNob3duLWFueXdoZXJl";
const BEARER: &str = "Bearer not-shown-anywhere";
const SAS: &str = "sv=2024-11-04&sp=acr&sig=not-shown%2Beither";
/// How often the courier is killed, unless `CASEMATE_COURIER_DEATHS` says otherwise.
const DEATHS: u64 = 12;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(COURIER) {
        return casemate_courier::main();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    own_main::run(&mut [
        ("every_sink_gets_everything_in_order", &mut || {
            runtime.block_on(every_sink_gets_everything_in_order());
        }),
        ("a_sink_that_hangs_holds_up_no_other", &mut || {
            runtime.block_on(a_sink_that_hangs_holds_up_no_other());
        }),
        ("a_sink_that_answers_badly_is_asked_again_until_it_takes", &mut || {
            runtime.block_on(a_sink_that_answers_badly_is_asked_again_until_it_takes());
        }),
        ("a_certificate_of_somebody_else_gets_nothing", &mut || {
            runtime.block_on(a_certificate_of_somebody_else_gets_nothing());
        }),
        ("a_block_whose_answer_was_lost_is_not_appended_twice", &mut || {
            runtime.block_on(a_block_whose_answer_was_lost_is_not_appended_twice());
        }),
        ("a_courier_that_is_killed_goes_on_where_it_was", &mut || {
            runtime.block_on(a_courier_that_is_killed_goes_on_where_it_was());
        }),
        ("other_settings_hold_at_once_and_another_place_gets_everything", &mut || {
            runtime.block_on(other_settings_hold_at_once_and_another_place_gets_everything());
        }),
        ("alerts_are_signed_messages", &mut || {
            runtime.block_on(alerts_are_signed_messages());
        }),
        ("a_receiver_of_alerts_hears_that_it_is_taken_out", &mut || {
            runtime.block_on(farewell::a_receiver_of_alerts_hears_that_it_is_taken_out());
        }),
        ("a_receiver_that_is_gone_holds_up_no_change", &mut || {
            runtime.block_on(farewell::a_receiver_that_is_gone_holds_up_no_change());
        }),
        ("spans_go_to_the_collector", &mut || {
            runtime.block_on(spans_go_to_the_collector());
        }),
        ("spans_come_again_only_after_what_otlp_calls_retryable", &mut || {
            runtime.block_on(spans_come_again_only_after_what_otlp_calls_retryable());
        }),
        ("a_collector_that_hangs_holds_up_no_sink", &mut || {
            runtime.block_on(a_collector_that_hangs_holds_up_no_sink());
        }),
        ("a_partition_that_talks_nonsense_is_left", &mut || {
            runtime.block_on(a_partition_that_talks_nonsense_is_left());
        }),
    ])
}

fn at(name: &str, kind: &str, path: &str, receiver: &Receiver, authority: &Authority) -> Value {
    let scheme = if kind == "syslog" { "tls" } else { "https" };
    let endpoint = format!("{scheme}://localhost:{}{path}", receiver.port);
    let mut sink =
        json!({ "name": name, "kind": kind, "endpoint": endpoint, "trustAnchors": authority.pem });
    match kind {
        "otlp" => sink["secret"] = json!(BEARER),
        "webhook" | "alerts" => sink["secret"] = json!(SIGNING),
        "azureBlob" => sink["secret"] = json!(SAS),
        _ => {}
    }
    sink
}

fn hook(name: &str, receiver: &Receiver, authority: &Authority) -> Value {
    at(name, "webhook", "/audit", receiver, authority)
}

/// The entries of a copy, and the sizes of its checkpoints. One that is over what comes later
/// stands where a piece has ended, with the proof that joins it to the piece.
fn entries(copy: &str) -> (Vec<String>, Vec<u64>) {
    let (mut entries, mut sizes, mut certified) = (Vec::new(), Vec::new(), false);
    let (mut frontier_at, mut joined) = (None, None);
    for line in copy.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let so_far = u64::try_from(entries.len()).unwrap();
        if value["certificate"] == CERTIFICATE {
            certified = true;
        } else if let Some(frontier) = value["frontier"].as_str() {
            let size = frontier.strip_suffix("\nroots\n").expect("it is as it was told");
            frontier_at = Some(size.parse::<u64>().unwrap());
        } else if let Some(proof) = value["consistency"].as_str() {
            let signed = joined.take().or(sizes.last().copied()).expect("behind a checkpoint");
            assert_eq!(proof, format!("{so_far}\n{signed}\nproof\n"), "of this end");
        } else if let Some(text) = value["checkpoint"].as_str() {
            assert_eq!(joined, None, "what is over more stands before its proof");
            let size = text.lines().nth(1).unwrap().parse().unwrap();
            assert!(certified, "a checkpoint comes with its certificate");
            assert_eq!(text, checkpoint(size), "the checkpoint is as it was signed");
            if size > so_far {
                joined = Some(size);
            } else {
                sizes.push(size);
            }
        } else {
            assert_eq!(joined, None, "what is over more stands before its proof");
            if let Some(size) = frontier_at.take() {
                assert_eq!(value["seq"], size + 1, "it stands before the record after it");
            }
            entries.push(line.to_owned());
        }
    }
    (entries, sizes)
}

fn files(folder: &Path) -> String {
    let folder = folder.join("files/archive");
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some());
    names.sort();
    names.iter().map(|name| fs::read_to_string(name).unwrap()).collect()
}

async fn every_sink_gets_everything_in_order() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::of(5_000);
    let (web, otlp) = (Receiver::https(&authority).await, Receiver::https(&authority).await);
    let (blob, siem) = (Receiver::https(&authority).await, Receiver::syslog(&authority).await);
    let settings = json!({ "sinks": [
        { "name": "archive", "kind": "file", "rotateBytes": 65_536, "keepFiles": 9_999 },
        hook("web", &web, &authority),
        at("otlp", "otlp", "/v1/logs", &otlp, &authority),
        at("blob", "azureBlob", "/logs", &blob, &authority),
        at("siem", "syslog", "", &siem, &authority),
    ] });
    let courier = Courier::start(dir.path(), &log, &settings);
    is_confined(courier.pid());
    for _ in 0..3 {
        log.grow(500);
        courier.commit();
        for sink in ["archive", "web", "otlp", "blob", "siem"] {
            courier.delivered(sink).await;
        }
    }
    let terminal = courier.terminal();
    assert!(courier.end().await, "it ends well with its partition");
    let blobs: String = blob.blobs().into_iter().map(|(_, text)| text).collect();
    for copy in [files(dir.path()), web.text(), blobs] {
        let (lines, sizes) = entries(&copy);
        assert!(lines == log.lines(), "each entry once and in order: {}", lines.len());
        assert_eq!(sizes.last(), Some(&log.len()));
    }
    is_syslog(&siem, &log);
    is_otlp(&otlp, &log);
    let hours: Vec<_> = blob.blobs().into_iter().map(|(path, _)| path).collect();
    let resource = "resourceId=/SUBSCRIPTIONS/S/PROVIDERS/MICROSOFT.KEYVAULT/MANAGEDHSMS/DEV";
    assert_eq!(
        hours,
        [0, 1]
            .map(|hour| { format!("/logs/{resource}/y=2026/m=01/d=01/h=0{hour}/m=00/PT1H.json") })
    );
    shows_no_secret(&terminal);
}

fn is_confined(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let shows = |line: &str| status.lines().any(|shown| shown == line);
    // It may be on its way there still.
    if !shows("Seccomp:\t2") {
        std::thread::sleep(Duration::from_millis(300));
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
    }
}

fn is_syslog(siem: &Receiver, log: &Log) {
    let taken: Vec<_> = siem.taken();
    let messages = taken.iter().map(|taken| std::str::from_utf8(&taken.body).unwrap());
    let mut expected = log.lines().into_iter().enumerate();
    for message in messages.filter(|message| !message.contains(" Checkpoint - ")) {
        let (index, line) = expected.next().unwrap();
        let time = format!(
            "2026-01-01T{:02}:{:02}:{:02}.000Z",
            index / 3_600,
            index / 60 % 60,
            index % 60
        );
        let head =
            format!("<110>1 {time} dev casemate - KeySign [casemate@32473 index=\"{index}\"] ");
        assert_eq!(message, format!("{head}{line}"));
    }
    assert_eq!(expected.next(), None);
}

fn is_otlp(otlp: &Receiver, log: &Log) {
    let taken = otlp.taken();
    let bodies: Vec<u8> = taken.iter().flat_map(|taken| taken.body.to_vec()).collect();
    assert!(taken.iter().all(|taken| taken.headers["authorization"] == BEARER));
    // Each line stands in the protobuf as it is; a real decoder is used in the system tests.
    let mut from = 0;
    for line in log.lines() {
        let rest = &bodies[from..];
        let found = rest.windows(line.len()).position(|part| part == line.as_bytes());
        from += found.unwrap() + line.len();
    }
}

async fn a_sink_that_hangs_holds_up_no_other() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::of(1_000);
    let (slow, quick) = (Receiver::https(&authority).await, Receiver::https(&authority).await);
    let siem = Receiver::syslog(&authority).await;
    slow.behave(Manner::Hangs);
    siem.behave(Manner::Hangs);
    let settings = json!({ "sinks": [
        hook("slow", &slow, &authority),
        at("siem", "syslog", "", &siem, &authority),
        hook("quick", &quick, &authority),
    ] });
    let courier = Courier::start(dir.path(), &log, &settings);
    let begun = Instant::now();
    courier.delivered("quick").await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(courier.report("slow").unwrap().upto, 0);
    let reason = courier.failed("slow").await;
    assert!(reason.contains("longer than"), "{reason}");
    log.grow(1_000);
    courier.commit();
    courier.delivered("quick").await;
    slow.behave(Manner::Takes);
    courier.delivered("slow").await;
    let (lines, _) = entries(&slow.text());
    assert!(lines == log.lines(), "what hung comes whole and in order");
    assert!(courier.end().await);
}

async fn a_sink_that_answers_badly_is_asked_again_until_it_takes() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::of(100);
    let web = Receiver::https(&authority).await;
    let mut terminals = String::new();
    for (manner, says) in [
        (Manner::Status(500), "answered 500"),
        (Manner::Status(401), "answered 401"),
        (Manner::Status(302), "redirect (302)"),
        (Manner::Status(307), "redirect (307)"),
        (Manner::HangsUp, "broke before"),
        (Manner::TalksTooMuch, "answered more than"),
        (Manner::SlowLoris, "longer than 10 s"),
    ] {
        web.behave(manner);
        let before = web.seen();
        let settings = json!({ "sinks": [hook("web", &web, &authority)] });
        let courier = Courier::start(dir.path(), &log, &settings);
        log.grow(100);
        courier.commit();
        let reason = courier.failed("web").await;
        assert!(reason.contains(says), "{manner:?}: {reason}");
        assert!(!reason.contains("the secret is wrong"), "nothing of what the sink says: {reason}");
        assert!(web.seen() > before);
        web.behave(Manner::Takes);
        courier.delivered("web").await;
        terminals.push_str(&courier.terminal());
        assert!(courier.end().await);
        assert!(web.taken().iter().all(|taken| taken.headers.contains_key("webhook-signature")));
    }
    let (lines, _) = entries(&web.text());
    assert!(lines == log.lines(), "none lost, none twice, in order");
    shows_no_secret(&terminals);
}

async fn a_certificate_of_somebody_else_gets_nothing() {
    let dir = folder();
    let (authority, foreign) = (Authority::new(), Authority::new());
    let log = Log::of(10);
    let (impostor, misnamed) =
        (Receiver::https(&foreign).await, Receiver::named(&authority, "other.example").await);
    let siem = Receiver::syslog(&foreign).await;
    let settings = json!({ "sinks": [
        hook("impostor", &impostor, &authority),
        hook("misnamed", &misnamed, &authority),
        at("siem", "syslog", "", &siem, &authority),
    ] });
    let courier = Courier::start(dir.path(), &log, &settings);
    for sink in ["impostor", "misnamed", "siem"] {
        let reason = courier.failed(sink).await;
        assert!(reason.contains("no TLS"), "{sink}: {reason}");
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((impostor.seen(), misnamed.seen(), siem.seen()), (0, 0, 0));
    assert!(courier.end().await);
}

async fn a_block_whose_answer_was_lost_is_not_appended_twice() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::of(50);
    let blob = Receiver::https(&authority).await;
    let settings = json!({ "sinks": [at("blob", "azureBlob", "/logs/", &blob, &authority)] });
    let courier = Courier::start(dir.path(), &log, &settings);
    courier.delivered("blob").await;
    for _ in 0..3 {
        blob.behave(Manner::TakesAndHangsUp);
        log.grow(50);
        courier.commit();
        courier.failed("blob").await;
        blob.behave(Manner::Takes);
        courier.delivered("blob").await;
    }
    let (lines, _) = entries(&blob.blobs()[0].1);
    assert!(lines == log.lines(), "{} of {}", lines.len(), log.len());
    assert!(courier.end().await);
}

async fn a_courier_that_is_killed_goes_on_where_it_was() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::default();
    let (web, siem) = (Receiver::https(&authority).await, Receiver::syslog(&authority).await);
    let settings = json!({ "sinks": [
        { "name": "archive", "kind": "file", "rotateBytes": 65_536, "keepFiles": 9_999 },
        hook("web", &web, &authority),
        at("siem", "syslog", "", &siem, &authority),
    ] });
    let deaths = std::env::var("CASEMATE_COURIER_DEATHS");
    let deaths = deaths.map_or(DEATHS, |text| text.parse().unwrap());
    for death in 0..deaths {
        log.grow(2_000);
        let courier = Courier::start(dir.path(), &log, &settings);
        tokio::time::sleep(Duration::from_millis(40 * (death % 12))).await;
        courier.kill();
    }
    let courier = Courier::start(dir.path(), &log, &settings);
    for sink in ["archive", "web", "siem"] {
        courier.delivered(sink).await;
    }
    assert!(courier.end().await);
    let (lines, _) = entries(&files(dir.path()));
    assert!(lines == log.lines(), "the files hold each entry once");
    for text in [web.text(), siem_lines(&siem)] {
        let mut next = 0_usize;
        let sequence = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64();
        for number in text.lines().filter_map(sequence) {
            let number = usize::try_from(number).unwrap();
            assert!(number <= next + 1, "none is passed over: {number} after {next}");
            next = next.max(number);
        }
        assert_eq!(next, log.lines().len());
    }
}

fn siem_lines(siem: &Receiver) -> String {
    let taken = siem.taken();
    let texts = taken.iter().map(|taken| std::str::from_utf8(&taken.body).unwrap());
    texts.filter_map(|text| Some(format!("{}\n", text.get(text.find('{')?..)?))).collect()
}

async fn other_settings_hold_at_once_and_another_place_gets_everything() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::of(300);
    let (one, two) = (Receiver::https(&authority).await, Receiver::https(&authority).await);
    let settings = |to: &Receiver| json!({ "sinks": [hook("web", to, &authority)] });
    let courier = Courier::start(dir.path(), &log, &settings(&one));
    courier.delivered("web").await;
    courier.configure(&settings(&two));
    courier.delivered("web").await;
    let before = one.seen();
    log.grow(10);
    courier.commit();
    courier.delivered("web").await;
    assert!(entries(&two.text()).0 == log.lines());
    assert_eq!(one.seen(), before, "the old place gets nothing more");
    courier.configure(&json!({ "sinks": [] }));
    log.grow(10);
    courier.commit();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(entries(&two.text()).0.len(), 310);
    assert!(!dir.path().join("web.cursor").exists());
    assert!(courier.end().await);
}

async fn alerts_are_signed_messages() {
    let dir = folder();
    let authority = Authority::new();
    let log = Log::of(20);
    let pager = Receiver::https(&authority).await;
    let refused = json!({
        "time": "2026-01-01T00:00:00Z", "phase": "refusal", "operationName": "KeySign",
        "resultType": "Failed", "httpStatusCode": 403, "callerIpAddress": "10.9.9.9",
    });
    for _ in 0..30 {
        log.add(&refused.to_string());
    }
    let purged = json!({
        "time": "2026-01-01T00:00:01Z", "phase": "outcome", "operationName": "KeyPurge",
        "resultType": "Success", "key": { "name": "pay" },
    });
    log.add(&purged.to_string());
    pager.behave(Manner::Status(503));
    let settings = json!({ "sinks": [at("pager", "alerts", "/", &pager, &authority)] });
    let courier = Courier::start(dir.path(), &log, &settings);
    courier.failed("pager").await;
    pager.behave(Manner::Takes);
    courier.delivered("pager").await;
    let taken = pager.taken();
    let rules: Vec<Value> = taken
        .iter()
        .map(|taken| serde_json::from_slice::<Value>(&taken.body).unwrap()["data"].clone())
        .collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert_eq!(
        (&rules[0]["rule"], &rules[0]["index"]),
        (&json!("failedAuthorization"), &json!(29))
    );
    assert_eq!((&rules[1]["rule"], &rules[1]["subject"]), (&json!("keyPurge"), &json!("pay")));
    assert_eq!(taken[1].headers["webhook-id"], "dev-keyPurge-50");
    assert!(courier.end().await);
}

async fn a_partition_that_talks_nonsense_is_left() {
    let dir = folder();
    let courier = Courier::start(dir.path(), &Log::of(1), &json!({ "sinks": [] }));
    let json = b"{\"settings\":7}".to_vec();
    courier.send(ToCourier::Configuration { generation: 9, json });
    courier.send(ToCourier::Checkpoint("none".to_owned()));
    courier.send(ToCourier::Entries { from: 77, lines: b"unasked\n".to_vec() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Settings that are not whole run no sink; a frame that is none ends the courier.
    courier.send(ToCourier::Entries { from: 0, lines: b"no end of line".to_vec() });
    let pid = courier.pid();
    assert!(!courier.end().await, "it ends with an error, process {pid}");
}

fn shows_no_secret(text: &str) {
    for secret in [SIGNING, BEARER, SAS, "not-shown", "c2VjcmV0"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Waits until something holds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < partition::PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many spans the bodies hold, by their trace's id.
fn spans_in(receiver: &Receiver) -> usize {
    let of = |body: &[u8]| body.windows(16).filter(|part| part == b"a trace for all.").count();
    receiver.taken().iter().map(|taken| of(&taken.body)).sum()
}

/// A courier with a webhook and a collector of traces.
async fn with_collector(dir: &Path, log: &Log) -> (Courier, Receiver, Receiver) {
    let authority = Authority::new();
    let (web, collector) = (Receiver::https(&authority).await, Receiver::https(&authority).await);
    let endpoint = format!("https://localhost:{}/v1/traces", collector.port);
    let settings = json!({
        "sinks": [hook("web", &web, &authority)],
        "traces": { "endpoint": endpoint, "trustAnchors": authority.pem, "secret": BEARER },
    });
    (Courier::start(dir, log, &settings), web, collector)
}

async fn spans_go_to_the_collector() {
    let dir = folder();
    let (courier, _web, collector) = with_collector(dir.path(), &Log::of(1)).await;
    courier.spans.add(600);
    eventually("all spans are sent", || courier.spans.told() == (600, 0)).await;
    assert_eq!(spans_in(&collector), 600, "each once");
    let taken = collector.taken();
    assert!(taken.iter().all(|one| one.headers["authorization"] == BEARER));
    assert!(taken.iter().all(|one| one.headers["content-type"] == "application/x-protobuf"));
    assert!(courier.end().await, "it ends well with its partition");
}

async fn spans_come_again_only_after_what_otlp_calls_retryable() {
    let dir = folder();
    let (courier, _web, collector) = with_collector(dir.path(), &Log::of(1)).await;
    collector.behave(Manner::Status(503));
    courier.spans.add(5);
    eventually("it is told why", || courier.spans.error().is_some()).await;
    assert!(courier.spans.error().unwrap().contains("503"));
    courier.spans.add(7);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let state = (courier.spans.waiting(), courier.spans.told());
    assert_eq!(state, (7, (0, 0)), "no more are asked for meanwhile");
    collector.behave(Manner::Takes);
    eventually("the same and the next are sent", || courier.spans.told() == (12, 0)).await;
    assert_eq!(spans_in(&collector), 12);
    collector.behave(Manner::Status(400));
    courier.spans.add(3);
    eventually("they are lost", || courier.spans.told() == (12, 3)).await;
    assert!(!courier.terminal().contains("not-shown-anywhere"), "no secret in the terminal");
}

async fn a_collector_that_hangs_holds_up_no_sink() {
    let dir = folder();
    let log = Log::of(10);
    let (courier, _web, collector) = with_collector(dir.path(), &log).await;
    collector.behave(Manner::Hangs);
    courier.spans.add(2);
    eventually("they have gone out", || collector.seen() == 1).await;
    for _ in 0..5 {
        log.grow(100);
        courier.commit();
        let begun = Instant::now();
        courier.delivered("web").await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    collector.behave(Manner::Takes);
    eventually("it goes on after its deadline", || courier.spans.told() == (2, 0)).await;
    assert_eq!(spans_in(&collector), 2);
    assert!(courier.spans.error().unwrap().contains("longer than 10 s"));
}
