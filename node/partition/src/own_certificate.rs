//! A certificate of the operator's own choice: the request for one, what is taken, where it lies.
//!
//! Chain and key lie in one sealed file, so that they are never of two generations.
//!
//! Invariant: a file that is there and cannot be used is an error, and never the same as none: who
//! reads it must not go on to another certificate.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use casemate_engine_soft::domain::RecordCipher;
use casemate_hsm::UnixSeconds;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::certificate::names_of;
use crate::files;

const OWN_FILE: &str = "tls-own.sealed";
const REQUEST_FILE: &str = "tls-request.sealed";
const OWN_LABEL: &[u8] = b"casemate own tls v1";
const REQUEST_LABEL: &[u8] = b"casemate tls request v1";
/// Largest of these files, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest chain, in bytes of PEM.
const CHAIN_BYTES_MAX: usize = 24 * 1024;
/// Most certificates of a chain.
const CHAIN_MAX: usize = 8;
/// Longest key, in bytes of PEM.
const KEY_BYTES_MAX: u64 = 16 * 1024;
/// Shortest RSA key, in bits.
const RSA_BITS_MIN: usize = 2048;

/// Why a certificate is not taken, or not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnRefusal {
    /// Too much, or none.
    #[error(
        "the chain must be PEM, at most {CHAIN_MAX} certificates and {CHAIN_BYTES_MAX} bytes, the \
         HSM's own first"
    )]
    Chain,
    /// Out of order.
    #[error(
        "certificate {0} of the chain is not that of the signer of the one before it; put them in \
         order, the HSM's own first"
    )]
    Order(usize),
    /// Of an authority.
    #[error("the first certificate is that of an authority; put the HSM's own first")]
    Authority,
    /// For something else.
    #[error("the certificate is not for TLS servers; ask for the extended key usage serverAuth")]
    Usage,
    /// Not now.
    #[error("the certificate is valid from {from} to {until} (Unix seconds), and now it is {now}")]
    NotNow {
        /// From when on.
        from: i64,
        /// Until when.
        until: i64,
        /// Now.
        now: i64,
    },
    /// Without a name that clients use.
    #[error("the certificate does not name {0}; ask for all names of the request")]
    Name(String),
    /// No key.
    #[error(
        "the key must be one PEM key: ECDSA P-256 or P-384, Ed25519, or RSA of {RSA_BITS_MIN} bits \
         or more, not encrypted"
    )]
    Key,
    /// Another key.
    #[error("the certificate is for another key; {0}")]
    OtherKey(&'static str),
    /// No request.
    #[error("no certificate was asked for; run `casemate tls request` first")]
    NoRequest,
    /// What is kept cannot be used.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// Not sealed or not stored.
    #[error("it could not be stored: check the disk of the HSM's folder")]
    Store(#[source] io::Error),
    /// What is not needed any more stays.
    #[error("the key of the request could not be removed: check the disk of the HSM's folder")]
    Remove(#[source] io::Error),
    /// The seal.
    #[error("it could not be sealed")]
    Seal,
    /// The library.
    #[error("a key or a request could not be made")]
    Make(#[from] rcgen::Error),
}

/// Why what is kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredError {
    /// The disk, or who may read there.
    #[error("{file} of the HSM's folder cannot be read: check the disk and the file's owner")]
    Read {
        /// Which.
        file: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Damaged, or not this HSM's.
    #[error(
        "{0} of the HSM's folder does not open under its seal: it is damaged or another HSM's; \
         bring the file back from where it was good"
    )]
    Seal(&'static str),
    /// Of another form.
    #[error("{0} of the HSM's folder is not of the form that this version of Casemate reads")]
    Form(&'static str),
    /// It opens, and holds no certificate with its key.
    #[error("{file} of the HSM's folder holds no certificate that can be used")]
    Unfit {
        /// Which.
        file: &'static str,
        /// Why.
        #[source]
        cause: Box<OwnRefusal>,
    },
}

/// A chain and its key, as they are kept.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
struct Kept {
    chain: String,
    key: String,
}

/// A certificate that is used, and what is worth saying about it.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) key: CertifiedKey,
    /// Names and addresses of the HSM that it is not for. Of one that is taken, addresses alone;
    /// the names of an HSM can change afterwards.
    pub(crate) not_named: Vec<String>,
}

/// A certificate that fits, not kept yet.
pub(crate) struct Brought {
    /// What it is used as.
    pub(crate) own: Own,
    kept: Kept,
    /// Whether it answers the request that is waited for.
    is_requested: bool,
}

/// Where own certificates are kept, and for which names.
pub(crate) struct OwnPlace<'a> {
    pub(crate) cipher: &'a RecordCipher,
    pub(crate) folder: &'a Path,
    /// Host names and addresses, lower case.
    pub(crate) names: &'a BTreeSet<String>,
}

impl OwnPlace<'_> {
    /// The one that is kept. Whether it is still valid, and for the right names, is for clients to
    /// judge: it is the HSM's as long as it is there.
    pub(crate) fn stored(&self) -> Result<Option<Own>, StoredError> {
        let Some(bytes) = self.read(OWN_FILE, OWN_LABEL)? else { return Ok(None) };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| StoredError::Form(OWN_FILE))?;
        let own = self.own(&kept.chain, &kept.key, None);
        let unfit = |cause| StoredError::Unfit { file: OWN_FILE, cause: Box::new(cause) };
        own.map(Some).map_err(unfit)
    }

    /// Makes a key, keeps it, and says the request for its certificate, PEM. One that was made
    /// before is forgotten.
    pub(crate) fn request(&self) -> Result<String, OwnRefusal> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names: Vec<String> = self.names.iter().cloned().collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key)?.pem()?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        self.write(REQUEST_FILE, REQUEST_LABEL, key_pem.as_bytes())?;
        Ok(request)
    }

    /// Whether a certificate is waited for.
    pub(crate) fn is_requested(&self) -> Result<bool, StoredError> {
        self.read(REQUEST_FILE, REQUEST_LABEL).map(|key| key.is_some())
    }

    /// The certificate of the request, checked.
    pub(crate) fn requested(&self, chain: &str, now: UnixSeconds) -> Result<Brought, OwnRefusal> {
        let key = self.read(REQUEST_FILE, REQUEST_LABEL)?.ok_or(OwnRefusal::NoRequest)?;
        let key = std::str::from_utf8(&key).map_err(|_| StoredError::Form(REQUEST_FILE))?;
        let brought = self.checked(chain, key, now).map_err(|refusal| match refusal {
            OwnRefusal::OtherKey(_) => {
                OwnRefusal::OtherKey("use the certificate of the last `casemate tls request`")
            }
            other => other,
        })?;
        Ok(Brought { is_requested: true, ..brought })
    }

    /// A certificate whose key comes along, checked.
    pub(crate) fn brought(
        &self,
        chain: &str,
        key: OwnedFd,
        now: UnixSeconds,
    ) -> Result<Brought, OwnRefusal> {
        let pem = files::read_open(File::from(key), KEY_BYTES_MAX).map_err(|_| OwnRefusal::Key)?;
        let pem = Zeroizing::new(pem);
        let key = std::str::from_utf8(&pem).map_err(|_| OwnRefusal::Key)?;
        self.checked(chain, key, now)
    }

    fn checked(&self, chain: &str, key: &str, now: UnixSeconds) -> Result<Brought, OwnRefusal> {
        let own = self.own(chain, key, Some(now))?;
        let kept = Kept { chain: chain.to_owned(), key: key.to_owned() };
        Ok(Brought { own, kept, is_requested: false })
    }

    /// Keeps it, durably; the request that it came of has its answer, and any other goes on. An
    /// error means that it is not kept. If it is, what could not be done beside it is answered.
    pub(crate) fn keep(&self, brought: &Brought) -> Result<Option<OwnRefusal>, OwnRefusal> {
        let bytes = serde_json::to_vec(&brought.kept).map_err(|_| OwnRefusal::Seal)?;
        let bytes = Zeroizing::new(bytes);
        if let Err(error) = self.write(OWN_FILE, OWN_LABEL, &bytes) {
            // It may have its place all the same, and not be certain to outlive a power cut.
            let kept = self.read(OWN_FILE, OWN_LABEL).ok().flatten();
            return if kept.as_ref() == Some(&bytes) { Ok(Some(error)) } else { Err(error) };
        }
        Ok(if brought.is_requested { self.forget_request() } else { None })
    }

    /// Forgets the certificate and the request. An error means that the certificate is still kept.
    /// If it is not, what could not be done beside that is answered.
    pub(crate) fn forget(&self) -> Result<Option<OwnRefusal>, OwnRefusal> {
        let path = self.folder.join(OWN_FILE);
        let removed = files::remove(&path).map_err(OwnRefusal::Store);
        let is_gone =
            || path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        match removed {
            Err(error) if !is_gone() => Err(error),
            Err(error) => Ok(Some(error)),
            Ok(()) => Ok(self.forget_request()),
        }
    }

    fn forget_request(&self) -> Option<OwnRefusal> {
        files::remove(&self.folder.join(REQUEST_FILE)).err().map(OwnRefusal::Remove)
    }

    /// Puts chain and key together if they fit; `now` if it is new, and must be valid for the HSM.
    fn own(&self, chain: &str, key: &str, now: Option<UnixSeconds>) -> Result<Own, OwnRefusal> {
        let chain = parsed(chain)?;
        let leaf = chain.first().ok_or(OwnRefusal::Chain)?;
        let (_, facts) = X509Certificate::from_der(leaf).map_err(|_| OwnRefusal::Chain)?;
        let not_named = not_named(&names_of(&facts), self.names);
        if let Some(now) = now {
            check_use(&facts, now)?;
            check_names(&not_named)?;
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| OwnRefusal::Key)?;
        let key = any_supported_type(&key).map_err(|_| OwnRefusal::Key)?;
        // Many clients do not offer it, and would be refused.
        let is_p521 = key.choose_scheme(&[SignatureScheme::ECDSA_NISTP521_SHA512]).is_some();
        if is_p521 && now.is_some() {
            return Err(OwnRefusal::Key);
        }
        let key = CertifiedKey::new(chain.clone(), key);
        key.keys_match().map_err(|_| OwnRefusal::OtherKey("give the key that belongs to it"))?;
        match facts.public_key().parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() < RSA_BITS_MIN => Err(OwnRefusal::Key),
            _ => Ok(Own { key, not_named }),
        }
    }

    /// The content of a file; none if there is no such file.
    fn read(
        &self,
        file: &'static str,
        label: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoredError> {
        let sealed = files::read(&self.folder.join(file), FILE_BYTES_MAX);
        let sealed = sealed.map_err(|cause| StoredError::Read { file, cause })?;
        let Some(sealed) = sealed else { return Ok(None) };
        let opened = self.cipher.open(label, &sealed).map_err(|_| StoredError::Seal(file))?;
        Ok(Some(Zeroizing::new(opened.expose().to_vec())))
    }

    fn write(&self, file: &str, label: &[u8], bytes: &[u8]) -> Result<(), OwnRefusal> {
        let sealed = self.cipher.seal(label, bytes).map_err(|_| OwnRefusal::Seal)?;
        files::replace(&self.folder.join(file), &sealed).map_err(OwnRefusal::Store)
    }
}

