//! `casemate backup verify`: a backup is proven without the HSM that made it.

use std::fs;
use std::path::Path;

use casemate_system_tests::azurite::Azurite;
use casemate_system_tests::jobs::{self, held_in, local};
use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::{Dev, Options, places};
use serde_json::{Value, json};

/// Makes a full backup, and answers with its URL.
fn back_up(dev: &Dev, uri: &str, token: &str) -> String {
    jobs::back_up(dev, &json!({"storageResourceUri": uri, "token": token}))
}

/// Makes an increment on a local backup, and answers with its URL.
fn increment(dev: &Dev, uri: &str, base: &str) -> String {
    let base = base.rsplit('/').next().expect("a URL has a last segment");
    jobs::back_up(dev, &json!({"storageResourceUri": uri, "token": "", "casemateBase": base}))
}

fn create(dev: &Dev, key: &str, body: &Value) {
    let made = dev.rest().call("POST", &format!("/keys/{key}/create"), body);
    made.expect("an answer").expect_ok("a key");
}

/// The command, where no HSM runs.
fn verify(words: &[&str]) -> Run {
    jobs::verify(words, &[])
}

fn left(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("the folder is there").flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn officers_prove_a_backup_when_the_hsm_is_gone() {
    let dev = Dev::fresh();
    create(&dev, "rsa", &json!({"kty": "RSA-HSM", "key_size": 2048}));
    create(&dev, "ec", &json!({"kty": "EC-HSM", "crv": "P-384", "tags": {"a": "b"}}));
    create(&dev, "ec", &json!({"kty": "EC-HSM", "crv": "P-521"}));
    create(&dev, "oct", &json!({"kty": "oct-HSM", "key_size": 256}));
    let backup = local(&dev, &back_up(&dev, "file:///nightly", ""));
    create(&dev, "later", &json!({"kty": "EC-HSM"}));
    let next = local(&dev, &back_up(&dev, "file:///nightly", ""));
    // All that is left is the backups, and what the officers hold.
    let kept = tempfile::tempdir().expect("a temporary folder");
    let moved = |from: &Path| {
        let to = kept.path().join(from.file_name().expect("it has a name"));
        fs::rename(from, &to).expect("both are on one disk");
        to.display().to_string()
    };
    let (backup, next) = (moved(&backup), moved(&next));
    let folder = moved(&dev.data_dir().join("officers"));
    let (domain, [one, two, three]) = held_in(Path::new(&folder));
    let work = kept.path().join("work");
    fs::create_dir(&work).expect("a folder can be made");
    let work_dir = work.display().to_string();
    let base = ["--domain", domain.as_str(), "--work-dir", work_dir.as_str()];
    let with = |words: &[&str]| verify(&[&base[..], words].concat());
    let quorum = ["--key", one.as_str(), "--key", three.as_str()];
    drop(dev.stop());

    let whole = with(&[&quorum[..], &[&backup]].concat());
    assert!(whole.success, "{whole:?}");
    assert!(whole.out.contains("3 keys with 4 versions"), "{whole:?}");
    assert!(whole.out.contains("Of the versions 4 were opened and worked"), "{whole:?}");
    assert_eq!(left(&work), Vec::<String>::new(), "nothing of it is left");

    let other = with(&[&quorum[..], &[&backup, "--against", &next]].concat());
    assert!(!other.success && other.out.contains("key 'later': is not here"), "{other:?}");
    assert!(other.err.contains("differs from the backup in 1 places"), "{other:?}");

    let few = with(&["--key", &two, &backup]);
    assert!(!few.success && few.err.contains("1 keys are too few"), "{few:?}");

    let part = Path::new(&backup).join("part-000000");
    let bytes = fs::read(&part).expect("the part is there");
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 1;
    fs::write(&part, &altered).expect("it can be written");
    let refused = with(&[&quorum[..], &[&backup]].concat());
    assert!(!refused.success && refused.err.contains("altered or cut off"), "{refused:?}");
    fs::remove_file(&part).expect("it can be removed");
    let refused = with(&[&quorum[..], &[&backup]].concat());
    assert!(!refused.success && refused.err.contains("no object 'part-000000'"), "{refused:?}");
    fs::write(&part, &bytes).expect("it can be written");
    let renamed = kept.path().join("mhsm-dev-20261124000000000");
    fs::rename(&backup, &renamed).expect("one disk");
    let refused = with(&[&quorum[..], &[&renamed.display().to_string()]].concat());
    assert!(!refused.success && refused.err.contains("another folder"), "{refused:?}");
    assert_eq!(left(&work), Vec::<String>::new(), "nothing of a failure is left either");
}

#[test]
fn an_increment_is_proven_with_all_that_it_rests_on() {
    let dev = Dev::fresh();
    for key in ["same", "gone"] {
        create(&dev, key, &json!({"kty": "EC-HSM"}));
    }
    let full = back_up(&dev, "file:///nightly", "");
    for (method, path) in [("DELETE", "/keys/gone"), ("DELETE", "/deletedkeys/gone")] {
        let done = dev.rest().ask(method, path).expect("an answer");
        assert!([200, 204].contains(&done.status), "{}", done.text());
    }
    create(&dev, "same", &json!({"kty": "EC-HSM"}));
    let first = increment(&dev, "file:///nightly", &full);
    create(&dev, "new", &json!({"kty": "RSA-HSM"}));
    let last = increment(&dev, "file:///nightly", &first);
    let [full, first, last] = [full, first, last].map(|url| local(&dev, &url));
    let node = dev.data_dir().join("hsm/dev").display().to_string();
    let check = || verify(&["--node-folder", &node, &last.display().to_string()]);

    let whole = check();
    assert!(whole.success && whole.out.contains("2 keys with 3 versions"), "{whole:?}");
    for set in [&full, &first] {
        let aside = set.with_extension("aside");
        fs::rename(set, &aside).expect("one disk");
        let refused = check();
        assert!(!refused.success && refused.err.contains("made on is not there"), "{refused:?}");
        fs::rename(&aside, set).expect("one disk");
    }
    let aside = full.with_extension("aside");
    for (from, to) in [(&full, &aside), (&first, &full), (&aside, &first)] {
        fs::rename(from, to).expect("one disk");
    }
    let refused = check();
    assert!(!refused.success && refused.err.contains("not the set"), "{refused:?}");
    for (from, to) in [(&full, &aside), (&first, &full), (&aside, &first)] {
        fs::rename(from, to).expect("one disk");
    }
    assert!(check().success, "the control");
    dev.stop();
}

#[test]
fn a_node_that_holds_the_domain_proves_a_backup_in_the_cloud_and_no_other_does() {
    let azurite = Azurite::start();
    let mut options = Options::default();
    let root = azurite.root().display().to_string();
    options.variables.push(("SSL_CERT_FILE".to_owned(), root.clone()));
    let dev = Dev::start(options);
    create(&dev, "k", &json!({"kty": "oct-HSM", "key_size": 128}));
    let (uri, token) = azurite.container();
    let url = back_up(&dev, uri, token);
    let file = dev.scratch().join("token");
    fs::write(&file, format!("{token}\n")).expect("the scratch folder can be written");
    let file = file.display().to_string();
    let node = dev.data_dir().join("hsm/dev").display().to_string();
    let words = ["backup", "verify", "--token-file", &file, "--node-folder"];
    let run = |folder: &str, url: &str| {
        let client = Client::of(&dev, &places::casemate(), dev.scratch());
        client.variable("SSL_CERT_FILE", &root).words(words).words([folder, url]).run()
    };
    let whole = run(&node, &url);
    assert!(whole.success && whole.out.contains("1 keys with 1 versions"), "{whole:?}");
    assert!(!whole.err.contains(token) && !whole.out.contains(token), "{whole:?}");
    dev.rest().ask("GET", "/keys/k").expect("an answer").expect_ok("the HSM goes on");

    let missing = run(&node, &format!("{url}9"));
    assert!(!missing.success && missing.err.contains("no object 'manifest'"), "{missing:?}");
    let other = Dev::fresh();
    let foreign = run(&other.data_dir().join("hsm/dev").display().to_string(), &url);
    assert!(!foreign.success && foreign.err.contains("another security domain"), "{foreign:?}");
    let unactivated = Dev::start(Options::default().with(&["--activate", "no"]));
    let folder = unactivated.data_dir().join("hsm/dev").display().to_string();
    let none = run(&folder, &url);
    assert!(!none.success && none.err.contains("is not activated"), "{none:?}");
    for dev in [unactivated, other, dev] {
        dev.stop();
    }
}
