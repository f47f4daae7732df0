//! Processes are killed at random moments under load; what was acknowledged is there afterwards.
//!
//! `CASEMATE_CRASH_ROUNDS` says how many times each (default 3), `CASEMATE_SEED` which moments.

use std::env;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use casemate_system_tests::acknowledged::{Key, Progress, check, check_audit, unanswered, work};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::random::Random;
use casemate_test_kit::{Dev, Options, audit};
use nix::sys::signal::Signal;

/// So many clients change keys at once.
const WORKERS: usize = 500;

/// The kill comes after so many acknowledged changes, and a random while later.
const WARM: usize = 600;

/// After a healed death so many further changes must be acknowledged.
const FURTHER: usize = 500;

/// So many changes are acknowledged within this even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn rounds() -> usize {
    env::var("CASEMATE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn wait_for(progress: &Progress, acknowledged: usize) {
    let enough = || progress.acknowledged.load(Ordering::Relaxed) >= acknowledged;
    assert!(eventually(PATIENCE, enough), "only {:?}", progress.acknowledged);
}

fn random_while(random: &mut Random) -> Duration {
    Duration::from_millis(u64::try_from(random.below(1500)).expect("a small number"))
}

#[test]
fn the_partition_dies_and_is_healed() {
    let dev = Dev::fresh();
    let mut random = Random::seeded(1);
    let mut all = Vec::new();
    for round in 0..rounds() {
        let progress = Progress::default();
        let mut keys = thread::scope(|scope| {
            let rest = dev.rest();
            let progress = &progress;
            let working = scope.spawn(move || work(&rest, WORKERS, round, progress));
            wait_for(progress, WARM);
            thread::sleep(random_while(&mut random));
            let victim = dev.partition();
            assert!(process::signal(victim, Signal::SIGKILL), "the partition runs");
            let before = progress.acknowledged.load(Ordering::Relaxed);
            wait_for(progress, before + FURTHER);
            assert_ne!(dev.partition(), victim, "another process serves now");
            progress.stop.store(true, Ordering::Relaxed);
            working.join().expect("the workers met only allowed answers")
        });
        check(&dev.rest(), &mut keys);
        all.extend(keys);
    }
    check(&dev.rest(), &mut all);
    check_audit(dev.data_dir(), &all);
    dev.stop();
}

#[test]
fn the_agent_dies_and_is_started_again() {
    let mut dev = Dev::fresh();
    let mut kept = Vec::new();
    let mut random = Random::seeded(2);
    let mut all: Vec<Key> = Vec::new();
    for round in 0..rounds() {
        let progress = Progress::default();
        let (keys, stopped) = thread::scope(|scope| {
            let rest = dev.rest();
            let progress = &progress;
            let working = scope.spawn(move || work(&rest, WORKERS, round, progress));
            wait_for(progress, WARM);
            thread::sleep(random_while(&mut random));
            let stopped = dev.kill9();
            progress.stop.store(true, Ordering::Relaxed);
            (working.join().expect("the workers met only allowed answers"), stopped)
        });
        dev = Dev::start(Options::in_dir(&stopped.data_dir));
        kept.push(stopped);
        let mut keys = keys;
        check(&dev.rest(), &mut keys);
        all.extend(keys);
    }
    assert!(unanswered(&all) == 0, "the check settles every open change");
    check(&dev.rest(), &mut all);
    check_audit(dev.data_dir(), &all);
    audit_is_whole(&dev);
    dev.stop();
}

/// Sequence numbers without a gap, and for every intent an outcome.
fn audit_is_whole(dev: &Dev) {
    let records = audit::records(dev.data_dir());
    let numbers: Vec<_> = records.iter().filter_map(|record| record["seq"].as_u64()).collect();
    assert_eq!(numbers.len(), records.len(), "each record has a number");
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert_eq!(gap, None, "the numbers have no gap");
}
