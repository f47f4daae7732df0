//! Full backup and restore through the unmodified Python SDK and Azure CLI, to Azurite, to an S3
//! server and to a folder; and deaths in between.

use casemate_system_tests::az::Az;
use casemate_system_tests::azurite::Azurite;
use casemate_system_tests::python;
use casemate_system_tests::s3::S3;
use casemate_test_kit::{Dev, Options};

fn dev(azurite: &Azurite) -> Dev {
    let mut options = Options::default();
    options.variables.push(("SSL_CERT_FILE".to_owned(), azurite.root().display().to_string()));
    Dev::start(options)
}

#[test]
fn the_python_sdk_backs_up_and_restores_the_whole_hsm() {
    let (azurite, s3) = (Azurite::start(), S3::start());
    let dev = dev(&azurite);
    let (uri, token) = azurite.container();
    let out = python(&dev, "full_backup.py")
        .variable("TEST_STORAGE_URI", uri)
        .variable("TEST_STORAGE_TOKEN", token)
        .variable("TEST_S3_URI", &s3.uri("backups/below"))
        .succeed("full_backup.py");
    assert!(out.contains(" checks"), "{out}");
    assert!(!dev.terminal().contains(token), "the token is in no log");
    dev.stop();
}

#[test]
fn the_azure_cli_backs_up_and_restores_the_whole_hsm_and_one_key() {
    let azurite = Azurite::start();
    let dev = dev(&azurite);
    let az = Az::logged_in(&dev, "adfs");
    let (uri, token) = azurite.plain_container();
    let storage = ["--storage-resource-uri", uri, "--storage-container-SAS-token", token];
    az.backs_up_and_restores(&storage);
    dev.stop();
}
