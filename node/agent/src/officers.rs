//! The three officers of a development HSM: RSA keys and certificates under the data folder.
//!
//! In production each officer has a key of its own, on a machine of its own. Here all three lie in
//! one folder, so that a developer can try what officers do; mode 0600, as everything in it.

use std::io;
use std::thread;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::folder::{Folder, FolderError};

/// Where they lie in the data folder.
const FOLDER: &str = "officers";
/// How many there are.
const OFFICERS: usize = 3;
/// How many of them are needed.
const REQUIRED: usize = 2;

/// Why there are no officers.
#[derive(Debug, thiserror::Error)]
pub enum OfficersError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// No key or certificate.
    #[error("an officer's key or certificate could not be made; try again")]
    Make(#[from] rcgen::Error),
    /// A certificate that is none.
    #[error("{file} holds no certificate of an RSA key; restore it, or use another --data-dir")]
    Malformed {
        /// Which.
        file: String,
    },
    /// No threads.
    #[error("the system gives no threads; look at its limits (ulimit -a)")]
    Threads(#[source] io::Error),
}

/// Their certificates; made with their keys where they are not there.
pub(crate) fn certificates(folder: &Folder) -> Result<Vec<Vec<u8>>, OfficersError> {
    folder.make(FOLDER)?;
    let missing = |at: &usize| -> Result<bool, FolderError> {
        Ok(folder.read(&name(*at, "key"))?.is_none() || folder.read(&name(*at, "cer"))?.is_none())
    };
    let mut making = Vec::new();
    for at in 1..=OFFICERS {
        if missing(&at)? {
            let thread = thread::Builder::new().spawn(move || make(at));
            making.push((at, thread.map_err(OfficersError::Threads)?));
        }
    }
    for (at, thread) in making {
        // A thread that panicked said why.
        let made = thread.join().map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
        let (key, certificate) = made?;
        folder.write(&name(at, "key"), key.as_bytes())?;
        folder.write(&name(at, "cer"), certificate.as_bytes())?;
    }
    (1..=OFFICERS).map(|at| certificate(folder, &name(at, "cer"))).collect()
}

/// The body that asks for the security domain.
pub(crate) fn request(certificates: &[Vec<u8>]) -> Result<Value, OfficersError> {
    let jwks: Result<Vec<Value>, _> = certificates.iter().map(|der| jwk(der)).collect();
    Ok(json!({ "certificates": jwks?, "required": REQUIRED }))
}

fn name(at: usize, kind: &str) -> String {
    format!("{FOLDER}/officer-{at}.{kind}")
}

fn make(at: usize) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::new(Vec::new())?;
    let name = format!("Officer {at} of a development HSM");
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key)?.pem();
    Ok((key.serialize_pem(), certificate))
}

fn certificate(folder: &Folder, file: &str) -> Result<Vec<u8>, OfficersError> {
    let text = folder.read(file)?.unwrap_or_default();
    let der = CertificateDer::from_pem_slice(text.as_bytes());
    let der = der.map_err(|_| OfficersError::Malformed { file: file.to_owned() })?;
    Ok(der.to_vec())
}

/// A certificate as every client sends it.
fn jwk(der: &[u8]) -> Result<Value, OfficersError> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    use x509_parser::public_key::PublicKey;
    let malformed = || OfficersError::Malformed { file: format!("{FOLDER}/*.cer") };
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| malformed())?;
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
        return Err(malformed());
    };
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        URL_SAFE_NO_PAD.encode(bytes.get(zeros..).unwrap_or_default())
    };
    let thumbprint = digest::digest(&digest::SHA256, der);
    Ok(json!({
        "kty": "RSA",
        "alg": "RSA-OAEP-256",
        "key_ops": ["encrypt", "wrapKey"],
        "n": number(key.modulus),
        "e": number(key.exponent),
        "x5c": [STANDARD.encode(der)],
        "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint.as_ref()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn officers_are_made_once_and_their_keys_are_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        let made = certificates(&folder).unwrap();
        assert_eq!(made.len(), 3);
        assert_eq!(certificates(&folder).unwrap(), made, "not made again");
        for at in 1..=3 {
            let path = folder.join(&name(at, "key"));
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // One that is lost is made anew, and the others stay.
        folder.remove(&name(2, "key")).unwrap();
        let again = certificates(&folder).unwrap();
        assert_eq!((&again[0], &again[2]), (&made[0], &made[2]));
        assert_ne!(again[1], made[1]);
        let body = request(&again).unwrap();
        assert_eq!(body["required"], 2);
        assert_eq!(body["certificates"][0]["e"], "AQAB");
        folder.write(&name(1, "cer"), b"none").unwrap();
        assert!(matches!(certificates(&folder), Err(OfficersError::Malformed { .. })));
    }
}
