//! What is kept in the folder, how, and the rules of the directory.

use std::os::unix::fs::PermissionsExt;

use casemate_dev_issuer::{DevIssuer, IssuerError, NewApp};

use crate::world::{HSM, NOW, World};

const SCOPE: (&str, &str) = ("scope", "https://managedhsm.localhost:8443/.default");

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let mut world = World::new();
    let app = world.issuer.add_app("app", NewApp::default()).unwrap();
    let dev = world.issuer.ensure_app("dev").unwrap();
    let (tenant, header) = (world.issuer.tenant(), world.issuer.identity_header().to_owned());
    let id = app.app_id.to_string();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", &app.secret),
        SCOPE,
    ];
    let before = world.token(&fields, NOW).await;
    let again = DevIssuer::open(world.folder.path()).unwrap();
    world.issuer = std::sync::Arc::new(again);
    assert_eq!((world.issuer.tenant(), world.issuer.identity_header()), (tenant, &*header));
    world.caller(&before, HSM).await;
    world.caller(&world.token(&fields, NOW).await, HSM).await;
    let dev_again = world.issuer.ensure_app("dev").unwrap();
    assert_eq!((dev_again.app_id, dev_again.object_id), (dev.app_id, dev.object_id));
    assert_eq!(dev_again.secret, dev.secret, "a shell that has it goes on working");
    assert_ne!(dev.secret, header);
}

#[tokio::test]
async fn what_another_process_adds_is_known_at_the_next_request() {
    let world = World::new();
    let beside = DevIssuer::open(world.folder.path()).unwrap();
    let app = beside.add_app("late", NewApp::default()).unwrap();
    let group = beside.add_group("group").unwrap();
    beside.add_member("group", "late").unwrap();
    let id = app.app_id.to_string();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", &app.secret),
        SCOPE,
    ];
    let caller = world.caller(&world.token(&fields, NOW).await, HSM).await;
    assert_eq!(caller.groups, [group.object_id]);
    world.issuer.add_user("ada").unwrap();
    beside.add_member("group", "ada").expect("each sees what the other wrote");
}

#[test]
fn many_writers_lose_nothing() {
    let world = World::new();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = world.folder.path();
            scope.spawn(move || {
                let issuer = DevIssuer::open(path).unwrap();
                for number in 0..10 {
                    issuer.add_group(&format!("{writer}-{number}")).unwrap();
                }
            });
        }
    });
    for writer in 0..4 {
        for number in 0..10 {
            let outcome = world.issuer.add_group(&format!("{writer}-{number}"));
            assert!(matches!(outcome, Err(IssuerError::NameTaken { .. })), "{outcome:?}");
        }
    }
}

#[test]
fn files_are_for_their_owner_and_hold_no_secret() {
    let world = World::new();
    let secrets = [
        world.issuer.add_app("app", NewApp::default()).unwrap().secret,
        world.issuer.add_user("ada").unwrap().secret,
        world.issuer.ensure_app("dev").unwrap().secret,
        world.issuer.identity_header().to_owned(),
    ];
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    let mut files = 0;
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path) & 0o777, 0o600, "{path:?}");
        let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(secrets.iter().all(|secret| !content.contains(secret)), "{path:?}");
        files += 1;
    }
    assert_eq!(files, 3, "directory, key and lock, and nothing half-written");
    let is_secret = |secret: &String| secret.len() == 4 + 43 && secret.starts_with("dev-");
    assert!(secrets.iter().all(is_secret), "32 bytes each, and no dash before");
}

#[test]
fn a_folder_is_made_private() {
    let parent = tempfile::TempDir::new().unwrap();
    let path = parent.path().join("a/b");
    DevIssuer::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_broken_folder_is_said_to_be_broken() {
    let world = World::new();
    let (directory, key) =
        (world.folder.path().join("directory.json"), world.folder.path().join("signing-key.der"));
    let good = std::fs::read_to_string(&directory).unwrap();
    let open = || DevIssuer::open(world.folder.path()).err();
    std::fs::write(&directory, &good[..good.len() / 2]).unwrap();
    assert!(matches!(open(), Some(IssuerError::MalformedDirectory { .. })));
    std::fs::write(&directory, good.replace("\"format\": 1", "\"format\": 2")).unwrap();
    assert!(matches!(open(), Some(IssuerError::UnknownFormat { found: 2, known: 1, .. })));
    std::fs::write(&directory, &good).unwrap();
    std::fs::write(&key, b"nonsense").unwrap();
    assert!(matches!(open(), Some(IssuerError::MalformedKey { .. })));
    std::fs::remove_file(&key).unwrap();
    assert!(open().is_none(), "a removed key is replaced by a new one");
}

#[test]
fn names_are_one_of_a_kind_and_readable() {
    let world = World::new();
    let issuer = &world.issuer;
    issuer.add_app("one", NewApp::default()).unwrap();
    let taken = |outcome: Option<IssuerError>| {
        assert!(matches!(outcome, Some(IssuerError::NameTaken { .. })), "{outcome:?}");
    };
    taken(issuer.add_app("one", NewApp::default()).err());
    taken(issuer.add_user("ONE").err());
    taken(issuer.add_group("One").err());
    for name in ["", " a", "a ", "a\nb", "\u{0}", &"x".repeat(129), &uuid::Uuid::nil().to_string()]
    {
        let outcome = issuer.add_user(name).err();
        assert!(matches!(outcome, Some(IssuerError::BadName { .. })), "{name:?}");
    }
    issuer.add_user("ada").unwrap();
    taken(issuer.ensure_app("ada").err());
}

#[test]
fn members_are_known_and_groups_do_not_nest() {
    let world = World::new();
    let issuer = &world.issuer;
    issuer.add_group("group").unwrap();
    issuer.add_group("inner").unwrap();
    issuer.add_user("ada").unwrap();
    for (group, member) in [("group", "nobody"), ("nowhere", "ada"), ("ada", "ada")] {
        let outcome = issuer.add_member(group, member).err();
        assert!(matches!(outcome, Some(IssuerError::NotFound { .. })), "{outcome:?}");
    }
    let outcome = issuer.add_member("group", "inner").err();
    assert!(matches!(outcome, Some(IssuerError::NestedGroup { .. })), "{outcome:?}");
}

#[test]
fn credentials_are_looked_at_when_they_are_registered() {
    let world = World::new();
    let with_certificate =
        |pem: &str| NewApp { certificate_pem: Some(pem.into()), federated: None };
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = rcgen::CertificateParams::default().self_signed(&ed25519).unwrap().pem();
    for pem in
        ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &ed25519]
    {
        let outcome = world.issuer.add_app("app", with_certificate(pem)).err();
        assert!(matches!(outcome, Some(IssuerError::BadCertificate)), "{outcome:?}");
    }
    for (issuer, subject) in [("http://x.example", "s"), ("x", "s"), ("https://x.example", "")] {
        let federated = Some((issuer.to_owned(), subject.to_owned()));
        let outcome =
            world.issuer.add_app("app", NewApp { certificate_pem: None, federated }).err();
        assert!(matches!(outcome, Some(IssuerError::BadFederation)), "{outcome:?}");
    }
    world.issuer.add_app("app", NewApp::default()).expect("refused apps leave no trace");
}
