//! Backup and restore by the HSM's managed identity through the unmodified Python SDK and Azure
//! CLI, and storage under the account's own name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_system_tests::az::Az;
use casemate_system_tests::azurite::Azurite;
use casemate_system_tests::identity::IdentityIssuer;
use casemate_system_tests::nodes::{activate, client, create};
use casemate_system_tests::{authority, python};
use casemate_test_kit::clients::private_hosts;
use casemate_test_kit::process::eventually;
use casemate_test_kit::scan::Scanner;
use casemate_test_kit::{Dev, Node, Options, Rest};
use serde_json::{Value, json};

/// A development HSM for whose processes the account's name means this machine.
fn dev(azurite: &Azurite, folder: &Path, identity: Option<&Path>) -> Dev {
    let hosts = folder.join("hosts");
    let name = authority(azurite.named_container().0);
    let name = name.split(':').next().unwrap_or_default();
    fs::write(&hosts, format!("127.0.0.1 localhost {name}\n")).expect("the folder is ours");
    let mut options = Options { through: private_hosts(&hosts), ..Options::default() };
    options.variables.push(("SSL_CERT_FILE".to_owned(), azurite.root().display().to_string()));
    if let Some(file) = identity {
        options = options.with(&["--identity", &file.display().to_string()]);
    }
    Dev::start(options)
}

struct World {
    azurite: Azurite,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { azurite: Azurite::start(), folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("identity.toml")
    }

    /// A development HSM with an identity.
    fn dev(&self) -> (Dev, IdentityIssuer) {
        let dev = dev(&self.azurite, self.folder.path(), Some(&self.file()));
        let kept = self.folder.path().join("issuer");
        let issuer = IdentityIssuer::start(&dev, &self.azurite, &kept);
        fs::write(self.file(), issuer.written(&self.azurite)).expect("the folder is ours");
        (dev, issuer)
    }
}

/// No token and no credential is in what the HSM keeps, says or records.
fn demand_nothing_leaked(dev: &Dev, issuer: &IdentityIssuer, folder: &Path) {
    let tokens = issuer.tokens();
    assert!(tokens.len() > 5, "there were tokens to leak");
    let named = tokens.iter().map(|token| ("token", token.as_bytes()));
    let secret = [("secret", issuer.secret.as_bytes())];
    let scanner = Scanner::new(named.chain(secret));
    // The tokens lie in a file of the issuer's: the control.
    let control = scanner.files(&folder.join("issuer/tokens.txt")).expect("it can be read");
    assert!(control.len() >= tokens.len(), "the scanner finds them");
    let found = scanner.files(dev.data_dir()).expect("all can be read");
    assert!(found.is_empty(), "{found:?}");
    assert!(scanner.bytes("terminal", dev.terminal().as_bytes()).is_empty());
    let statuses = fs::read(folder.join("issuer/statuses.json")).expect("they were kept");
    assert!(String::from_utf8_lossy(&statuses).contains("ManagedIdentityError"), "the control");
    assert!(scanner.bytes("statuses", &statuses).is_empty());
}

#[test]
fn the_python_sdk_backs_up_and_restores_by_the_hsms_identity() {
    let world = World::new();
    let (dev, issuer) = world.dev();
    let out = python(&dev, "managed_identity.py")
        .variable("TEST_STORAGE_URI", world.azurite.named_container().0)
        .variable("TEST_IDENTITY", &world.folder.path().join("issuer").display().to_string())
        .variable("TEST_IDENTITY_FILE", &world.file().display().to_string())
        .variable("TEST_ROOT", &world.azurite.root().display().to_string())
        .succeed("managed_identity.py");
    assert!(out.contains(" checks"), "{out}");
    let records = dev.data_dir().join("hsm/dev/audit");
    let logs = fs::read_dir(records).expect("there is a log").flatten();
    let log: String =
        logs.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect();
    assert!(log.contains("\"storageAccess\":\"managedIdentity\""), "the records say how");
    demand_nothing_leaked(&dev, &issuer, world.folder.path());
    dev.stop();
}

#[test]
fn the_azure_cli_backs_up_and_restores_by_the_hsms_identity() {
    let world = World::new();
    let (dev, _issuer) = world.dev();
    let az = Az::logged_in(&dev, "adfs");
    for uri in [world.azurite.container().0, world.azurite.named_container().0] {
        az.backs_up_and_restores(&[
            "--storage-resource-uri",
            uri,
            "--use-managed-identity",
            "true",
        ]);
    }
    dev.stop();
}

