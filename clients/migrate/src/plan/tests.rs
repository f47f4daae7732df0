//! Which key gets which way, and that the plan says what a person must know.

use serde_json::json;

use super::*;

fn jwk(kty: &str, ops: &[&str]) -> Value {
    match kty {
        "RSA-HSM" => json!({"kty": kty, "n": "x".repeat(342), "e": "AQAB", "key_ops": ops}),
        "EC-HSM" => json!({"kty": kty, "crv": "P-256", "x": "x", "y": "y", "key_ops": ops}),
        other => json!({"kty": other, "key_ops": ops}),
    }
}

fn version(key: Value, attributes: Value) -> FoundVersion {
    let bundle = json!({"key": key, "attributes": attributes, "tags": {"team": "it's ours"}});
    FoundVersion { version: "v".to_owned(), created: 1, bundle }
}

fn key(name: &str, versions: Vec<FoundVersion>) -> FoundKey {
    FoundKey { name: name.to_owned(), is_whole: true, versions, ..FoundKey::default() }
}

fn found() -> Found {
    let on = || json!({"enabled": true});
    let managed =
        FoundKey { managed: true, ..key("cert", vec![version(jwk("RSA-HSM", &["sign"]), on())]) };
    let small = json!({"kty": "RSA", "n": "x".repeat(171), "key_ops": ["sign"]});
    let keys = vec![
        managed,
        key(
            "data",
            vec![
                version(jwk("oct-HSM", &["encrypt", "decrypt"]), on()),
                version(jwk("oct-HSM", &["encrypt", "decrypt"]), json!({"enabled": false})),
            ],
        ),
        key(
            "once",
            vec![
                version(jwk("RSA-HSM", &["sign", "verify"]), json!({"exp": 4_102_444_800_i64})),
                version(jwk("RSA-HSM", &["unwrapKey"]), on()),
            ],
        ),
        key("root", vec![version(jwk("EC-HSM", &["sign"]), json!({"exportable": true}))]),
        key("sign", vec![version(jwk("EC-HSM", &["sign", "verify"]), on())]),
        key("small", vec![version(small, on())]),
    ];
    let source = "https://a.example".to_owned();
    Found { source, keys, has_roles: true, is_listed: true, ..Found::default() }
}

#[test]
fn each_key_gets_the_way_that_its_use_asks_for() {
    let plan = plan(&found(), &["ROOT".to_owned()]).unwrap();
    let ways: Vec<_> = plan.keys.iter().map(|key| (key.name.as_str(), key.way)).collect();
    assert_eq!(
        ways,
        [
            ("cert", Way::WithCertificate),
            ("data", Way::Rewrap),
            ("once", Way::Rewrap),
            ("root", Way::Byok),
            ("sign", Way::Recreate),
            ("small", Way::Unsupported),
        ]
    );
    let notes = |name: &str| {
        let key = plan.keys.iter().find(|key| key.name == name).unwrap();
        key.notes.join("; ")
    };
    assert!(notes("data").contains("2 versions") && notes("data").contains("1 of them"));
    assert!(notes("data").contains("does not tell its size"), "{}", notes("data"));
    assert!(notes("data").contains("1 of them are disabled or have an end"), "{}", notes("data"));
    assert!(
        notes("once").contains("ends at 2100-01-01T00:00:00Z, and so will"),
        "{}",
        notes("once")
    );
    assert!(notes("root").contains("attested environment"));
    assert_eq!(plan.keys[5].kind, "RSA-HSM 1024");
}

