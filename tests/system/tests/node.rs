//! `casemate node`: several HSMs of one machine, made while it runs, each under its own name and
//! believing whom it was made to believe.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use casemate_system_tests::management::get;
use casemate_system_tests::nodes::{activate, client, create, create_words, issuer};
use casemate_system_tests::{casemate, token};
use casemate_test_kit::node::DOMAIN;
use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, Node, Rest, places, softhsm};
use serde_json::{Value, json};

/// The names in a list.
fn names(list: &Value) -> Vec<String> {
    let each = list.as_array().into_iter().flatten();
    each.filter_map(|hsm| hsm["name"].as_str().map(str::to_owned)).collect()
}

/// What an HSM answers to somebody with a token and no role for it, if it answers.
fn answers(node: &Node, dev: &Dev, hsm: &str) -> Option<u16> {
    client(node, dev, hsm).ask("GET", "/keys").ok().map(|answer| answer.status)
}

#[test]
fn hsms_are_made_while_the_node_runs() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    assert_eq!(node.hsm_json(&["list"]), json!([]));
    let alpha = create(&node, &dev, "Alpha");
    let expected = [("name", "alpha"), ("state", "ready"), ("url", &node.url("alpha"))];
    assert!(expected.iter().all(|(member, value)| alpha[member] == *value), "{alpha}");
    assert_eq!(alpha["activated"], false);
    let before = answers(&node, &dev, "alpha");
    assert_eq!(before, Some(503), "nobody is served before the officers hold the domain");
    activate(&node, &dev, "alpha");
    assert_eq!(answers(&node, &dev, "alpha"), Some(403));
    create(&node, &dev, "beta");
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha", "beta"]);
    let (status, text) = get(&node.management(), "/readyz");
    assert_eq!((status, text.as_str()), (200, "alpha: ready\nbeta: ready\n"));
    for words in [["show", "gamma"], ["inspect", "gamma"], ["delete", "gamma"]] {
        let refused = node.hsm(&words);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("no HSM gamma"), "{words:?}: {said}");
    }
    node.stop();
    dev.stop();
}

fn demand_settings(settings: &Value, dev: &Dev) {
    let (issuer, tenant) = issuer(dev);
    assert_eq!(settings["tenant"], tenant);
    assert_eq!(settings["issuers"][0]["issuer"], issuer);
    assert_eq!(settings["retention_days"], 7);
    assert_eq!(settings["escalation"], "strict");
    let sum = Command::new("sha256sum").arg(dev.ca()).output().expect("coreutils are there");
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    let digest = settings["issuers"][0]["trust_anchors_sha256"].as_str().expect("a digest");
    assert!(sum.starts_with(digest), "{digest} {sum}");
}

fn demand_domain(hsm: &Value) {
    assert_eq!(hsm["securityDomain"]["epoch"], 1, "{hsm}");
    assert!(hsm["securityDomain"]["leavingEpoch"].is_null(), "{hsm}");
    let holders = &hsm["holders"];
    assert_eq!((&holders["required"], &holders["download"]), (&json!(2), &json!(1)), "{hsm}");
    assert_eq!(holders["strict"], true);
    let shares = holders["shares"].as_array().expect("a list");
    assert_eq!(shares.len(), 3);
    assert!(shares.iter().all(|one| one["subject"].as_str().is_some_and(|name| !name.is_empty())));
}

#[test]
fn what_is_sealed_in_an_hsm_is_shown_and_no_secret_with_it() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    create(&node, &dev, "alpha");
    let before = node.hsm_json(&["inspect", "ALPHA"]);
    let hsm = &before["hsm"];
    assert_eq!((&hsm["state"], &hsm["engine"]), (&json!("Provisioned"), &json!("software")));
    assert!(hsm["securityDomain"].is_null() && hsm["holders"].is_null(), "{hsm}");
    demand_settings(&hsm["settings"], &dev);
    activate(&node, &dev, "alpha");
    let shown = node.hsm_json(&["inspect", "alpha"]);
    let hsm = &shown["hsm"];
    assert_eq!((&shown["name"], &hsm["state"]), (&json!("alpha"), &json!("Active")));
    demand_domain(hsm);
    // Everything that it shows, by name: what is added here is looked at first.
    let names: Vec<&String> = hsm.as_object().expect("an object").keys().collect();
    let known = ["engine", "holders", "securityDomain", "sequence", "settings", "state"];
    assert_eq!(names, known);
    // A setting that an Administrator changed is the one that is shown.
    let setting = json!({ "value": "azure" });
    let changed =
        client(&node, &dev, "alpha").call("PATCH", "/settings/CasemateEscalation", &setting);
    assert_eq!(changed.expect("an answer").status, 200);
    let shown = node.hsm_json(&["inspect", "alpha"]);
    assert_eq!(shown["hsm"]["settings"]["escalation"], "azure", "{shown}");
    assert_eq!(shown["hsm"]["holders"]["strict"], true, "they were given it in mode strict");
    node.stop();
    dev.stop();
}

