//! Who is calling: every kind of proof is taken, everything else is refused to the letter.

use std::process::Command;
use std::time::Duration;

use casemate_system_tests::{casemate, python};
use casemate_test_kit::rest::Rest;
use casemate_test_kit::{Dev, Options, places, process};
use nix::sys::signal::Signal;

/// How long a partition may take to die, and the next one to serve.
const WITHIN: Duration = Duration::from_secs(20);

#[test]
fn every_kind_of_proof() {
    let dev = Dev::start(Options::default().with(&["--imds", "machine"]));
    python(&dev, "credentials.py").succeed("credentials.py");
    dev.stop();
}

#[test]
fn tokens_that_must_be_refused() {
    let dev = Dev::fresh();
    python(&dev, "tokens.py").succeed("tokens.py");
    dev.stop();
}

#[test]
fn imds_answers_only_where_it_was_asked_for() {
    let dev = Dev::fresh();
    let path = "/metadata/identity/oauth2/token?resource=https%3A%2F%2Fmanagedhsm.azure.net";
    let answer = dev.control().raw(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n\r\n").as_bytes(),
    );
    let answer = answer.expect("the control plane answers");
    assert!(answer.status >= 400, "{} {}", answer.status, answer.text());
    dev.stop();
}

#[test]
fn identities_are_kept_over_a_restart() {
    let dev = Dev::fresh();
    let app = casemate(&dev, &["dev", "identity", "add-app", "lasting"]);
    let [id, secret] = ["appId", "secret"].map(|name| app[name].as_str().unwrap_or_default());
    let first = (
        dev.variable("AZURE_CLIENT_ID").to_owned(),
        dev.variable("AZURE_CLIENT_SECRET").to_owned(),
    );
    let stopped = dev.stop();
    let again = Dev::start(Options::in_dir(&stopped.data_dir));
    let second = (again.variable("AZURE_CLIENT_ID"), again.variable("AZURE_CLIENT_SECRET"));
    assert_eq!((first.0.as_str(), first.1.as_str()), second);
    assert!(!again.token_of(id, secret, "https://managedhsm.azure.net/.default").is_empty());
    again.stop();
}

#[test]
fn a_cut_off_outlives_its_partition() {
    let dev = Dev::fresh();
    let app = casemate(&dev, &["dev", "identity", "add-app", "cut-off"]);
    let [id, secret, principal] =
        ["appId", "secret", "objectId"].map(|name| app[name].as_str().unwrap_or_default());
    let token = dev.token_of(id, secret, "https://managedhsm.azure.net/.default");
    let mut theirs = dev.anonymous().with_token(&token);
    let status = |theirs: &mut Rest| theirs.ask("GET", "/keys").map(|answer| answer.status).ok();
    assert_eq!(status(&mut theirs), Some(403), "believed, and without a role");
    let path = format!("/principals/{principal}/cutOffTokens");
    dev.rest().ask("POST", &path).expect("an answer").expect_ok("cut off");
    assert_eq!(status(&mut theirs), Some(401));
    assert!(process::dies_of(dev.partition(), Signal::SIGKILL, WITHIN), "it dies");
    let again = || {
        theirs.hang_up();
        status(&mut theirs).is_some()
    };
    assert!(process::eventually(WITHIN, again), "it is served again");
    let answer = theirs.ask("GET", "/keys").expect("an answer");
    assert_eq!(answer.status, 401, "{}", answer.text());
    let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
    assert!(challenge.contains("error=\"insufficient_claims\""), "{challenge}");
    dev.stop();
}

#[test]
fn wrong_commands_are_refused_with_advice() {
    let dev = Dev::fresh();
    let data_dir = dev.data_dir().display().to_string();
    casemate(&dev, &["dev", "identity", "add-group", "team"]);
    for words in [
        &["add-app"][..],
        &["add-app", ""],
        &["add-app", "x", "--certificate", "/no/such/file"],
        &["add-app", "x", "--federated", "only-the-issuer"],
        &["add-member", "team", "nobody"],
        &["add-member", "no-team", "team"],
        &["add-group", "team"],
        &["remove-everything"],
    ] {
        let run = Command::new(places::casemate())
            .args(["dev", "identity"])
            .args(words)
            .args(["--data-dir", &data_dir])
            .output()
            .expect("the program can be started");
        assert!(!run.status.success(), "{words:?} was done");
        assert!(!run.stderr.is_empty(), "{words:?}: it must say why");
    }
    dev.stop();
}
