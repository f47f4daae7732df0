//! The development CA: made once, signs certificates for this agent and its HSM and nothing else.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use crate::folder::{Folder, FolderError};

/// The CA's certificate in the data folder.
pub(crate) const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";

const CA_DAYS: i64 = 3_650;
/// Made anew at each start; the longest that clients of today accept.
const LEAF_DAYS: i64 = 397;
/// Clocks of clients may be behind.
const BACKDATED: Duration = Duration::hours(1);

/// Why the CA did not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The library refused.
    #[error(
        "the development CA could not {action}; if ca.pem or ca.key is damaged, restore \
         both from a copy of the data folder, or use another --data-dir"
    )]
    Library {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        cause: rcgen::Error,
    },
    /// The HSM is there, and the CA that it trusts is not.
    #[error(
        "{path} is missing, but the HSM {hsm} and its clients trust the CA that it belongs to; \
         restore ca.pem and ca.key from a copy of the data folder, or start a new HSM with \
         another --data-dir",
        path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The HSM.
        hsm: String,
    },
    /// TLS could not be set up with its certificate.
    #[error("the agent's certificate cannot be used for TLS")]
    Tls(#[source] rustls::Error),
    /// What the CA wrote cannot be read back.
    #[error("a certificate of the development CA is no PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A name that is not the asker's.
    #[error("a certificate for {name} was asked for, which is no name of this HSM")]
    ForeignName {
        /// The name.
        name: String,
    },
    /// No name at all.
    #[error("a certificate without a name was asked for")]
    NoName,
}

/// The CA.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The folder's CA; made the first time, and never again once an HSM trusts it.
    pub(crate) fn open(folder: &Folder) -> Result<Self, AuthorityError> {
        let (pem, key_pem) = match (folder.read(CA_FILE)?, folder.read(CA_KEY_FILE)?) {
            (Some(pem), Some(key_pem)) => (pem, key_pem),
            (pem, _) => {
                if let Some(hsm) = folder.hsm()? {
                    let file = if pem.is_none() { CA_FILE } else { CA_KEY_FILE };
                    return Err(AuthorityError::Missing { path: folder.join(file), hsm });
                }
                let (pem, key_pem) = make()?;
                folder.write(CA_KEY_FILE, key_pem.as_bytes())?;
                folder.write(CA_FILE, pem.as_bytes())?;
                (pem, key_pem)
            }
        };
        let key = KeyPair::from_pem(&key_pem).map_err(library("read its key"))?;
        let issuer =
            Issuer::from_ca_cert_pem(&pem, key).map_err(library("read its certificate"))?;
        Ok(Self { pem, issuer })
    }

    /// The CA's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a partition's request if all its names are among `allowed`. Only its public key is
    /// taken from the request; everything else the CA decides.
    pub(crate) fn sign_request(
        &self,
        request_pem: &str,
        names: &[String],
        allowed: &HashSet<String>,
    ) -> Result<String, AuthorityError> {
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(library("read a certificate request"))?;
        let mut wanted: Vec<String> = Vec::new();
        for name in request.params.subject_alt_names.iter().map(text).chain(names.iter().cloned()) {
            if !allowed.contains(&name) {
                return Err(AuthorityError::ForeignName { name });
            }
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        if wanted.is_empty() {
            return Err(AuthorityError::NoName);
        }
        self.leaf(&wanted, &request.public_key)
    }

    /// TLS for the agent's own service: a fresh key, a certificate for these names.
    pub(crate) fn own_tls(&self, names: &[String]) -> Result<Arc<ServerConfig>, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(library("make a key"))?;
        let chain = CertificateDer::pem_slice_iter(self.leaf(names, &key)?.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(AuthorityError::Pem)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from(key))
            .map_err(AuthorityError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    fn leaf(&self, names: &[String], key: &impl PublicKeyData) -> Result<String, AuthorityError> {
        let mut params =
            CertificateParams::new(names.to_vec()).map_err(library("take these names"))?;
        let common = names.first().cloned().unwrap_or_default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid_for(&mut params, LEAF_DAYS);
        let leaf = params.signed_by(key, &self.issuer).map_err(library("sign a certificate"))?;
        Ok(format!("{}{}", leaf.pem(), self.pem))
    }
}

fn make() -> Result<(String, String), AuthorityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(library("make its key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Casemate development");
    // Several of them may be in one trust store: the name tells them apart.
    let name = format!("Casemate development CA {}", uuid::Uuid::new_v4().simple());
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_DAYS);
    let certificate = params.self_signed(&key).map_err(library("sign itself"))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(days);
}

