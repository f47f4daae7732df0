//! The bundle of roots for other programs: those they had before, and ours.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where systems keep their roots.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Variables that name the roots a user has chosen.
pub(crate) const CHOSEN: [&str; 3] = ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];

/// The bundle's text: the chosen roots, or else the system's, then `ours`. Files that are not there
/// are left out, and so is `own`, the bundle of an earlier run.
pub(crate) fn bundle(chosen: &[OsString], own: &Path, ours: &str) -> String {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in chosen.iter().map(PathBuf::from) {
        if !path.as_os_str().is_empty() && path != own && !files.contains(&path) {
            files.push(path);
        }
    }
    let mut texts: Vec<String> = files.iter().filter_map(|path| roots(path)).collect();
    if texts.is_empty() {
        texts.extend(SYSTEM.iter().find_map(|path| roots(Path::new(path))));
    }
    texts.push(ours.to_owned());
    let mut bundle = String::new();
    for text in texts {
        bundle.push_str(text.trim_end());
        bundle.push('\n');
    }
    bundle
}

fn roots(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().filter(|text| text.contains("-----BEGIN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";

    #[test]
    fn chosen_roots_come_once_and_before_ours() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs.pem");
        fs::write(&theirs, "-----BEGIN CERTIFICATE-----\ntheirs").unwrap();
        let chosen = [theirs.clone().into_os_string(), theirs.into_os_string()];
        let text = bundle(&chosen, Path::new("/own"), OURS);
        assert_eq!(text, format!("-----BEGIN CERTIFICATE-----\ntheirs\n{OURS}"));
    }

    #[test]
    fn an_older_bundle_of_ours_is_not_taken_in_again() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.pem");
        fs::write(&own, "-----BEGIN CERTIFICATE-----\n(an earlier run)").unwrap();
        let text = bundle(&[own.clone().into_os_string()], &own, OURS);
        assert!(!text.contains("(an earlier run)"));
        assert!(text.ends_with(OURS));
    }

    #[test]
    fn files_that_are_missing_or_hold_no_roots_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let noise = folder.path().join("noise");
        fs::write(&noise, "(noise)").unwrap();
        let chosen = [noise.into_os_string(), "/nonexistent".into(), OsString::new()];
        let text = bundle(&chosen, Path::new("/own"), OURS);
        assert!(!text.contains("(noise)"));
        assert!(text.ends_with(OURS));
    }
}
