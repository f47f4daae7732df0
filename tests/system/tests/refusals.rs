//! Who has a token and no role, or no token at all, and what he can write to the disk.

use std::process::Command;

use casemate_system_tests::casemate;
use casemate_test_kit::rest::Answer;
use casemate_test_kit::{Dev, Options, audit, places, scan};
use serde_json::Value;

/// What one caller may be refused with a record of its own.
const BUDGET: usize = 50;
const LIMITS: [&str; 4] =
    ["--limit", "caller_refusals_max=50", "--limit", "caller_refusals_per_minute_max=1"];
/// Calls of the caller who has no role.
const CALLS: usize = 3_000;
/// The longest that records of refusals get, in bytes: what a few of them may take of the disk.
const RECORD_BYTES_MAX: u64 = 4_096;
/// Calls with tokens that nobody believes.
const UNBELIEVED: usize = 600;
/// Lines about them: so many at once of one address, and some more while the test runs.
const LINES_MAX: usize = 130;

fn stranger(dev: &Dev) -> String {
    let app = casemate(dev, &["dev", "identity", "add-app", "stranger"]);
    let field = |field: &str| app[field].as_str().expect("a text").to_owned();
    dev.token_of(&field("appId"), &field("secret"), "https://managedhsm.azure.net/.default")
}

fn log_bytes(dev: &Dev) -> u64 {
    let files = scan::files(dev.data_dir()).expect("the data folder can be read");
    let logs = files.into_iter().filter(|file| audit::is_log(file));
    logs.map(|file| file.metadata().map_or(0, |facts| facts.len())).sum()
}

fn is_throttled(answer: &Answer) -> bool {
    answer.status == 429 && answer.code() == "Throttled" && answer.header("retry-after").is_some()
}

/// How many refusals of somebody without a right the records tell of, one by one and by counts.
fn told(records: &[Value]) -> u64 {
    let refusals = records.iter().filter(|record| record["phase"] == "refusal");
    refusals.map(|record| record["details"]["count"].as_u64().unwrap_or(1)).sum()
}

#[test]
fn a_caller_without_a_role_cannot_fill_the_disk_and_none_of_his_calls_is_lost() {
    let dev = Dev::start(Options::default().with(&LIMITS));
    let token = stranger(&dev);
    let mut rest = dev.anonymous().with_token(&token);
    let before = log_bytes(&dev);
    let answers: Vec<Answer> = (0..CALLS)
        .map(|call| rest.ask("GET", &format!("/keys/k{call}")).expect("an answer"))
        .collect();
    let refused = answers.iter().filter(|answer| answer.status == 403).count();
    let throttled = answers.iter().filter(|answer| is_throttled(answer)).count();
    assert_eq!(refused + throttled, CALLS);
    // One more for each minute that the test takes.
    assert!((BUDGET..BUDGET + 5).contains(&refused), "{refused}");
    let grown = log_bytes(&dev) - before;
    let most = RECORD_BYTES_MAX * u64::try_from(BUDGET + 10).expect("a small number");
    assert!(grown < most, "{CALLS} calls left {grown} bytes");
    // Whoever has a role is served and refused as ever.
    let admin = dev.rest().ask("GET", "/keys/none").expect("an answer");
    assert_eq!(admin.status, 404, "{}", admin.text());

    let stopped = dev.stop();
    let records = audit::records(&stopped.data_dir);
    let calls = u64::try_from(CALLS + 1).expect("a small number");
    assert_eq!(told(&records), calls, "each call stands there, by itself or in a count");
    let mut verify = Command::new(places::casemate());
    verify.args(["audit", "verify", "--data-dir"]).arg(&stopped.data_dir);
    let output = verify.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn tokens_that_nobody_believes_leave_no_record_and_few_lines() {
    let dev = Dev::fresh();
    let before = audit::records(dev.data_dir()).len();
    let mut rest = dev.anonymous().with_token("eyJhbGciOiJub25lIn0.e30.");
    for _ in 0..UNBELIEVED {
        assert_eq!(rest.ask("GET", "/keys").expect("an answer").status, 401);
    }
    assert_eq!(audit::records(dev.data_dir()).len(), before);
    let lines = dev.terminal().matches("a token was refused").count();
    assert!((1..LINES_MAX).contains(&lines), "{lines} lines of {UNBELIEVED} calls");
    dev.stop();
}
