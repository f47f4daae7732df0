//! The rounds: library, bare server and HSM, one after the other, operation by operation.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_test_kit::{Dev, Rest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use crate::client::Target;
use crate::load::{Spell, spell};
use crate::operations::{Act, OPERATIONS, Operation, Raw, engine};
use crate::{Outcome, bare, report};

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) spell: Duration,
    pub(crate) connections: usize,
    /// Only rows whose name holds this.
    pub(crate) only: String,
    /// Keys for the list and the start-up.
    pub(crate) keys: usize,
    /// Where the table goes; nowhere when empty.
    pub(crate) write: String,
}

impl Plan {
    /// Reads `--rounds N --seconds S --connections N --only TEXT --keys N --write FILE`.
    pub(crate) fn from_args(args: &[String]) -> Outcome<Self> {
        let mut plan = Self {
            rounds: 5,
            spell: Duration::from_millis(1_500),
            connections: 64,
            only: String::new(),
            keys: 10_000,
            write: String::new(),
        };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--rounds" => plan.rounds = value.parse()?,
                "--seconds" => plan.spell = Duration::from_secs_f64(value.parse()?),
                "--connections" => plan.connections = value.parse()?,
                "--only" => plan.only.clone_from(value),
                "--keys" => plan.keys = value.parse()?,
                "--write" => plan.write.clone_from(value),
                _ => return Err(format!("{word} is not an option").into()),
            }
        }
        Ok(plan)
    }
}

/// What was measured of one operation.
pub(crate) struct Row {
    pub(crate) operation: Operation,
    /// Library: CPU time of one operation, each round.
    pub(crate) raw: Vec<Duration>,
    /// Bare server, each round.
    pub(crate) bare: Vec<Spell>,
    /// HSM, each round; none for the empty request.
    pub(crate) hsm: Vec<Spell>,
}

/// Measures every operation.
pub(crate) fn all(plan: &Plan) -> Outcome<Vec<Row>> {
    let server = Bare::start()?;
    let dev = Dev::fresh();
    let mut rest = dev.rest();
    let library = engine()?;
    let hsm = hsm_target(&dev)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut subjects = Vec::new();
    for (index, operation) in OPERATIONS.iter().enumerate() {
        if index == 0 || operation.name.contains(&plan.only) {
            let raw = Raw::new(&library, *operation)?;
            let requests = requests(&mut rest, &hsm, &server.target, index, operation)?;
            let row = Row { operation: *operation, raw: vec![], bare: vec![], hsm: vec![] };
            subjects.push((raw, requests, row));
        }
    }
    for round in 1..=plan.rounds {
        for (raw, (to_bare, to_hsm), row) in &mut subjects {
            report::say(&format!("round {round} of {}: {}", plan.rounds, row.operation.name));
            row.raw.push(library_spell(raw)?);
            let to = |target: &Target, process, request: &[u8]| {
                let (length, connections) = (plan.spell, plan.connections);
                runtime.block_on(spell(target, process, request.to_vec(), connections, length))
            };
            let bare = || to(&server.target, server.child.id(), to_bare);
            let Some(request) = to_hsm else {
                row.bare.push(bare()?);
                continue;
            };
            // Who goes first alternates: what a machine does over time favours neither.
            if round % 2 == 1 {
                row.bare.push(bare()?);
                row.hsm.push(to(&hsm, dev.partition(), request)?);
            } else {
                row.hsm.push(to(&hsm, dev.partition(), request)?);
                row.bare.push(bare()?);
            }
        }
    }
    drop(server);
    dev.stop();
    Ok(subjects.into_iter().map(|(_, _, row)| row).collect())
}

/// The target that is the HSM.
pub(crate) fn hsm_target(dev: &Dev) -> Outcome<Target> {
    let url = dev.variable("CASEMATE_HSM_URL");
    let port = url.rsplit(':').next().unwrap_or_default().parse()?;
    Ok(Target { port, tls: casemate_test_kit::tls::trust(&dev.ca()), token: dev.token() })
}

/// The requests to the bare server and to the HSM; the key is created there.
fn requests(
    rest: &mut Rest,
    hsm: &Target,
    bare: &Target,
    index: usize,
    operation: &Operation,
) -> Outcome<(Vec<u8>, Option<Vec<u8>>)> {
    let path = format!("/{index}");
    if operation.act == Act::Empty {
        return Ok((bare.request("GET", &path, b""), None));
    }
    let (to_hsm, body) = request_to_hsm(rest, hsm, operation)?;
    Ok((bare.request(method(operation), &path, &body), Some(to_hsm)))
}

fn method(operation: &Operation) -> &'static str {
    if matches!(operation.act, Act::Empty | Act::Get) { "GET" } else { "POST" }
}

/// The request to the HSM and its body; the key is created.
pub(crate) fn request_to_hsm(
    rest: &mut Rest,
    hsm: &Target,
    operation: &Operation,
) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let create = format!("/keys/{}/create", operation.key_name());
    let bundle = rest.call("POST", &create, &operation.creation())?.expect_ok("create");
    let kid = bundle["key"]["kid"].as_str().ok_or("the bundle has no kid")?;
    let path = kid.split_once("/keys/").map(|(_, rest)| format!("/keys/{rest}"));
    let path = path.ok_or("the kid has no path")?;
    let before = match operation.before() {
        Some((verb, body)) => {
            rest.call("POST", &format!("{path}{verb}"), &body)?.expect_ok("before")
        }
        None => Value::Null,
    };
    let body = match operation.body(&before) {
        Some(body) => serde_json::to_vec(&body)?,
        None => Vec::new(),
    };
    let path = format!("{path}{}?api-version=2025-07-01", operation.verb());
    Ok((hsm.request(method(operation), &path, &body), body))
}

/// CPU time of one operation of the library on this thread.
fn library_spell(raw: &Raw) -> Outcome<Duration> {
    let sample = raw.sample();
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    let begun = Instant::now();
    let from = clock.now()?;
    let mut count = 0_u32;
    while begun.elapsed() < Duration::from_millis(300) {
        std::hint::black_box(raw.run(std::hint::black_box(&sample))?);
        count += 1;
    }
    let spent = clock.now()? - from;
    Ok(Duration::from(spent) / count)
}

/// The bare server's process.
struct Bare {
    child: Child,
    target: Target,
}

impl Bare {
    fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the bare server has no output")?;
        let mut lines = BufReader::new(output).lines();
        let port = lines.next().ok_or("the bare server did not start")??.parse()?;
        let mut pem = String::new();
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            pem.push_str(&line);
            pem.push('\n');
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let target = Target { port, tls: Arc::new(tls), token: bare::token() };
        Ok(Self { child, target })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The end of its input stops it; a kill makes sure.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
