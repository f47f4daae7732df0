//! The partition is killed at random moments of a backup and of a full restore: the HSM is the one
//! before or the one after, whole, and takes the next restore.
//!
//! `CASEMATE_RESTORE_KILLS` says how many times (default 8), `CASEMATE_SEED` which moments.

use std::time::Duration;

use casemate_system_tests::jobs::{answered, begin, end};
use casemate_test_kit::process;
use casemate_test_kit::random::Random;
use casemate_test_kit::{Dev, audit};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Keys that the backup holds.
const KEYS: usize = 300;

fn kills() -> usize {
    std::env::var("CASEMATE_RESTORE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

fn storage() -> Value {
    json!({"storageResourceUri": "file:///kills", "token": ""})
}

fn create(dev: &Dev, name: &str) {
    let path = format!("/keys/{name}/create");
    let body = json!({"kty": "EC-HSM", "crv": "P-256"});
    dev.rest().call("POST", &path, &body).expect("it answers").expect_ok("create");
}

#[test]
fn a_death_in_a_restore_ends_before_it_or_after_it() {
    let dev = Dev::fresh();
    for key in 0..KEYS {
        create(&dev, &format!("kept-{key}"));
    }
    let done = end(&dev, &begin(&dev, "POST", "/backup", &storage()));
    let url = done["azureStorageBlobContainerUri"].as_str().expect("it says where it is");
    let folder = url.rsplit('/').next().expect("a URL has segments").to_owned();
    let restore = json!({"sasTokenParameters": storage(), "folderToRestore": folder});
    let mut random = Random::seeded(5);
    let (mut before, mut after) = (0, 0);
    for round in 0..kills() {
        let mark = format!("mark-{round}");
        create(&dev, &mark);
        let status = begin(&dev, "PUT", "/restore", &restore);
        let moment = u64::try_from(random.below(400)).expect("a small number");
        std::thread::sleep(Duration::from_millis(moment));
        let victim = dev.partition();
        assert!(process::signal(victim, Signal::SIGKILL), "the partition runs");
        let job = end(&dev, &status);
        let (marked, _) = answered(&dev, &format!("/keys/{mark}"));
        match (job["status"].as_str(), marked) {
            (Some("Failed"), 200) => before += 1,
            (Some("Succeeded"), 404) => after += 1,
            other => panic!("round {round}, after {moment} ms: {other:?} {job}"),
        }
        for key in [0, KEYS / 2, KEYS - 1] {
            assert_eq!(answered(&dev, &format!("/keys/kept-{key}")).0, 200, "round {round}");
        }
        create(&dev, &format!("alive-{round}"));
        assert!(!dev.data_dir().join("hsm/dev/restore").exists(), "nothing is left aside");
    }
    assert_eq!(before + after, kills());
    // A backup that is killed is none, and the next one is.
    let status = begin(&dev, "POST", "/backup", &storage());
    assert!(process::signal(dev.partition(), Signal::SIGKILL), "the partition runs");
    let job = end(&dev, &status);
    assert!(matches!(job["status"].as_str(), Some("Failed" | "Succeeded")), "{job}");
    let done = end(&dev, &begin(&dev, "POST", "/backup", &storage()));
    assert_eq!(done["status"], "Succeeded", "{done}");
    let done = end(&dev, &begin(&dev, "PUT", "/restore", &restore));
    assert_eq!(done["status"], "Succeeded", "{done}");
    let seen = audit::counts(dev.data_dir());
    assert!(seen["RestoreTakesOver"] > after, "each take-over is recorded: {seen:?}");
    dev.stop();
}
