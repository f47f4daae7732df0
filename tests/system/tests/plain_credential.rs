//! Nothing switched off: plain `DefaultAzureCredential()`, the named URL, the resource check on,
//! the tenant and all else from `dev.env`. Only the name needs help, since not every system
//! resolves `*.localhost`: a hosts file in a private mount namespace.

use casemate_system_tests::{authority, javascript, python};
use casemate_test_kit::clients::Client;
use casemate_test_kit::{Dev, Options};

fn host(dev: &Dev) -> String {
    let named = authority(dev.variable("CASEMATE_HSM_NAMED_URL"));
    let (host, _port) = named.rsplit_once(':').expect("the URL names its port");
    host.to_owned()
}

fn passes(dev: &Dev, client: Client, what: &str) {
    let out = client.hosts(&[&host(dev)]).succeed(what);
    assert!(out.contains("plain: done"), "{what} said: {out}");
}

#[test]
fn python_needs_no_option() {
    let dev = Dev::fresh();
    passes(&dev, python(&dev, "plain.py"), "plain.py");
    dev.stop();
}

#[test]
fn javascript_needs_no_option() {
    let dev = Dev::fresh();
    passes(&dev, javascript(&dev, "plain.mjs"), "plain.mjs");
    dev.stop();
}

#[test]
fn an_hsm_of_another_name_answers_under_that_name() {
    let dev = Dev::start(Options::default().with(&["--name", "vault-7"]));
    assert!(host(&dev).starts_with("vault-7.managedhsm.localhost"), "{}", host(&dev));
    passes(&dev, python(&dev, "plain.py"), "plain.py");
    dev.stop();
}
