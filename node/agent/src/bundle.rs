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

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The bundle's text: the certificates of the chosen roots, or else the system's, then `ours`.
/// Files that are not there are left out, and so is `own`, the bundle of an earlier run.
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
    let bytes = fs::read(path).ok()?;
    Some(certificates(&String::from_utf8_lossy(&bytes))).filter(|found| !found.is_empty())
}

/// The whole certificates in a text and nothing else of it: a private key may stand beside them.
fn certificates(text: &str) -> String {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let mut found = String::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if line == BEGIN {
            block = Some(format!("{BEGIN}\n"));
        } else if line == END {
            if let Some(whole) = block.take() {
                found.extend([&whole, END, "\n"]);
            }
        } else if !line.bytes().all(is_base64) {
            block = None;
        } else if let Some(begun) = &mut block {
            begun.extend([line, "\n"]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";

    fn block(of: &str) -> String {
        format!("{BEGIN}\n{of}\n{END}\n")
    }

    #[test]
    fn nothing_but_whole_certificates_is_taken_from_a_chosen_file() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = folder.path().join("client.pem");
        let key = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";
        let proxy = format!("{BEGIN}\nSECRET\n{key}{END}\n");
        let one = [key, &block("one"), "# SECRET\n", key, &proxy].concat();
        // A comment in an old encoding, Windows line ends, and an end that never comes.
        let two = block("two").replace('\n', "\r\n");
        let mut bytes = [one.as_bytes(), b"# Ren\xe9\n", two.as_bytes()].concat();
        bytes.extend(format!("{BEGIN}\nSECRET\n").bytes());
        fs::write(&chosen, bytes).unwrap();
        let text = bundle(&[chosen.into_os_string()], Path::new("/own"), OURS);
        assert_eq!(text, [&block("one"), &block("two"), OURS].concat());
    }

    #[test]
    fn a_chosen_file_with_a_key_alone_is_no_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let chosen = folder.path().join("key.pem");
        let key = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";
        fs::write(&chosen, key).unwrap();
        let text = bundle(&[chosen.into_os_string()], Path::new("/own"), OURS);
        assert!(!text.contains("PRIVATE KEY") && !text.contains("SECRET"));
        assert!(text.ends_with(OURS));
    }

    #[test]
    fn chosen_roots_come_once_and_before_ours() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("theirs.pem");
        fs::write(&theirs, block("theirs")).unwrap();
        let chosen = [theirs.clone().into_os_string(), theirs.into_os_string()];
        let text = bundle(&chosen, Path::new("/own"), OURS);
        assert_eq!(text, format!("{}{OURS}", block("theirs")));
    }

    #[test]
    fn an_older_bundle_of_ours_is_not_taken_in_again() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own.pem");
        fs::write(&own, block("earlierRun")).unwrap();
        let text = bundle(&[own.clone().into_os_string()], &own, OURS);
        assert!(!text.contains("earlierRun"));
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
