//! How many records a second the trail takes, and what one costs in CPU time; then how many
//! signatures (ECDSA P-256, RSA 2048) 64 callers get per second with a durable record before each
//! answer, and how many with a sink that takes nothing down. The real server does more per call
//! than sign (TLS, HTTP, token, rights), so its share lies nearer to 100 % than this one; and with
//! a few dozen callers the disk's latency counts: run it on a quiet machine.
//!
//! `cargo bench -p casemate-audit [-- FOLDER]`; the folder should be on the disk that counts.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use casemate_audit::{
    Call, Identity, KeyFacts, Origin, PermitFacts, Phase, Record, Trail, Verdict,
};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use uuid::Uuid;

#[expect(clippy::unwrap_used, dead_code, reason = "shared with the tests, a part is used")]
#[path = "../tests/signed/mod.rs"]
mod signed;

const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut out = std::io::stdout().lock();
    writeln!(out, "| tasks | records/s | CPU per record, µs | bytes per record |")?;
    writeln!(out, "|---|---|---|---|")?;
    for tasks in [1, 8, 64, 256] {
        let dir = tempfile::tempdir_in(&folder)?;
        writeln!(out, "{}", measure(dir.path(), tasks)?)?;
    }
    writeln!(out)?;
    writeln!(out, "| signatures/s, 64 callers | null sink | audit log | share |")?;
    writeln!(out, "|---|---|---|---|")?;
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    for key in [Key::Ec(ec), Key::Rsa(Box::new(rsa))] {
        writeln!(out, "{}", share(&folder, Arc::new(key))?)?;
    }
    Ok(())
}

/// What the callers of the second table sign with.
enum Key {
    Ec(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    fn sign(&self, random: &SystemRandom) -> bool {
        const DIGEST: &[u8] = b"a digest of thirty-two bytes, ..";
        match self {
            Self::Ec(key) => key.sign(random, DIGEST).is_ok(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, random, DIGEST, &mut signature).is_ok()
            }
        }
    }
}

fn share(folder: &std::path::Path, key: Arc<Key>) -> Result<String, Box<dyn std::error::Error>> {
    let mut rates = [0_u64; 2];
    // Turn by turn, so that a busy machine is busy for both.
    for round in 0..6_usize {
        let dir = tempfile::tempdir_in(folder)?;
        rates[round % 2] += signatures(dir.path(), Arc::clone(&key), round % 2 == 1)?;
    }
    let [null, audited] = rates.map(|rate| rate / 3);
    let name = match *key {
        Key::Ec(_) => "ES256",
        Key::Rsa(_) => "RS256 2048",
    };
    Ok(format!("| {name} | {null} | {audited} | {} % |", audited * 100 / null.max(1)))
}

/// Signatures per second of 64 callers, each with its record before it, or without any.
fn signatures(
    dir: &std::path::Path,
    key: Arc<Key>,
    audited: bool,
) -> Result<u64, Box<dyn std::error::Error>> {
    let trail = Trail::open(dir, &Origin::default(), signed::ledger(None), Arc::new(|| 0))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let end = Instant::now() + RUN;
    let signed: u64 = runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| tokio::spawn(sign_until(Arc::clone(&key), trail.clone(), audited, end)))
            .collect();
        let mut signed = 0;
        for task in tasks {
            signed += task.await.unwrap_or(0);
        }
        signed
    });
    trail.close();
    Ok(signed / RUN.as_secs())
}

async fn sign_until(key: Arc<Key>, trail: Trail, audited: bool, end: Instant) -> u64 {
    let (random, mut signed) = (SystemRandom::new(), 0);
    while Instant::now() < end {
        if !key.sign(&random) {
            break;
        }
        if audited && trail.append(&record(&call())).await.is_err() {
            break;
        }
        if !audited {
            tokio::task::yield_now().await;
        }
        signed += 1;
    }
    signed
}

fn measure(dir: &std::path::Path, tasks: u64) -> Result<String, Box<dyn std::error::Error>> {
    let origin = Origin {
        resource_id: "/providers/Microsoft.KeyVault/managedHSMs/dev",
        pool_name: "dev",
        resource_group: "",
        tenant: Some(Uuid::from_u128(7)),
        development: true,
    };
    let trail = Trail::open(dir, &origin, signed::ledger(None), Arc::new(|| 1_767_225_600_123))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (before, start) = (cpu_us()?, Instant::now());
    let records = runtime.block_on(run(trail, tasks));
    let (wall, cpu) = (start.elapsed(), cpu_us()? - before);
    let bytes: u64 = std::fs::read_dir(dir)?
        .map(|entry| entry.and_then(|entry| entry.metadata()).map(|data| data.len()))
        .sum::<Result<_, _>>()?;
    let per_second = u128::from(records) * 1000 / wall.as_millis();
    let hundredths = u64::try_from(cpu)? * 100 / records;
    Ok(format!(
        "| {tasks} | {per_second} | {}.{:02} | {} |",
        hundredths / 100,
        hundredths % 100,
        bytes / records
    ))
}

async fn run(trail: Trail, tasks: u64) -> u64 {
    let end = Instant::now() + RUN;
    let tasks: Vec<_> =
        (0..tasks).map(|_| tokio::spawn(append_until(trail.clone(), end))).collect();
    let mut records = 0;
    for task in tasks {
        records += task.await.unwrap_or(0);
    }
    trail.close();
    records
}

async fn append_until(trail: Trail, end: Instant) -> u64 {
    let mut records = 0;
    while Instant::now() < end {
        let taken = trail.append(&record(&call()));
        if taken.await.is_err() {
            break;
        }
        records += 1;
    }
    records
}

fn call() -> Call<'static> {
    Call {
        started: Some(Instant::now()),
        api_version: "7.6",
        request_uri: "/keys/payroll/0123456789abcdef0123456789abcdef/sign",
        consistency: 12,
        success_status: 200,
        caller_address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        user_agent: b"azsdk-python-keyvault-keys/4.11.0 Python/3.12.3 (Linux-6.8.0-x86_64)",
        correlation_id: b"1f0c5c2e-8f0c-11ef-9b2a-0242ac120002",
        identity: Identity {
            object_id: Some(Uuid::from_u128(1)),
            app_id: "b2f0c7a4-6d9c-4c3a-8b1e-2f1a0d9c8b7a",
            user_name: "",
            token_id: "0123456789abcdef0123456789abcdef",
        },
        marks: &[],
        activity_id: "5f6c1d3e-0000-4000-8000-000000000007",
        details: &[],
    }
}

fn record<'a>(call: &'a Call<'a>) -> Record<'a> {
    Record {
        phase: Phase::Use,
        operation: "KeySign",
        call,
        verdict: Verdict::Success,
        permit: Some(PermitFacts {
            assignment: Uuid::from_u128(2),
            role: "Managed HSM Crypto User",
            role_id: Uuid::from_u128(3),
            revision: 12,
        }),
        key: Some(KeyFacts { name: "payroll", version: Some([7; 16]), algorithm: "ES256" }),
        intent: None,
    }
}

fn cpu_us() -> Result<i64, nix::Error> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.user_time().num_microseconds() + usage.system_time().num_microseconds())
}
