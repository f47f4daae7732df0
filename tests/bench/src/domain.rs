//! The security domain: how long an activation takes, and a new secret under all keys.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use casemate_test_kit::{Dev, Options, places};
use serde_json::Value;

use crate::Outcome;
use crate::extras::{Extra, line};

/// Runs a command of the program; its output.
fn casemate(words: &[&str]) -> Outcome<String> {
    let out = Command::new(places::casemate()).args(words).output()?;
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(format!("{words:?}: {}", String::from_utf8_lossy(&out.stderr)).into()),
    }
}

fn text(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// From the first download's call to the first call that is served.
pub(crate) fn activation(extras: &mut Vec<Extra>) -> Outcome<()> {
    let officers = Dev::fresh();
    let held = officers.data_dir().join("officers");
    let certificates = [1, 2, 3].map(|at| text(&held, &format!("officer-{at}.cer")));
    let mut words = vec!["security-domain", "request", "--quorum", "2"];
    words.extend(certificates.iter().flat_map(|cer| ["--cert", cer.as_str()]));
    let request: Value = serde_json::from_str(&casemate(&words)?)?;
    let dev = Dev::start(Options::default().with(&["--activate", "no"]));
    let begun = Instant::now();
    let answer = dev.rest().call("POST", "/securitydomain/download", &request)?;
    if answer.status != 202 {
        return Err(answer.text().into());
    }
    while !dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200) {}
    let took = begun.elapsed();
    extras.push(line("activation, to the first answer", &format!("{:.2} s", took.as_secs_f64())));
    dev.stop();
    officers.stop();
    Ok(())
}

/// A new secret: until nothing is sealed under the old one any more.
pub(crate) fn rotation(dev: &Dev, keys: usize, extras: &mut Vec<Extra>) -> Outcome<()> {
    let held = dev.data_dir().join("officers");
    let domain = text(&held, "security-domain.json");
    let certificates = [1, 2, 3].map(|at| text(&held, &format!("officer-{at}.cer")));
    let mut words = vec!["security-domain", "request", "--quorum", "2", "--rotate", &domain];
    words.extend(certificates.iter().flat_map(|cer| ["--cert", cer.as_str()]));
    let request = dev.scratch().join("rotation.json");
    fs::write(&request, casemate(&words)?)?;
    let path = request.display().to_string();
    for at in 1..=2 {
        let key = text(&held, &format!("officer-{at}.key"));
        let words = ["security-domain", "approve", "--domain", &domain, "--request", &path];
        let approved = casemate(&[&words[..], &["--key", &key]].concat())?;
        fs::write(&request, approved)?;
    }
    let (token, out) = (text(dev.scratch(), "rotation.token"), text(dev.scratch(), "rotated.json"));
    fs::write(&token, dev.token())?;
    let (url, ca) = (dev.variable("CASEMATE_HSM_URL"), dev.ca().display().to_string());
    let words = ["security-domain", "rotate", "--url", url, "--ca", &ca, "--token-file", &token];
    let begun = Instant::now();
    casemate(&[&words[..], &["--request", &path, "--out", &out]].concat())?;
    let took = begun.elapsed().as_secs_f64();
    let what = format!("new secret of the security domain under {keys} keys, while it serves");
    extras.push(line(&what, &format!("{took:.2} s")));
    Ok(())
}