#[test]
fn storage_under_the_accounts_own_name_takes_a_shared_access_signature() {
    let world = World::new();
    let dev = dev(&world.azurite, world.folder.path(), None);
    let (uri, token) = world.azurite.named_container();
    assert!(uri.contains("://devstoreaccount1.blob.localhost:"), "{uri}");
    let out = python(&dev, "full_backup.py")
        .variable("TEST_STORAGE_URI", uri)
        .variable("TEST_STORAGE_TOKEN", token)
        .succeed("full_backup.py");
    assert!(out.contains(" checks"), "{out}");
    // What was put under the name is found under the address: it is the same account.
    let by_name = json!({"storageResourceUri": uri, "token": token});
    let done = job(&mut dev.rest(), "POST", "/backup", &by_name);
    let folder = done["azureStorageBlobContainerUri"].as_str().expect("it says where");
    let folder = folder.rsplit('/').next().expect("a segment");
    let by_address = json!({"storageResourceUri": world.azurite.container().0, "token": token});
    let check = json!({"sasTokenParameters": by_address, "folderToRestore": folder});
    let done = job(&mut dev.rest(), "PUT", "/prerestore", &check);
    assert_eq!(done["status"], "Succeeded", "{done}");
    // Without the identity that is asked for, nothing is sent anywhere.
    let by_identity = json!({"storageResourceUri": uri, "useManagedIdentity": true});
    let done = job(&mut dev.rest(), "POST", "/backup", &by_identity);
    assert_eq!(done["error"]["code"], "ManagedIdentityError", "{done}");
    let said = done["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains("has no managed identity"), "{said}");
    dev.stop();
}

/// Starts a job and waits for its end.
fn job(rest: &mut Rest, method: &str, path: &str, body: &Value) -> Value {
    let started = rest.call(method, path, body).expect("an answer");
    assert_eq!(started.status, 202, "{}", started.text());
    let id = started.json()["jobId"].as_str().expect("an id").to_owned();
    let area = if path.contains("backup") { "backup" } else { "restore" };
    let mut done = Value::Null;
    let ended = eventually(Duration::from_secs(60), || {
        let status = rest.ask("GET", &format!("/{area}/{id}/pending"));
        done = status.expect("an answer").json();
        done["status"] != "InProgress"
    });
    assert!(ended, "{done}");
    done
}

#[test]
fn the_identity_of_an_hsm_of_a_node_is_its_own_and_goes_when_it_is_taken_away() {
    let world = World::new();
    let azurite = &world.azurite;
    let (dev, issuer) = world.dev();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let with = format!("[identity.alpha]\n{}", issuer.written(azurite));
    let root = azurite.root();
    let node = Node::start_with(folder.path(), &with, &[("SSL_CERT_FILE", root.as_path())]);
    for hsm in ["alpha", "beta"] {
        create(&node, &dev, hsm);
        activate(&node, &dev, hsm);
    }
    let body = json!({"storageResourceUri": azurite.container().0, "useManagedIdentity": true});
    let backs_up = |hsm: &str| {
        let done = job(&mut client(&node, &dev, hsm), "POST", "/backup", &body);
        let message = done["error"]["message"].as_str().unwrap_or_default().to_owned();
        (done["status"] == "Succeeded", message)
    };
    assert_eq!(backs_up("alpha"), (true, String::new()));
    let (done, why) = backs_up("beta");
    assert!(!done && why.contains("has no managed identity"), "{why}");
    // Taken away, put into disorder, and given back, while the node runs.
    Node::write_file(folder.path(), "");
    let (done, why) = backs_up("alpha");
    assert!(!done && why.contains("has no managed identity"), "a token that is kept: {why}");
    Node::write_file(folder.path(), "[identity.alpha]\n");
    let (done, why) = backs_up("alpha");
    assert!(!done && why.contains("cannot be used"), "{why}");
    assert!(node.log().contains("a managed identity cannot be used"), "{}", node.log());
    Node::write_file(folder.path(), &with);
    issuer.keep(&issuer.secret, 0o640);
    let (done, why) = backs_up("alpha");
    assert!(!done && why.contains("cannot be used"), "{why}");
    assert!(node.log().contains("mode 640"), "{}", node.log());
    issuer.keep(&issuer.secret, 0o600);
    assert_eq!(backs_up("alpha"), (true, String::new()));
    let refused = Node::try_start(
        tempfile::tempdir().expect("a folder").path(),
        &with.replace("secret_file", "secret"),
        &[],
    );
    assert!(refused.expect_err("no node").contains("not understood"));
    node.stop();
    dev.stop();
}
