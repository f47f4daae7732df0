//! The unmodified Azure CLI, logged in to a development HSM.
//!
//! Each has a configuration folder of its own. `--hsm-name` needs a name that resolves, so every
//! command runs with a hosts file of its own in a private mount namespace.

use std::collections::BTreeMap;

use casemate_test_kit::clients::{Client, Run};
use casemate_test_kit::{Dev, audit, places};
use serde_json::Value;

use crate::authority;

/// An `az` that is logged in to a development HSM.
pub struct Az<'a> {
    /// The server.
    pub dev: &'a Dev,
    host: String,
}

impl<'a> Az<'a> {
    /// Registers the cloud by its metadata alone and logs in.
    pub fn logged_in(dev: &'a Dev, tenant: &str) -> Self {
        let named = authority(dev.variable("CASEMATE_HSM_NAMED_URL"));
        let (host, _port) = named.rsplit_once(':').expect("the URL names its port");
        let az = Self { dev, host: host.to_owned() };
        let control = dev.variable("CASEMATE_CONTROL_URL");
        az.ok(&["cloud", "register", "-n", "local", "--endpoint-resource-manager", control]);
        az.ok(&["cloud", "set", "-n", "local"]);
        if tenant != "adfs" {
            az.ok(&["config", "set", "core.instance_discovery=false"]);
        }
        let [id, secret] = ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"].map(|of| dev.variable(of));
        let login = ["login", "--service-principal", "-u", id, "-p", secret, "--tenant", tenant];
        let subscriptions = az.ok(&login);
        let own = dev.variable("AZURE_SUBSCRIPTION_ID");
        let ids: Vec<_> = subscriptions.as_array().into_iter().flatten().collect();
        assert!(ids.iter().any(|one| one["id"] == own), "{subscriptions}");
        az
    }

    /// Runs a command.
    pub fn run(&self, words: &[&str]) -> Run {
        let client = Client::of(self.dev, &places::az(), self.dev.scratch());
        let config = self.dev.scratch().join("az").display().to_string();
        // The CLI must find everything by itself: only its trust anchors are told.
        let client = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"]
            .into_iter()
            .chain(["AZURE_AUTHORITY_HOST", "AZURE_SUBSCRIPTION_ID"])
            .fold(client, Client::without);
        let client = client.variable("AZURE_CONFIG_DIR", &config);
        let client = client.variable("AZURE_CORE_COLLECT_TELEMETRY", "0");
        client.hosts(&[&self.host]).words(words.iter().copied()).word("-o").word("json").run()
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn ok(&self, words: &[&str]) -> Value {
        let run = self.run(words);
        assert!(run.success, "az {words:?}: exit {:?}\n{}\n{}", run.code, run.out, run.err);
        serde_json::from_str(&run.out).unwrap_or(Value::Null)
    }

    /// Runs a command that must be refused with this code.
    pub fn refused(&self, words: &[&str], code: &str) {
        let run = self.run(words);
        assert!(!run.success, "az {words:?} was allowed: {}", run.out);
        assert!(run.err.contains(code), "az {words:?} lacks {code}: {}", run.err);
    }

    /// Runs a command that must fail, and gives what it wrote to its standard error.
    pub fn fails(&self, words: &[&str]) -> String {
        let run = self.run(words);
        assert!(!run.success, "az {words:?} succeeded: {}", run.out);
        run.err
    }

    /// Runs a command of `az keyvault key` that must succeed.
    pub fn key(&self, words: &[&str]) -> Value {
        self.ok(&[&["keyvault", "key"], words].concat())
    }

    /// How many records of each operation the audit log has.
    pub fn seen(&self) -> BTreeMap<String, usize> {
        audit::counts(self.dev.data_dir())
    }

    /// Makes the key `kept`, backs the whole HSM up to this storage, and brings the key back twice
    /// after it was purged: with everything, and by itself. Then it is purged.
    pub fn backs_up_and_restores(&self, storage: &[&str]) {
        let hsm = ["--hsm-name", "dev"];
        let key = ["--hsm-name", "dev", "-n", "kept"];
        let purge = || {
            self.key(&[&["delete"], &key[..]].concat());
            self.key(&[&["purge"], &key[..]].concat());
        };
        let made =
            self.key(&[&["create", "--kty", "EC-HSM", "--curve", "P-384"], &key[..]].concat());
        let done = self.ok(&[&["keyvault", "backup", "start"], storage, &hsm[..]].concat());
        assert_eq!(done["status"], "Succeeded", "{done}");
        let place = done["azureStorageBlobContainerUri"].as_str().or(done["folderUrl"].as_str());
        let folder = place.and_then(|url| url.rsplit('/').next()).expect("it says where it is");
        let restore = ["keyvault", "restore", "start", "--backup-folder", folder];
        for only in [&[][..], &["--key-name", "kept"]] {
            purge();
            self.ok(&[&restore[..], storage, &hsm[..], only].concat());
            assert_eq!(self.key(&[&["show"], &key[..]].concat())["key"], made["key"], "{only:?}");
        }
        purge();
    }
}
