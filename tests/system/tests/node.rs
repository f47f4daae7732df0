//! `casemate node`: several HSMs of one machine, made while it runs, each under its own name and
//! believing whom it was made to believe.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use casemate_system_tests::management::get;
use casemate_system_tests::{casemate, token};
use casemate_test_kit::node::DOMAIN;
use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, Node, Rest, audit, places};
use serde_json::{Value, json};

/// The issuer and the tenant of its tokens.
fn issuer(dev: &Dev) -> (String, String) {
    let claims = claims(&dev.token());
    let text = |name: &str| claims[name].as_str().expect("the token has it").to_owned();
    (text("iss"), text("tid"))
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).expect("a token has three parts");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("claims are JSON")
}

/// Makes an HSM whose administrator is the app of `dev`.
fn create(node: &Node, dev: &Dev, name: &str) -> Value {
    let (issuer, tenant) = issuer(dev);
    let admin = claims(&dev.token())["oid"].as_str().expect("an oid").to_owned();
    let ca = dev.ca().display().to_string();
    node.hsm_json(&[
        "create",
        name,
        "--tenant",
        &tenant,
        "--issuer",
        &issuer,
        "--issuer-ca",
        &ca,
        "--admin",
        &admin,
        "--audience",
        "https://managedhsm.azure.net",
        "--retention-days",
        "7",
    ])
}

/// Gives its security domain to the officers of `dev`.
fn activate(node: &Node, dev: &Dev, hsm: &str) {
    let cer = |at: usize| dev.data_dir().join(format!("officers/officer-{at}.cer"));
    let certificates: Vec<String> = (1..=3).map(|at| cer(at).display().to_string()).collect();
    let mut words = vec!["security-domain", "request", "--quorum", "2"];
    words.extend(certificates.iter().flat_map(|cer| ["--cert", cer.as_str()]));
    let out = Command::new(places::casemate()).args(words).output().expect("the program runs");
    let request: Value = serde_json::from_slice(&out.stdout).expect("a request is JSON");
    let given = client(node, dev, hsm).call("POST", "/securitydomain/download", &request);
    assert_eq!(given.expect("an answer").status, 202);
    let active = || node.hsm_json(&["show", hsm])["activated"] == true;
    assert!(eventually(Duration::from_secs(20), active), "{}", node.log());
}

fn client(node: &Node, dev: &Dev, hsm: &str) -> Rest {
    Rest::new(&node.url(hsm), &node.ca()).with_token(&dev.token())
}

#[test]
fn hsms_are_made_and_taken_away_while_the_node_runs() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    assert_eq!(node.hsm_json(&["list"]), json!([]));
    let alpha = create(&node, &dev, "Alpha");
    assert_eq!(alpha["name"], "alpha");
    assert_eq!(alpha["state"], "ready");
    assert_eq!(alpha["url"], node.url("alpha"));
    assert_eq!(alpha["activated"], false);
    let before = client(&node, &dev, "alpha").ask("GET", "/keys").expect("an answer");
    assert_eq!(before.status, 503, "nobody is served before the officers hold the domain");
    activate(&node, &dev, "alpha");
    create(&node, &dev, "beta");

    for (words, says) in
        [(&["show", "gamma"][..], "no HSM gamma"), (&["delete", "gamma"], "no HSM gamma")]
    {
        let refused = node.hsm(words);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains(says), "{words:?}");
    }
    let names = |list: &Value| -> Vec<String> {
        let each = list.as_array().into_iter().flatten();
        each.filter_map(|hsm| hsm["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha", "beta"]);
    let (status, text) = get(&node.management(), "/readyz");
    assert_eq!((status, text.as_str()), (200, "alpha: ready\nbeta: ready\n"));

    // A deleted HSM answers no more, the other one does, and nothing was destroyed.
    let answers = |hsm: &str| client(&node, &dev, hsm).ask("GET", "/keys").map(|it| it.status);
    assert!(matches!((answers("alpha"), answers("beta")), (Ok(403), Ok(503))));
    let gone = node.hsm_json(&["delete", "beta"]);
    assert!(answers("beta").is_err() && answers("alpha").is_ok());
    let kept = Path::new(gone["kept"].as_str().expect("it says where"));
    assert!(kept.join("hsm/records.db").is_file(), "{kept:?}");
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha"]);

    // After a restart there is what there was.
    node.stop();
    let node = Node::start(folder.path());
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha"]);
    let ready = || node.hsm_json(&["show", "alpha"])["state"] == "ready";
    assert!(eventually(Duration::from_secs(20), ready));
    assert_eq!(client(&node, &dev, "alpha").ask("GET", "/keys").expect("an answer").status, 403);
    let first: Vec<_> = audit::records(&node.data_dir()).into_iter().take(1).collect();
    assert_eq!(first[0]["operationName"], "PartitionStart");
    assert!(first[0]["development"].is_null(), "{}", first[0]);
    node.stop();
    dev.stop();
}