/// A requested name as text; kinds that are no host become a text that is never allowed.
fn text(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => name.as_str().to_ascii_lowercase(),
        SanType::IpAddress(address) => IpAddr::to_string(address),
        other => format!("{other:?}"),
    }
}

fn library(action: &'static str) -> impl Fn(rcgen::Error) -> AuthorityError {
    move |cause| AuthorityError::Library { action, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::open(&parent.path().join("d")).unwrap();
        (parent, folder)
    }

    fn request(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = CertificateParams::new(names).unwrap().serialize_request(&key).unwrap();
        request.pem().unwrap()
    }

    fn allowed() -> HashSet<String> {
        ["dev.managedhsm.localhost", "127.0.0.1"].map(str::to_owned).into()
    }

    #[test]
    fn the_ca_is_made_once_and_signs_the_names_of_an_hsm() {
        let (_parent, folder) = folder();
        let first = Authority::open(&folder).unwrap();
        let again = Authority::open(&folder).unwrap();
        assert_eq!(first.pem(), again.pem());
        let csr = request(&["dev.managedhsm.localhost", "127.0.0.1"]);
        let chain = again.sign_request(&csr, &[], &allowed()).unwrap();
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(chain.ends_with(first.pem()));
    }

    #[test]
    fn a_ca_that_an_hsm_trusts_is_not_made_again() {
        for lost in [&[CA_KEY_FILE][..], &[CA_FILE], &[CA_FILE, CA_KEY_FILE]] {
            let (_parent, folder) = folder();
            Authority::open(&folder).unwrap();
            let hsm = folder.make("hsm/alpha").unwrap();
            std::fs::write(hsm.join("seal.bin"), "").unwrap();
            Authority::open(&folder).unwrap();
            let kept = |name| folder.read(name).unwrap();
            for name in lost {
                folder.remove(name).unwrap();
            }
            let before = (kept(CA_FILE), kept(CA_KEY_FILE));
            let error = Authority::open(&folder).err().unwrap();
            assert!(matches!(error, AuthorityError::Missing { .. }), "{lost:?}: {error}");
            let said = error.to_string();
            assert!(said.contains(lost[0]) && said.contains("restore"), "{lost:?}: {said}");
            assert_eq!((kept(CA_FILE), kept(CA_KEY_FILE)), before, "nothing is written");
            std::fs::remove_file(hsm.join("seal.bin")).unwrap();
            Authority::open(&folder).unwrap();
        }
    }

    #[test]
    fn other_names_are_refused_wherever_they_stand() {
        let (_parent, folder) = folder();
        let authority = Authority::open(&folder).unwrap();
        for names in [&["localhost"][..], &["127.0.0.1", "127.0.0.2"], &["*.managedhsm.localhost"]]
        {
            let refused = authority.sign_request(&request(names), &[], &allowed());
            assert!(matches!(refused, Err(AuthorityError::ForeignName { .. })), "{names:?}");
        }
        let csr = request(&["127.0.0.1"]);
        let refused = authority.sign_request(&csr, &["login.localhost".to_owned()], &allowed());
        assert!(matches!(refused, Err(AuthorityError::ForeignName { .. })));
        let refused = authority.sign_request(&request(&[]), &[], &allowed());
        assert!(matches!(refused, Err(AuthorityError::NoName)));
    }

    #[test]
    fn a_request_with_a_broken_signature_is_refused() {
        let (_parent, folder) = folder();
        let authority = Authority::open(&folder).unwrap();
        let names = |name: &str| request(&[name]);
        let (a, b) = (names("127.0.0.1"), names("127.0.0.1"));
        // The head of one request and the tail, with the signature, of another.
        let middle = a.len() / 2;
        let mixed = format!("{}{}", &a[..middle], &b[middle..]);
        for broken in [mixed.as_str(), "", "-----BEGIN CERTIFICATE REQUEST-----\n"] {
            let refused = authority.sign_request(broken, &[], &allowed());
            assert!(matches!(refused, Err(AuthorityError::Library { .. })));
        }
    }
}
