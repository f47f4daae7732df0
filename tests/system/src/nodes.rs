//! HSMs of a node: made, activated and asked for the tests, with `casemate dev` as their issuer.

use std::process::Command;
use std::time::Duration;

use casemate_test_kit::process::eventually;
use casemate_test_kit::{Dev, Node, Rest, places};
use serde_json::{Value, json};

/// The issuer and the tenant of its tokens.
#[must_use]
pub fn issuer(dev: &Dev) -> (String, String) {
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
pub fn create(node: &Node, dev: &Dev, name: &str) -> Value {
    create_with(node, dev, name, &[])
}

/// The same with more words of the command.
pub fn create_with(node: &Node, dev: &Dev, name: &str, more: &[&str]) -> Value {
    let words = create_words(dev, name);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
    node.hsm_json(&words)
}

/// The words that make it.
#[must_use]
pub fn create_words(dev: &Dev, name: &str) -> Vec<String> {
    let (issuer, tenant) = issuer(dev);
    let admin = claims(&dev.token())["oid"].as_str().expect("an oid").to_owned();
    let ca = dev.ca().display().to_string();
    [
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
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Gives its security domain to the officers of `dev`.
pub fn activate(node: &Node, dev: &Dev, hsm: &str) {
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

/// A client with a token for an HSM of the node.
pub fn client(node: &Node, dev: &Dev, hsm: &str) -> Rest {
    Rest::new(&node.url(hsm), &node.ca()).with_token(&dev.token())
}

/// Lets the administrator use keys too.
pub fn let_use_keys(node: &Node, dev: &Dev, hsm: &str) {
    let admin = claims(&dev.token())["oid"].as_str().expect("an oid").to_owned();
    for (at, role) in ["Managed HSM Crypto Officer", "Managed HSM Crypto User"].iter().enumerate() {
        let mut rest = client(node, dev, hsm);
        let path = "/providers/Microsoft.Authorization/roleDefinitions";
        let all = rest.ask("GET", path).expect("an answer").json();
        let mut roles = all["value"].as_array().expect("a list").iter();
        let role = roles.find(|found| found["properties"]["roleName"] == *role);
        let id = role.expect("the built-in role")["id"].as_str().expect("an id").to_owned();
        let name = format!("00000000-0000-4000-8000-00000000000{at}");
        let path = format!("/providers/Microsoft.Authorization/roleAssignments/{name}");
        let body = json!({"properties": {"roleDefinitionId": id, "principalId": admin}});
        rest.call("PUT", &path, &body).expect("an answer").expect_ok("a role assignment");
    }
}
