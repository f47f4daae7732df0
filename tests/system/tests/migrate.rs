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
    plan_as(dev, &dev.token(), further)
}

fn plan_as(dev: &Dev, bearer: &str, further: &[&str]) -> Run {
    let (token, out) = (dev.scratch().join("token"), dev.scratch().join("plan.json"));
    fs::write(&token, bearer).expect("the folder can be written");
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
fn carry_out(az: &Az<'_>, plan: &Value, object: &str) -> usize {
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
    made
}

fn grant(dev: &Dev, scope: &str, role: &str, object: &str, name: &str) {
    let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
    let grant = json!({"properties": {"roleDefinitionId": role, "principalId": object}});
    dev.rest().call("PUT", &path, &grant).expect("an answer").expect_ok("an assignment");
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
    grant(&old, "/keys/sign", role, &object, name);
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
    assert_eq!(carry_out(&Az::logged_in(&new, "adfs"), &plan, &object), 3, "{plan}");
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

#[test]
fn no_text_of_a_source_is_an_option_or_a_file_to_az() {
    const ROLES: &str = "/providers/Microsoft.Authorization/roleDefinitions";
    let old = Dev::fresh();
    let secret = old.scratch().join("secret");
    fs::write(&secret, "from a file").expect("the folder can be written");
    let file = format!("@{}", secret.display());
    create(&old, "--help", &json!({"kty": "EC-HSM", "tags": {"one": file}}));
    create(&old, "dash", &json!({"kty": "EC-HSM", "tags": {"--name": "other"}}));
    create(&old, "many", &json!({"kty": "EC-HSM", "tags": {"a": "-1", "b": file}}));
    let ids = ["00000000-0000-4000-8000-0000000000b1", "00000000-0000-4000-8000-0000000000b2"];
    let app = casemate(&old, &["dev", "identity", "add-app", "reader"]);
    let object = app["objectId"].as_str().expect("add-app prints the object id").to_owned();
    for (id, name) in ids.into_iter().zip(["--debug", file.as_str()]) {
        let read = "Microsoft.KeyVault/managedHsm/keys/read/action";
        let role = json!({"properties": {"roleName": name, "description": format!("={file}"),
            "type": "CustomRole", "permissions": [{"dataActions": [read]}],
            "assignableScopes": ["/"]}});
        let path = format!("{ROLES}/{id}");
        old.rest().call("PUT", &path, &role).expect("an answer").expect_ok("a role");
        grant(&old, "/keys", id, &object, id);
    }
    assert!(plan(&old, &[]).success);
    let plan = written(&old);
    let told = plan["byHand"].to_string();
    assert_eq!(plan["byHand"].as_array().map(Vec::len), Some(2), "{told}");
    assert!(told.contains("key many: its tag") && told.contains(ids[1]), "{told}");

    let new = Dev::fresh();
    let az = Az::logged_in(&new, "adfs");
    // Two keys, two roles, one assignment.
    assert_eq!(carry_out(&az, &plan, &object), 5, "{plan}");
    let of =
        |name: &str| new.rest().ask("GET", &format!("/keys/{name}")).expect("an answer").json();
    assert_eq!(of("--help")["tags"], json!({"one": file}), "no file was read");
    assert_eq!(of("dash")["tags"], json!({"--name": "other"}));
    let made = new.rest().ask("GET", ROLES).expect("an answer").json();
    let made: Vec<&Value> = made["value"].as_array().into_iter().flatten().collect();
    let made: Vec<&Value> = made.into_iter().map(|role| &role["properties"]).collect();
    for name in ["--debug", file.as_str()] {
        let role = made.iter().find(|role| role["roleName"] == name).expect(name);
        assert_eq!(role["description"], format!("={file}"));
    }
    // What is told to be done by hand is told since az does read files.
    let words = ["create", "--hsm-name", "dev", "--name=many", "--kty", "EC-HSM", "--tags"];
    az.key(&[&words[..], &["a=-1", &format!("b={file}")]].concat());
    assert_eq!(of("many")["tags"]["b"], "from a file");
    old.stop();
    new.stop();
}

#[test]
fn a_plan_that_is_not_whole_is_kept_and_ends_in_a_failure() {
    let dev = Dev::fresh();
    create(&dev, "one", &json!({"kty": "EC-HSM"}));
    let app = casemate(&dev, &["dev", "identity", "add-app", "reader"]);
    let of = |field: &str| app[field].as_str().expect("a text").to_owned();
    let name = "00000000-0000-4000-8000-0000000000c1";
    // Crypto Service Encryption User: it sees keys, and no deleted keys and roles.
    grant(&dev, "", "33413926-3206-4cdd-b39a-83574fe37a17", &of("objectId"), name);
    let scope = "https://managedhsm.azure.net/.default";
    let token = dev.token_of(&of("appId"), &of("secret"), scope);
    let run = plan_as(&dev, &token, &[]);
    assert!(!run.success && run.err.contains("is not whole"), "{run:?}");
    assert!(run.out.contains("not read: deleted keys") && run.out.contains("1 keys"), "{run:?}");
    let plan = written(&dev);
    assert_eq!(plan["keys"][0]["way"], "recreate", "{plan}");
    let whats = plan["notRead"].as_array().expect("a list");
    let whats: Vec<&str> = whats.iter().filter_map(Value::as_str).collect();
    assert_eq!(whats.len(), 3, "{whats:?}");
    for (told, what) in whats.iter().zip(["deleted keys: ", "roleDefinitions: ", "roleAssignments"])
    {
        assert!(told.starts_with(what) && told.contains("403"), "{told}");
    }
    dev.stop();
}
