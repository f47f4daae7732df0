//! The unmodified Azure CLI, from `az cloud register` to purge and roles.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use casemate_system_tests::az::Az;
use casemate_system_tests::casemate;
use casemate_test_kit::Dev;
use serde_json::{Value, json};

fn grew(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>, what: &str) -> usize {
    let of = |counts: &BTreeMap<String, usize>| counts.get(what).copied().unwrap_or_default();
    of(after) - of(before)
}

/// The tenant's GUID, as a token says it.
fn tenant_id(dev: &Dev) -> String {
    let token = dev.token();
    let claims = token.split('.').nth(1).expect("a token has three parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("claims are base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("claims are JSON");
    claims["tid"].as_str().expect("a token names its tenant").to_owned()
}

#[test]
fn keys_by_hsm_name_under_tenant_adfs() {
    let dev = Dev::fresh();
    let az = Az::logged_in(&dev, "adfs");
    resources(&az);
    let created =
        az.key(&["create", "--hsm-name", "dev", "-n", "rsa", "--kty", "RSA-HSM", "--size", "2048"]);
    let kid = created["key"]["kid"].as_str().expect("a bundle has an id");
    assert!(kid.starts_with(dev.variable("CASEMATE_HSM_NAMED_URL")), "{kid}");
    import(&az);
    lists_and_attributes(&az);
    cryptography(&az);
    deletion(&az);
    dev.stop();
}

/// What the control plane tells about the HSM.
fn resources(az: &Az<'_>) {
    let all = az.ok(&["keyvault", "list", "--resource-type", "hsm"]);
    let names: Vec<_> = all.as_array().into_iter().flatten().map(|one| &one["name"]).collect();
    assert_eq!(names, ["dev"], "{all}");
    let shown = az.ok(&["keyvault", "show", "--hsm-name", "dev"]);
    let facts = &shown["properties"];
    assert_eq!(facts["softDeleteRetentionInDays"], 90, "{shown}");
    assert_eq!(facts["securityDomainProperties"]["activationStatus"], "Active", "{shown}");
    let uri = facts["hsmUri"].as_str().expect("the HSM has a URL").trim_end_matches('/');
    assert_eq!(uri, az.dev.variable("CASEMATE_HSM_NAMED_URL"));
}

fn import(az: &Az<'_>) {
    let file = az.dev.scratch().join("key.pem");
    let path = file.display().to_string();
    for (words, name) in [
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"][..], "pem-rsa"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"][..], "pem-ec"),
    ] {
        let made =
            Command::new("openssl").arg("genpkey").args(words).args(["-out", &path]).output();
        assert!(made.expect("openssl is there").status.success());
        let key = az.key(&["import", "--hsm-name", "dev", "-n", name, "--pem-file", &path]);
        assert!(key["key"]["kty"].as_str().is_some_and(|kty| kty.ends_with("-HSM")), "{key}");
    }
    let public = az.dev.scratch().join("public.pem").display().to_string();
    az.ok(&[
        "keyvault",
        "key",
        "download",
        "--hsm-name",
        "dev",
        "-n",
        "pem-ec",
        "-f",
        &public,
        "-e",
        "PEM",
    ]);
    let own = Command::new("openssl").args(["pkey", "-pubout", "-in", &path]).output();
    let own = String::from_utf8(own.expect("openssl is there").stdout).expect("PEM is text");
    let downloaded = fs::read_to_string(&public).expect("az wrote the file");
    assert_eq!(downloaded.trim(), own.trim());
}