/// The certificates of a chain, each by the next one's name; clients check the signatures.
fn parsed(pem: &str) -> Result<Vec<CertificateDer<'static>>, OwnRefusal> {
    if pem.len() > CHAIN_BYTES_MAX {
        return Err(OwnRefusal::Chain);
    }
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| OwnRefusal::Chain)?;
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        return Err(OwnRefusal::Chain);
    }
    let facts = chain.iter().map(|one| X509Certificate::from_der(one).map(|(_, facts)| facts));
    let facts = facts.collect::<Result<Vec<_>, _>>().map_err(|_| OwnRefusal::Chain)?;
    for (at, pair) in facts.windows(2).enumerate() {
        let [signed, signer] = pair else { continue };
        if signed.issuer() != signer.subject() {
            return Err(OwnRefusal::Order(at + 2));
        }
    }
    Ok(chain)
}

fn check_use(facts: &X509Certificate<'_>, now: UnixSeconds) -> Result<(), OwnRefusal> {
    if facts.is_ca() {
        return Err(OwnRefusal::Authority);
    }
    if let Ok(Some(usage)) = facts.extended_key_usage()
        && !(usage.value.server_auth || usage.value.any)
    {
        return Err(OwnRefusal::Usage);
    }
    let validity = facts.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    match (from..=until).contains(&now.0) {
        true => Ok(()),
        false => Err(OwnRefusal::NotNow { from, until, now: now.0 }),
    }
}

/// The names and addresses that it is not for.
fn not_named(named: &BTreeSet<String>, names: &BTreeSet<String>) -> Vec<String> {
    let is_named = |name: &String| {
        let above = || name.split_once('.').map(|(_, above)| format!("*.{above}"));
        let is_address = name.parse::<IpAddr>().is_ok();
        named.contains(name) || !is_address && above().is_some_and(|above| named.contains(&above))
    };
    names.iter().filter(|name| !is_named(name)).cloned().collect()
}

/// All host names must be covered; addresses need not.
fn check_names(not_named: &[String]) -> Result<(), OwnRefusal> {
    match not_named.iter().find(|name| name.parse::<IpAddr>().is_err()) {
        Some(name) => Err(OwnRefusal::Name(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
