//! What one HSM holds is read by `casemate migrate plan`, and the plan's commands make it in
//! another, run as they stand by the unmodified Azure CLI.

use std::fs;
use std::process::Command;

use casemate_system_tests::az::Az;
use casemate_system_tests::casemate;
use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::{Dev, audit, places};
use serde_json::{Value, json};

fn create(dev: &Dev, name: &str, body: &Value) {
    let path = format!("/keys/{name}/create");
    dev.rest().call("POST", &path, body).expect("an answer").expect_ok(name);
}

fn plan(dev: &Dev, further: &[&str]) -> Run {
    let (token, out) = (dev.scratch().join("token"), dev.scratch().join("plan.json"));
    fs::write(&token, dev.token()).expect("the folder can be written");
    let (token, out) = (token.display().to_string(), out.display().to_string());
    let ca = dev.ca().display().to_string();
    let url = dev.variable("CASEMATE_HSM_URL");
    let words = ["migrate", "plan", url, "--token-file", &token, "--out", &out, "--ca", &ca];
    let client = Client::of(dev, &places::casemate(), dev.scratch());
    client.words(words).words(further.iter().copied()).run()
}

fn written(dev: &Dev) -> Value {
    let text = fs::read_to_string(dev.scratch().join("plan.json")).expect("there is a plan");
    serde_json::from_str(&text).expect("a plan is JSON")
}

/// The words of a command, as a shell has them.
fn words(command: &str) -> Vec<String> {
    let script = format!("printf '%s\\n' {command}");
    let out = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

/// Runs the commands; of the role assignments only that of this principal: the others are of the
/// old HSM's own people.
fn carry_out(new: &Dev, plan: &Value, object: &str) {
    let az = Az::logged_in(new, "adfs");
    let commands = plan["commands"].as_array().expect("commands");
    let mut made = 0;
    for command in commands.iter().filter_map(Value::as_str) {
        if command.contains("role assignment") && !command.contains(object) {
            continue;
        }
        let words = words(&command.replace("--hsm-name HSM ", "--hsm-name dev "));
        let words: Vec<&str> = words.iter().map(String::as_str).skip(1).collect();
        az.ok(&words);
        made += 1;
    }
    assert_eq!(made, 3, "{commands:?}");
}

#[test]
fn what_is_planned_can_be_made_by_az() {
    let old = Dev::fresh();
    let tags = json!({"team": "it's $(ours)"});
    create(
        &old,
        "sign",
        &json!({"kty": "EC-HSM", "crv": "P-384", "key_ops": ["sign"], "tags": tags}),
    );
    create(
        &old,
        "wrap",
        &json!({"kty": "RSA-HSM", "key_size": 3072, "key_ops": ["wrapKey", "unwrapKey"],
        "attributes": {"exp": 4_102_444_800_i64}}),
    );
    create(&old, "wrap", &json!({"kty": "RSA-HSM", "key_ops": ["encrypt"]}));
    create(&old, "root", &json!({"kty": "EC-HSM"}));
    create(&old, "gone", &json!({"kty": "EC-HSM"}));
    old.rest().ask("DELETE", "/keys/gone").expect("an answer").expect_ok("deleted");
    let app = casemate(&old, &["dev", "identity", "add-app", "signer"]);
    let object = app["objectId"].as_str().expect("add-app prints the object id").to_owned();
    let role = "21dbd100-6940-42c2-9190-5d6cb909625b";
    let name = "00000000-0000-4000-8000-0000000000aa";
    let path = format!("/keys/sign/providers/Microsoft.Authorization/roleAssignments/{name}");
    let grant = json!({"properties": {"roleDefinitionId": role, "principalId": object}});
    old.rest().call("PUT", &path, &grant).expect("an answer").expect_ok("an assignment");
    let before = audit::counts(old.data_dir());

    let run = plan(&old, &["--keep", "ROOT"]);
    assert!(run.success, "{run:?}");
    assert!(run.out.contains("byok") && run.out.contains("3 keys"), "{run:?}");
    let after = audit::counts(old.data_dir());
    let grew = |what: &str| after.get(what).copied() > before.get(what).copied();
    assert!(grew("KeyListVersions") && grew("KeyGet"), "the server was asked: {after:?}");
    let plan = written(&old);
    let ways: Vec<_> = plan["keys"].as_array().expect("keys").iter().collect();
    let ways: Vec<_> = ways.iter().map(|key| (&key["name"], &key["way"], &key["kind"])).collect();
    let [byok, recreate, rewrap] = ["byok", "recreate", "rewrap"].map(Value::from);
    let [root, sign, wrap] = ["root", "sign", "wrap"].map(Value::from);
    let kinds = ["EC-HSM P-256", "EC-HSM P-384", "RSA-HSM 2048"].map(Value::from);
    assert_eq!(
        ways,
        [(&root, &byok, &kinds[0]), (&sign, &recreate, &kinds[1]), (&wrap, &rewrap, &kinds[2]),]
    );
    assert_eq!((&plan["deleted"], &plan["notRead"]), (&json!(["gone"]), &json!([])));

    let new = Dev::fresh();
    carry_out(&new, &plan, &object);
    let of =
        |name: &str| new.rest().ask("GET", &format!("/keys/{name}")).expect("an answer").json();
    assert_eq!((&of("sign")["key"]["crv"], &of("sign")["tags"]), (&"P-384".into(), &tags));
    assert_eq!(of("sign")["key"]["key_ops"], json!(["sign"]));
    assert_eq!(of("wrap")["key"]["key_ops"], json!(["encrypt"]));
    let list = "/keys/sign/providers/Microsoft.Authorization/roleAssignments";
    let assigned = new.rest().ask("GET", list).expect("an answer").json();
    assert_eq!(assigned["value"][0]["properties"]["principalId"], object, "{assigned}");
    old.stop();
    new.stop();
}

#[test]
fn what_cannot_be_read_is_said_and_leaves_no_plan() {
    let dev = Dev::fresh();
    create(&dev, "one", &json!({"kty": "EC-HSM"}));
    let out = dev.scratch().join("plan.json");
    let unknown = plan(&dev, &["--keep", "none"]);
    assert!(!unknown.success && unknown.err.contains("no key none"), "{unknown:?}");
    assert!(!out.exists());
    assert!(plan(&dev, &[]).success && out.exists());
    let again = plan(&dev, &[]);
    assert!(!again.success && again.err.contains("does not exist"), "{again:?}");
    fs::remove_file(&out).expect("there is a plan");
    let elsewhere = plan(&dev, &["--ca", "/nowhere.pem"]);
    assert!(!elsewhere.success && !out.exists(), "{elsewhere:?}");
    dev.stop();
}