fn lists_and_attributes(az: &Az<'_>) {
    let url = az.dev.variable("CASEMATE_HSM_URL");
    let listed = az.key(&["list", "--hsm-name", "dev"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");
    let changed = az.key(&[
        "set-attributes",
        "--hsm-name",
        "dev",
        "-n",
        "pem-rsa",
        "--enabled",
        "false",
        "--tags",
        "a=b",
    ]);
    assert_eq!(
        (&changed["attributes"]["enabled"], &changed["tags"]["a"]),
        (&false.into(), &"b".into())
    );
    let shown = az.key(&["show", "--id", &format!("{url}/keys/pem-rsa")]);
    assert_eq!(shown["attributes"]["enabled"], false);
    let versions = az.key(&["list-versions", "--hsm-name", "dev", "-n", "pem-rsa"]);
    assert_eq!(versions.as_array().map(Vec::len), Some(1), "{versions}");
    az.refused(&["keyvault", "key", "show", "--hsm-name", "dev", "-n", "none"], "KeyNotFound");
}

fn cryptography(az: &Az<'_>) {
    let digest = STANDARD.encode([7; 48]);
    let ec = ["--hsm-name", "dev", "-n", "pem-ec", "-a", "ES384", "--digest", &digest];
    let signed = az.key(&[&["sign"], &ec[..]].concat());
    let signature = signed["signature"].as_str().expect("a signature").to_owned();
    let verified = az.key(&[&["verify"], &ec[..], &["--signature", &signature]].concat());
    assert_eq!(verified["isValid"], true, "{verified}");

    az.key(&["create", "--hsm-name", "dev", "-n", "aes", "--kty", "oct-HSM", "--size", "256"]);
    let before = az.seen();
    let text = ["--hsm-name", "dev", "-n", "aes", "--data-type", "plaintext"];
    let sealed = az.key(&[&["encrypt", "-a", "A256GCM", "--value", "told"], &text[..]].concat());
    let [value, iv, tag] =
        ["result", "iv", "tag"].map(|part| sealed[part].as_str().unwrap_or_default().to_owned());
    let open = ["decrypt", "-a", "A256GCM", "--value", &value, "--iv", &iv, "--tag", &tag];
    assert_eq!(az.key(&[&open[..], &text[..]].concat())["result"], "told");

    // Without the service's care the CLI would encrypt this under a key that it makes up.
    let iv = "000102030405060708090a0b0c0d0e0f";
    let seal = ["encrypt", "-a", "A256CBCPAD", "--value", "told", "--iv", iv];
    let sealed = az.key(&[&seal[..], &text[..]].concat());
    let value = sealed["result"].as_str().unwrap_or_default();
    let open = ["decrypt", "-a", "A256CBCPAD", "--value", value, "--iv", iv];
    assert_eq!(az.key(&[&open[..], &text[..]].concat())["result"], "told");
    let after = az.seen();
    assert_eq!(["KeyEncrypt", "KeyDecrypt"].map(|what| grew(&before, &after, what)), [2, 2]);
}

fn deletion(az: &Az<'_>) {
    let key = ["--hsm-name", "dev", "-n", "rsa"];
    az.key(&[&["delete"], &key[..]].concat());
    let deleted = az.key(&["list-deleted", "--hsm-name", "dev"]);
    assert_eq!(deleted.as_array().map(Vec::len), Some(1), "{deleted}");
    az.refused(&[&["keyvault", "key", "create"], &key[..]].concat(), "Conflict");
    az.key(&[&["recover"], &key[..]].concat());
    az.key(&[&["delete"], &key[..]].concat());
    az.key(&[&["purge"], &key[..]].concat());
    az.refused(&[&["keyvault", "key", "show-deleted"], &key[..]].concat(), "KeyNotFound");
}

#[test]
fn keys_by_address_and_roles_under_the_tenants_guid() {
    let dev = Dev::fresh();
    let az = Az::logged_in(&dev, &tenant_id(&dev));
    let url = dev.variable("CASEMATE_HSM_URL");
    let id = format!("{url}/keys/by-address");
    let created = az.key(&["create", "--id", &id, "--kty", "EC-HSM", "--curve", "P-256K"]);
    assert_eq!(created["key"]["kty"], "EC-HSM", "{created}");
    let listed = az.key(&["list", "--id", url]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    let digest = STANDARD.encode([1; 32]);
    az.key(&["sign", "--id", &id, "-a", "ES256K", "--digest", &digest]);
    let random = az.key(&["random", "--id", url, "--count", "16"]);
    assert!(random["value"].is_string(), "{random}");

    roles(&az);
    settings(&az);
    az.key(&["delete", "--id", &id]);
    az.key(&["purge", "--id", &format!("{url}/deletedkeys/by-address")]);
    dev.stop();
}

fn roles(az: &Az<'_>) {
    let app = casemate(az.dev, &["dev", "identity", "add-app", "granted"]);
    let object = app["objectId"].as_str().expect("add-app prints the object id");
    let role = "Managed HSM Crypto User";
    let assignment = ["keyvault", "role", "assignment"];
    let who = ["--hsm-name", "dev", "--assignee-object-id", object, "--role", role];
    let scope = ["--scope", "/keys/by-address"];
    let created = az.ok(&[&assignment[..], &["create"], &who[..], &scope[..]].concat());
    assert_eq!(created["principalId"], object, "{created}");
    // Another spelling of the name means the same key; the CLI itself compares letter by letter.
    let scope = ["--scope", "/keys/By-ADDRESS"];
    let listed = az.ok(&[&assignment[..], &["list", "--hsm-name", "dev"], &scope[..]].concat());
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    az.ok(&[&assignment[..], &["delete", "--hsm-name", "dev"], &who[2..], &scope[..]].concat());
    let listed = az.ok(&[&assignment[..], &["list", "--hsm-name", "dev"], &scope[..]].concat());
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed}");
    definitions(az, object);
}

/// Every command of `az keyvault role definition`, and assignments by the role that it made, one
/// at a name prefix.
fn definitions(az: &Az<'_>, object: &str) {
    let before = az.seen();
    let definition = |words: &[&str]| {
        az.ok(&[&["keyvault", "role", "definition"], words, &["--hsm-name", "dev"]].concat())
    };
    let text = |value: &Value| value.to_string();
    let sign = "Microsoft.KeyVault/managedHsm/keys/sign/action";
    let read = "Microsoft.KeyVault/managedHsm/keys/read/action";
    let role = json!({"roleName": "Signer", "description": "signs", "dataActions": [sign]});
    let made = definition(&["create", "--role-definition", &text(&role)]);
    assert_eq!((&made["roleName"], &made["roleType"]), (&json!("Signer"), &json!("CustomRole")));
    let (id, name) = (made["id"].as_str().unwrap_or(""), made["name"].as_str().unwrap_or(""));
    let shown = definition(&["show", "--name", name]);
    assert_eq!(shown["permissions"][0]["dataActions"], json!([sign]), "{shown}");
    let custom = definition(&["list", "--custom-role-only", "true"]);
    assert_eq!(custom.as_array().map(Vec::len), Some(1), "{custom}");
    let all = definition(&["list"]);
    assert_eq!(all.as_array().map(Vec::len), Some(11), "{all}");
    let role = json!({
        "id": id, "name": name, "roleName": "Signer", "description": "signs and reads",
        "dataActions": [sign, read],
    });
    let changed = definition(&["update", "--role-definition", &text(&role)]);
    assert_eq!(changed["description"], "signs and reads", "{changed}");

    let assignment = |words: &[&str]| {
        az.ok(&[&["keyvault", "role", "assignment"], words, &["--hsm-name", "dev"]].concat())
    };
    let scope = ["--scope", "/keys/team-a-*"];
    let who = ["--assignee-object-id", object, "--role", "Signer"];
    let made = assignment(&[&["create"], &who[..], &scope[..]].concat());
    assert_eq!(made["scope"], "/keys/team-a-*", "{made}");
    let scope = ["--scope", "/keys/Team-A-*"];
    let listed = assignment(&[&["list"], &scope[..]].concat());
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assignment(&[&["delete", "--role", name], &scope[..]].concat());
    let listed = assignment(&[&["list"], &scope[..]].concat());
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed}");
    definition(&["delete", "--name", name]);
    let custom = definition(&["list", "--custom-role-only", "true"]);
    assert_eq!(custom.as_array().map(Vec::len), Some(0), "{custom}");
    let after = az.seen();
    let asked = ["RoleDefinitionCreateOrUpdate", "RoleDefinitionDelete", "RoleAssignmentCreate"];
    assert_eq!(asked.map(|what| grew(&before, &after, what)), [2, 1, 1]);
}

fn settings(az: &Az<'_>) {
    fn setting<'a>(words: &[&'a str]) -> Vec<&'a str> {
        [&["keyvault", "setting"], words].concat()
    }
    let of = ["--hsm-name", "dev"];
    let arm = "AllowKeyManagementOperationsThroughARM";
    let listed = az.ok(&setting(&[&["list"], &of[..]].concat()));
    let first = listed.get(0).or_else(|| listed["settings"].get(0));
    assert_eq!(first.map(|one| &one["name"]), Some(&arm.into()), "{listed}");
    let named = [&of[..], &["--name", arm]].concat();
    let before = az.seen();
    let update = setting(&[&["update"], &named[..], &["--value", "true"]].concat());
    assert_eq!(az.ok(&update)["value"], "true");
    let shown = az.ok(&setting(&[&["show"], &named[..]].concat()));
    assert_eq!(
        (&shown["value"], &shown["settingType"]),
        (&"true".into(), &"boolean".into()),
        "{shown}"
    );
    let after = az.seen();
    assert_eq!(["SettingGet", "SettingUpdate"].map(|what| grew(&before, &after, what)), [2, 1]);
    let wrong = setting(&[&["update"], &named[..], &["--value", "maybe"]].concat());
    az.refused(&wrong, "BadParameter");
    az.refused(&setting(&[&["show"], &of[..], &["--name", "none"]].concat()), "SettingNotFound");
}