#[test]
fn commands_make_what_can_be_made_and_nothing_else() {
    let mut found = found();
    let id = "00000000-0000-4000-8000-000000000001";
    found.roles.insert("r".to_owned(), "Own role".to_owned());
    found.assignments = vec![json!({"properties": {
        "principalId": id, "scope": "/keys/sign", "roleDefinitionId": "x/r"}})];
    found.definitions = vec![json!({"name": "r", "properties": {"roleName": "Own role",
        "permissions": [{"dataActions": ["a"]}]}})];
    let plan = plan(&found, &["root".to_owned()]).unwrap();
    let [role, data, once, sign, assigned] = plan.commands.as_slice() else { panic!("{plan:?}") };
    assert!(role.starts_with("az keyvault role definition create --hsm-name HSM"), "{role}");
    assert!(role.contains(r#""roleName":"Own role""#) && role.contains(r#""dataActions":["a"]"#));
    assert!(data.contains("--name=data --kty oct-HSM --size 256 --ops encrypt decrypt"), "{data}");
    assert!(data.contains(r"'--tags=team=it'\''s ours'"), "{data}");
    assert!(once.contains("--expires 2100-01-01T00:00:00Z"), "{once}");
    assert!(sign.contains("--name=sign --kty EC-HSM --curve P-256"), "{sign}");
    assert!(assigned.contains("'--role=Own role' --scope=/keys/sign"), "{assigned}");
}

#[test]
fn a_name_that_the_source_does_not_have_is_refused() {
    assert_eq!(plan(&found(), &["sign".to_owned(), "none".to_owned()]).unwrap_err(), "none");
}

#[test]
fn the_public_keys_stay_and_nothing_else_of_a_key() {
    let mut found = found();
    found.keys[4].versions[0].bundle["key"]["d"] = json!("secret");
    let plan = plan(&found, &[]).unwrap();
    let public = plan.keys[4].versions[0].public_key.clone().unwrap();
    assert_eq!(public, json!({"kty": "EC-HSM", "crv": "P-256", "x": "x", "y": "y"}));
    assert!(plan.keys[1].versions[0].public_key.is_none(), "an oct key has none");
}

#[test]
fn sizes_are_those_of_the_modulus() {
    for (length, kind) in [(342, Kind::Rsa(2048)), (512, Kind::Rsa(3072)), (683, Kind::Rsa(4096))] {
        assert_eq!(Kind::of(&json!({"kty": "RSA", "n": "x".repeat(length)})), kind);
    }
    for other in [json!({"kty": "RSA"}), json!({"kty": "EC", "crv": "P-999"}), json!({})] {
        assert!(matches!(Kind::of(&other), Kind::Other(_)), "{other}");
    }
}

#[test]
fn a_key_that_was_not_read_whole_gets_no_command() {
    let mut found = found();
    found.keys[4].is_whole = false;
    found.keys[3] = key("root", Vec::new());
    found.keys[3].is_whole = false;
    found.not_read.push(("key sign".to_owned(), "500".to_owned()));
    let plan = plan(&found, &["root".to_owned()]).unwrap();
    for (at, kind) in [(3, "unknown"), (4, "EC-HSM P-256")] {
        let key = &plan.keys[at];
        assert_eq!((key.way, key.kind.as_str()), (Way::NotRead, kind));
        assert!(key.notes[0].contains("until a further plan"), "{key:?}");
    }
    assert!(!plan.commands.iter().any(|command| command.contains("sign --kty")), "{plan:?}");
    assert_eq!(plan.not_read, ["key sign: 500"]);
}

#[test]
fn a_name_to_keep_that_may_be_in_the_rest_of_a_list_is_told() {
    let found = Found { is_listed: false, ..found() };
    let plan = plan(&found, &["none".to_owned()]).unwrap();
    assert!(plan.not_read[0].contains("none, which shall be kept"), "{:?}", plan.not_read);
}

#[test]
fn what_stays_behind_of_a_key_is_told() {
    let ops = &["sign", "export", "\u{1b}[2J"];
    let mut key = key("a", vec![version(jwk("EC-HSM", ops), json!({"enabled": false}))]);
    key.versions[0].bundle["release_policy"] = json!({"data": "x"});
    let found = Found { keys: vec![key], has_roles: true, ..Found::default() };
    let plan = plan(&found, &[]).unwrap();
    let notes = plan.keys[0].notes.join("; ");
    for says in [r"not offered: export, \u{1b}[2J", "attested environment", "`--disabled true`"] {
        assert!(notes.contains(says), "{says}: {notes}");
    }
    assert!(plan.commands[0].contains("--ops sign --disabled true"), "{plan:?}");
}

#[test]
fn a_type_is_told_so_that_a_terminal_does_nothing_with_it() {
    for (jwk, kind) in [
        (json!({"kty": "\u{1b}]0;x\u{7}"}), r"\u{1b}]0;x\u{7}"),
        (json!({"kty": "EC", "crv": "\u{9b}2J"}), r"EC-HSM \u{9b}2J"),
        (json!({"kty": null}), "unknown"),
    ] {
        let found = Found { keys: vec![key("a", vec![version(jwk, json!({}))])], ..found() };
        assert_eq!(plan(&found, &[]).unwrap().keys[0].kind, kind);
    }
}
