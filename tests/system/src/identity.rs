//! A managed identity for backups: an app of the development issuer's, and a token endpoint that
//! gives its tokens a name that Azurite believes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use casemate_test_kit::{Dev, places};

use crate::azurite::Azurite;
use crate::{casemate, told};

/// A running token endpoint, and the app that it gives tokens to; ended when it is dropped.
pub struct IdentityIssuer {
    child: Child,
    folder: PathBuf,
    port: u64,
    /// The app's id.
    pub client_id: String,
    /// The app's secret.
    pub secret: String,
}

impl IdentityIssuer {
    /// Adds an app to the issuer of `dev` and starts the endpoint. `folder` holds what both keep.
    pub fn start(dev: &Dev, azurite: &Azurite, folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder can be made");
        let app = casemate(dev, &["dev", "identity", "add-app", "hsm-storage"]);
        let text = |name: &str| app[name].as_str().expect("the app has it").to_owned();
        let leaf = |name: &str| azurite.folder().join(name);
        let endpoint = format!("{}/adfs/oauth2/v2.0/token", dev.variable("CASEMATE_CONTROL_URL"));
        let (child, told) = told::start(
            Command::new(places::python_sinks())
                .arg(super::folder("python").join("identity_issuer.py"))
                .arg(folder)
                .arg(endpoint)
                .args([dev.ca(), leaf("leaf.pem"), leaf("leaf.key")]),
        );
        let port = told["port"].as_u64().expect("a port");
        let folder = folder.to_owned();
        let issuer = Self { child, folder, port, client_id: text("appId"), secret: text("secret") };
        issuer.keep(&issuer.secret, 0o600);
        issuer
    }

    /// Writes the credential into its file.
    pub fn keep(&self, credential: &str, mode: u32) {
        fs::write(self.credential(), credential).expect("the folder can be written");
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(self.credential(), mode).expect("the file is ours");
    }

    /// What an operator writes of it.
    pub fn written(&self, azurite: &Azurite) -> String {
        let (port, credential, ca) = (self.port, self.credential(), azurite.root());
        format!(
            "token_endpoint = \"https://localhost:{port}/token\"\nclient_id = {:?}\n\
             secret_file = {credential:?}\nca = {ca:?}\nstorage = {:?}\n",
            self.client_id,
            azurite.accounts(),
        )
    }

    /// The tokens that it gave so far.
    pub fn tokens(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("tokens.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn credential(&self) -> PathBuf {
        self.folder.join("credential")
    }
}

impl Drop for IdentityIssuer {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.child.stdin.take());
        let _ended = self.child.wait();
    }
}
