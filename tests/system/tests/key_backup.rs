//! Backup and restore of single keys, through the unmodified Azure CLI and Python SDK.

use std::fs;

use casemate_system_tests::az::Az;
use casemate_system_tests::python;
use casemate_test_kit::Dev;

#[test]
fn the_python_sdk_backs_up_and_restores() {
    let dev = Dev::fresh();
    let out = python(&dev, "key_backup.py").succeed("key_backup.py");
    assert!(out.contains(" checks"), "key_backup.py said: {out}");
    dev.stop();
}

#[test]
fn the_azure_cli_backs_up_and_restores() {
    let dev = Dev::fresh();
    let az = Az::logged_in(&dev, "adfs");
    let key = ["--hsm-name", "dev", "-n", "kept"];
    let made = az.key(&[&["create", "--kty", "EC-HSM", "--curve", "P-384"], &key[..]].concat());
    let file = dev.scratch().join("kept.backup");
    let path = file.display().to_string();
    az.key(&[&["backup", "-f", &path], &key[..]].concat());
    let restore = ["restore", "--hsm-name", "dev", "-f", &path];
    az.refused(&[&["keyvault", "key"], &restore[..]].concat(), "Conflict");
    az.key(&[&["delete"], &key[..]].concat());
    az.refused(&[&["keyvault", "key"], &restore[..]].concat(), "Conflict");
    az.key(&[&["purge"], &key[..]].concat());

    let whole = fs::read(&file).expect("az wrote the file");
    let mut altered = whole.clone();
    altered[200] ^= 1;
    fs::write(&file, altered).expect("the scratch folder can be written");
    az.refused(&[&["keyvault", "key"], &restore[..]].concat(), "BadParameter");
    fs::write(&file, whole).expect("the scratch folder can be written");

    let restored = az.key(&restore);
    assert_eq!(restored["key"], made["key"]);
    assert_eq!(az.key(&[&["show"], &key[..]].concat())["key"], made["key"]);
    assert_eq!((az.seen()["KeyBackup"], az.seen()["KeyRestore"]), (1, 4));
    // The file lies in its scratch folder.
    let _kept = dev.stop();

    // Another HSM has a security domain of its own.
    let other = Dev::fresh();
    let az = Az::logged_in(&other, "adfs");
    az.refused(&[&["keyvault", "key"], &restore[..]].concat(), "another security domain");
    other.stop();
}
