//! No record, no effect, through the API: on a full disk nothing is answered that is not recorded,
//! nothing is changed, and when there is space again everything goes on by itself.

use std::fs;
use std::process::Command;
use std::time::Duration;

use casemate_system_tests::disk::Disk;
use casemate_system_tests::management::get;
use casemate_test_kit::process::eventually;
use casemate_test_kit::{Answer, Dev, Options, Rest, audit};
use serde_json::json;

/// Readings until the space that the audit trail has set aside must be used up.
const READINGS_MAX: usize = 60_000;

/// Takes all the space there is.
fn fill(disk: &Disk) {
    let script = "set -e; cd \"$0\"; free=$(df --output=avail -k . | tail -1); \
                  fallocate -l \"${free}K\" filler || true; \
                  dd if=/dev/zero of=rest bs=4k 2>/dev/null || true; sync";
    let filled = Command::new("sh").args(["-c", script]).arg(disk.place()).status();
    assert!(filled.expect("sh runs").success());
}

fn read(rest: &mut Rest) -> Answer {
    rest.ask("GET", "/keys/kept").expect("the server answers, whatever it answers")
}

fn readiness(dev: &Dev) -> (u16, String) {
    get(dev.variable("CASEMATE_MANAGEMENT_URL"), "/readyz")
}

fn recorded(dev: &Dev) -> usize {
    let readings = audit::records(dev.data_dir()).into_iter();
    readings
        .filter(|one| one["operationName"] == "KeyGet" && one["resultType"] == "Success")
        .count()
}

#[test]
fn a_full_disk_refuses_everything_and_recovers() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let disk = Disk::new(parent.path());
    let dev = Dev::start(Options::in_dir(&disk.place().join("data")));
    let partition = dev.partition();
    let mut rest = dev.rest();
    let new = json!({"kty": "EC-HSM", "crv": "P-256"});
    rest.call("POST", "/keys/kept/create", &new).expect("an answer").expect_ok("create");
    let before = recorded(&dev);
    fill(&disk);

    let mut answered = 0;
    let refused = loop {
        let answer = read(&mut rest);
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        assert!(answered < READINGS_MAX, "the disk does not get full");
    };
    refused.expect_refusal(503, "ServiceUnavailable", "a reading that cannot be recorded");
    assert!(refused.header("retry-after").is_some());
    assert!(refused.text().contains("space"), "{}", refused.text());
    let create = rest.call("POST", "/keys/lost/create", &new).expect("an answer");
    create.expect_refusal(503, "ServiceUnavailable", "a change that cannot be recorded");
    let update = json!({"tags": {"a": "b"}});
    let update = rest.call("PATCH", "/keys/kept", &update).expect("an answer");
    update.expect_refusal(503, "ServiceUnavailable", "a change that cannot be recorded");
    assert!(recorded(&dev) >= before + answered, "{answered} readings were answered");

    let not_ready = eventually(Duration::from_secs(10), || readiness(&dev).0 == 503);
    assert!(not_ready && readiness(&dev).1.contains("disk"), "readiness follows");
    let named = dev.data_dir().join("hsm/dev/audit").display().to_string();
    assert!(dev.terminal().contains(&named), "the log names the folder as it is found: {named}");

    for name in ["filler", "rest"] {
        fs::remove_file(disk.place().join(name)).expect("the filler can be removed");
    }
    let again = eventually(Duration::from_secs(30), || read(&mut rest).status == 200);
    assert!(again, "it goes on when there is space");
    assert!(eventually(Duration::from_secs(10), || readiness(&dev).0 == 200));
    assert_eq!(dev.partition(), partition, "without a restart");
    let lost = rest.ask("GET", "/keys/lost").expect("an answer");
    lost.expect_refusal(404, "KeyNotFound", "what was refused was not done");
    let kept = read(&mut rest).expect_ok("the key");
    assert!(kept["tags"].as_object().is_none_or(serde_json::Map::is_empty), "{kept}");
    dev.stop();
}