#[test]
fn each_name_leads_to_its_own_hsm_and_no_other() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    create(&node, &dev, "alpha");
    create(&node, &dev, "beta");
    activate(&node, &dev, "alpha");
    let mut alpha = client(&node, &dev, "alpha");
    // The connection of one with the name of the other.
    let host = format!("beta.managedhsm.{DOMAIN}:{}", node.port());
    let request = format!(
        "GET /keys?api-version=7.4 HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        dev.token()
    );
    assert_eq!(alpha.raw(request.as_bytes()).expect("an answer").status, 421);
    // Names that nobody has.
    for name in ["gamma", "localhost", "alpha.vault.example"] {
        let url = format!("https://{name}.managedhsm.{DOMAIN}:{}", node.port());
        assert!(Rest::new(&url, &node.ca()).ask("GET", "/keys").is_err(), "{name}");
    }
    // No token: told where to get one. A token for the control plane, or of a stranger: refused.
    let mut nobody = Rest::new(&node.url("alpha"), &node.ca());
    let challenge = nobody.ask("GET", "/keys").expect("an answer");
    assert_eq!(challenge.status, 401);
    let header = challenge.header("www-authenticate").expect("a challenge").to_owned();
    assert!(header.contains(&format!("https://managedhsm.{DOMAIN}:{}", node.port())), "{header}");
    let stranger = casemate(&dev, &["dev", "identity", "add-app", "stranger"]);
    let text = |member: &str| stranger[member].as_str().expect("an app").to_owned();
    let theirs = token(&dev, &text("appId"), &text("secret"));
    let mut stranger = Rest::new(&node.url("alpha"), &node.ca()).with_token(&theirs);
    assert_eq!(stranger.ask("GET", "/keys").expect("an answer").status, 403);
    node.stop();
    dev.stop();
}

#[test]
fn what_dev_made_is_not_served_by_a_node() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    create(&node, &dev, "alpha");
    node.stop();
    let made = dev.stop();
    let theirs = made.data_dir.join("hsm/dev");
    let ours = folder.path().join("data/hsm/alpha");
    fs::remove_dir_all(&ours).expect("the folder can be removed");
    let copied = Command::new("cp").arg("-a").args([&theirs, &ours]).status();
    assert!(copied.expect("cp runs").success());
    let node = Node::start(folder.path());
    let refused = || {
        let shown = node.hsm_json(&["show", "alpha"]);
        shown["lastEnd"].as_str().is_some_and(|end| end.contains("casemate dev"))
    };
    assert!(eventually(Duration::from_secs(20), refused), "{}", node.log());
    node.stop();
}

#[test]
fn a_file_that_is_not_right_is_refused_with_what_would_be() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("node.toml");
    for (text, says) in [
        ("", "data_dir"),
        (
            "data_dir = \"x\"\ndomain = \"a\"\nregion = \"b\"\n[listen]\nhsm = \"127.0.0.1:0\"\nmanagement = \"127.0.0.1:0\"\n",
            "whole path",
        ),
        ("more = 1", "more"),
    ] {
        fs::write(&file, text).expect("the file can be written");
        let out = Command::new(places::casemate()).args(["node", "--config"]).arg(&file).output();
        let out = out.expect("the program can be started");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(says), "{text:?}: {said}");
    }
    let out =
        Command::new(places::casemate()).args(["hsm", "list", "--config", "/no/such"]).output();
    let said = String::from_utf8_lossy(&out.expect("it runs").stderr).into_owned();
    assert!(said.contains("/no/such"), "{said}");
}