#[test]
fn a_deleted_hsm_answers_no_more_and_nothing_is_destroyed() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    create(&node, &dev, "alpha");
    create(&node, &dev, "beta");
    let gone = node.hsm_json(&["delete", "beta"]);
    assert_eq!(answers(&node, &dev, "beta"), None);
    assert_eq!(answers(&node, &dev, "alpha"), Some(503));
    let kept = Path::new(gone["kept"].as_str().expect("it says where"));
    assert!(kept.join("hsm/records.db").is_file(), "{}", kept.display());
    node.stop();

    // After a restart there is what there was.
    let node = Node::start(folder.path());
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha"]);
    let ready = || node.hsm_json(&["show", "alpha"])["state"] == "ready";
    assert!(eventually(Duration::from_secs(20), ready));
    assert_eq!(answers(&node, &dev, "alpha"), Some(503));
    let log = fs::read_dir(node.data_dir().join("hsm/alpha/audit")).expect("there is a log");
    let lines = log.flatten().map(|entry| fs::read_to_string(entry.path()).unwrap_or_default());
    let log: String = lines.collect();
    assert!(log.contains("PartitionStart") && !log.contains("\"development\""), "no mark");
    node.stop();
    dev.stop();
}

#[test]
fn an_hsm_that_cannot_be_started_keeps_no_other_from_it() {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Node::start(folder.path());
    create(&node, &dev, "alpha");
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(file("pin"), "1234").expect("it can be written");
    fs::set_permissions(file("pin"), Permissions::from_mode(0o600)).expect("it is ours");
    let module = softhsm::module().display().to_string();
    let (pin, path) = (file("pin"), file("token"));
    let of_token = ["--pkcs11-token", "t", "--pkcs11-pin-file", &pin, "--pkcs11-path", &path];
    let engine = ["--engine", "pkcs11", "--pkcs11-module", &module];
    let words = create_words(&dev, "beta");
    let words: Vec<&str> = words.iter().map(String::as_str).chain(engine).chain(of_token).collect();

    // As root the folder is given to the HSM's user, which there is none to be given.
    let refused = node.hsm(&words);
    if !refused.status.success() {
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(&path), "{said}");
        assert_eq!(names(&node.hsm_json(&["list"])), ["alpha"]);
        for left in ["hsms/beta.json", "hsm/beta", "courier/beta"] {
            assert!(!node.data_dir().join(left).exists(), "{left}");
        }
        fs::create_dir(&path).expect("it can be made");
        // There is no such token, but it is made.
        node.hsm(&words);
        assert_eq!(names(&node.hsm_json(&["list"])), ["alpha", "beta"]);
        fs::remove_dir(&path).expect("it is empty");
    }
    node.stop();

    let node = Node::start(folder.path());
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha", "beta"]);
    let ready = || node.hsm_json(&["show", "alpha"])["state"] == "ready";
    assert!(eventually(Duration::from_secs(20), ready), "{}", node.log());
    let told = || {
        let beta = node.hsm_json(&["show", "beta"]);
        beta["state"] != "ready" && beta["lastEnd"].is_string()
    };
    assert!(eventually(Duration::from_secs(20), told), "{}", node.hsm_json(&["show", "beta"]));
    node.hsm_json(&["delete", "beta"]);
    assert_eq!(names(&node.hsm_json(&["list"])), ["alpha"]);
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
            "data_dir = \"x\"\ndomain = \"a\"\nregion = \"b\"\n[listen]\n\
             hsm = \"127.0.0.1:0\"\nmanagement = \"127.0.0.1:0\"\n",
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
