//! Says whose signature is to be trusted: the verifier keys of an HSM's audit log.

use std::path::Path;

use casemate_audit::{Certificate, Reader};

use crate::say::say;

/// Prints the keys from the certificate in the log's folder. Whoever keeps them outside this
/// machine can tell this log from any other.
pub(crate) fn announce(hsm_folder: &Path) {
    let reader = Reader::new(&hsm_folder.join("audit"));
    let certificate = reader.certificate().ok().flatten();
    match certificate.map(|note| Certificate::read(&note)) {
        Some(Ok(certificate)) => {
            say(format_args!("audit key {}", certificate.log));
            say(format_args!("identity key {}", certificate.identity));
        }
        Some(Err(error)) => say(format_args!("the audit log's certificate does not hold: {error}")),
        None => say(format_args!("the audit log's certificate cannot be read")),
    }
}
