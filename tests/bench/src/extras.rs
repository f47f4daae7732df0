//! What is not one operation: creation, lists, handshakes, tokens, start-up, memory.

use std::time::{Duration, Instant};

use casemate_test_kit::{Dev, Options, process};
use serde_json::json;

use crate::client::Target;
use crate::load::spell;
use crate::measure::{Plan, hsm_target};
use crate::{Outcome, backup, cpu, domain, report};

/// A line of the second table.
pub(crate) struct Extra {
    pub(crate) what: String,
    pub(crate) result: String,
}

/// Measures all of them.
pub(crate) fn all(plan: &Plan) -> Outcome<Vec<Extra>> {
    if !plan.only.is_empty() {
        return Ok(Vec::new());
    }
    let mut extras = Vec::new();
    domain::activation(&mut extras)?;
    let scratch = tempfile_dir()?;
    let dev = Dev::start(Options::in_dir(&scratch));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    creation(&dev, &mut extras)?;
    let target = hsm_target(&dev)?;
    let partition = dev.partition();
    tokens(&dev, &mut extras)?;
    runtime.block_on(handshakes(&target, partition, &mut extras))?;
    extras.push(line("memory of the partition, few keys", &resident(partition)));
    fill(&dev, plan.keys)?;
    let list = target.request("GET", "/keys?api-version=2025-07-01&maxresults=25", b"");
    let listed = runtime.block_on(spell(&target, partition, list, 64, plan.spell))?;
    let what = format!("list 25 of {} keys", plan.keys);
    extras.push(line(&what, &format!("{} CPU, {:.0}/s", micros(listed.cpu), listed.rate)));
    extras.push(line(&format!("memory, {} keys", plan.keys), &resident(partition)));
    let bytes = folder_bytes(&scratch);
    extras.push(line(
        &format!("folder, {} keys and their audit records", plan.keys),
        &format!("{} MiB", bytes >> 20),
    ));
    backup::measure(&dev, plan.keys, &scratch, &mut extras)?;
    domain::rotation(&dev, plan.keys, &mut extras)?;
    dev.stop();
    let begun = Instant::now();
    let dev = Dev::start(Options::in_dir(&scratch));
    let took = begun.elapsed();
    let what = format!("start-up with {} keys, to the first answer", plan.keys);
    extras.push(line(&what, &format!("{:.2} s", took.as_secs_f64())));
    dev.stop();
    std::fs::remove_dir_all(&scratch)?;
    Ok(extras)
}

pub(crate) fn line(what: &str, result: &str) -> Extra {
    report::say(&format!("{what}: {result}"));
    Extra { what: what.to_owned(), result: result.to_owned() }
}

fn creation(dev: &Dev, extras: &mut Vec<Extra>) -> Outcome<()> {
    let kinds = [
        ("RSA-HSM 2048", json!({"kty": "RSA-HSM", "key_size": 2048}), 10),
        ("RSA-HSM 3072", json!({"kty": "RSA-HSM", "key_size": 3072}), 6),
        ("RSA-HSM 4096", json!({"kty": "RSA-HSM", "key_size": 4096}), 5),
        ("EC-HSM P-256", json!({"kty": "EC-HSM", "crv": "P-256"}), 50),
        ("EC-HSM P-521", json!({"kty": "EC-HSM", "crv": "P-521"}), 50),
        ("oct-HSM 256", json!({"kty": "oct-HSM", "key_size": 256}), 50),
    ];
    let mut rest = dev.rest();
    for (name, body, count) in kinds {
        let mut times = Vec::new();
        for number in 0..count {
            let begun = Instant::now();
            let path = format!("/keys/create-{number}/create");
            rest.call("POST", &path, &body)?.expect_ok("create");
            times.push(begun.elapsed());
        }
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let worst = times.last().copied().unwrap_or_default();
        let text = format!(
            "{:.1} ms median, {:.1} ms worst of {count}, one at a time",
            median.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3
        );
        extras.push(line(&format!("create {name}"), &text));
    }
    Ok(())
}

/// A token's first request is validated, its second found in the cache.
fn tokens(dev: &Dev, extras: &mut Vec<Extra>) -> Outcome<()> {
    let partition = dev.partition();
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut rest = dev.rest();
    rest.ask("GET", "/keys")?.expect_ok("list");
    for _ in 0..40 {
        // One connection, so that no handshake is counted; each token is a new one.
        rest = rest.with_token(&dev.token());
        for times in [&mut cold, &mut warm] {
            let from = cpu::of(partition)?;
            rest.ask("GET", "/keys")?.expect_ok("list");
            times.push(cpu::of(partition)? - from);
        }
    }
    for (what, mut times) in [("new token", cold), ("cached token", warm)] {
        times.sort();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let text = format!("{} CPU, alone on an idle server", micros(median));
        extras.push(line(&format!("one list request with a {what}"), &text));
    }
    Ok(())
}

async fn handshakes(target: &Target, partition: u32, extras: &mut Vec<Extra>) -> Outcome<()> {
    const COUNT: u32 = 500;
    let mut tls = rustls::ClientConfig::clone(&target.tls);
    tls.resumption = rustls::client::Resumption::disabled();
    let target = Target { tls: std::sync::Arc::new(tls), ..target.clone() };
    let request = target.request("GET", "/keys?api-version=2025-07-01", b"");
    let (from, begun) = (cpu::of(partition)?, Instant::now());
    for _ in 0..COUNT {
        target.connect().await?.exchange(&request).await?;
    }
    let (spent, took) = (cpu::of(partition)? - from, begun.elapsed());
    let text = format!(
        "{} CPU of the partition, {:.0}/s one at a time",
        micros(spent / COUNT),
        f64::from(COUNT) / took.as_secs_f64()
    );
    extras.push(line("full TLS handshake and one request", &text));
    Ok(())
}

/// Creates keys over eight connections.
fn fill(dev: &Dev, keys: usize) -> Outcome<()> {
    const WRITERS: usize = 8;
    let begun = Instant::now();
    let rest = dev.rest();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let mut rest = rest.twin();
            std::thread::spawn(move || -> Outcome<()> {
                for number in (writer..keys).step_by(WRITERS) {
                    let path = format!("/keys/filled-{number:06}/create");
                    let body = json!({"kty": "EC-HSM", "crv": "P-256"});
                    rest.call("POST", &path, &body)?.expect_ok("create");
                }
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.join().map_err(|_| "a writer failed")??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    report::say(&format!("created {keys} keys in {seconds:.1} s"));
    Ok(())
}

fn resident(process: u32) -> String {
    format!("{:.1} MiB resident", kib(process::resident_kib(process)) / 1024.0)
}

fn kib(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

fn tempfile_dir() -> Outcome<std::path::PathBuf> {
    let path = std::env::temp_dir().join(format!("casemate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

pub(crate) fn folder_bytes(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => folder_bytes(&entry.path()),
            Ok(facts) => facts.len(),
            Err(_) => 0,
        })
        .sum()
}
