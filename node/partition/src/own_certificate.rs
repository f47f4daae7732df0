//! A certificate of the operator's own choice: the request for one, what is taken, where it lies.
//!
//! Chain and key lie in one sealed file, so that they are never of two generations.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use casemate_engine_soft::domain::RecordCipher;
use casemate_hsm::UnixSeconds;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
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
    /// Not sealed or not stored.
    #[error("it could not be stored: check the disk of the HSM's folder")]
    Store(#[source] io::Error),
    /// The seal.
    #[error("it could not be sealed")]
    Seal,
    /// The library.
    #[error("a key or a request could not be made")]
    Make(#[from] rcgen::Error),
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
    /// Addresses of the HSM that it does not name.
    pub(crate) not_named: Vec<String>,
}

/// A certificate that fits, not kept yet.
pub(crate) struct Brought {
    /// What it is used as.
    pub(crate) own: Own,
    kept: Kept,
}

/// Where own certificates are kept, and for which names.
pub(crate) struct OwnPlace<'a> {
    pub(crate) cipher: &'a RecordCipher,
    pub(crate) folder: &'a Path,
    /// Host names and addresses, lower case.
    pub(crate) names: &'a BTreeSet<String>,
}

impl OwnPlace<'_> {
    /// The one that is kept; whether it is still valid is for clients to judge.
    pub(crate) fn stored(&self) -> Option<Own> {
        let kept: Kept = serde_json::from_slice(&self.read(OWN_FILE, OWN_LABEL)?).ok()?;
        self.own(&kept.chain, &kept.key, None).ok()
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
    pub(crate) fn is_requested(&self) -> bool {
        self.read(REQUEST_FILE, REQUEST_LABEL).is_some()
    }

    /// The certificate of the request, checked.
    pub(crate) fn requested(&self, chain: &str, now: UnixSeconds) -> Result<Brought, OwnRefusal> {
        let key = self.read(REQUEST_FILE, REQUEST_LABEL).ok_or(OwnRefusal::NoRequest)?;
        let key = std::str::from_utf8(&key).map_err(|_| OwnRefusal::NoRequest)?;
        self.checked(chain, key, now).map_err(|refusal| match refusal {
            OwnRefusal::OtherKey(_) => {
                OwnRefusal::OtherKey("use the certificate of the last `casemate tls request`")
            }
            other => other,
        })
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
        Ok(Brought { own, kept: Kept { chain: chain.to_owned(), key: key.to_owned() } })
    }

    /// Keeps it, durably; a request that it came of has its answer.
    pub(crate) fn keep(&self, brought: &Brought) -> Result<(), OwnRefusal> {
        let bytes = serde_json::to_vec(&brought.kept).map_err(|_| OwnRefusal::Seal)?;
        self.write(OWN_FILE, OWN_LABEL, &Zeroizing::new(bytes))?;
        files::remove(&self.folder.join(REQUEST_FILE)).map_err(OwnRefusal::Store)
    }

    /// Forgets the certificate and the request.
    pub(crate) fn forget(&self) -> Result<(), OwnRefusal> {
        for file in [OWN_FILE, REQUEST_FILE] {
            files::remove(&self.folder.join(file)).map_err(OwnRefusal::Store)?;
        }
        Ok(())
    }

    /// Puts chain and key together if they fit; `now` if it must be valid.
    fn own(&self, chain: &str, key: &str, now: Option<UnixSeconds>) -> Result<Own, OwnRefusal> {
        let chain = parsed(chain)?;
        let leaf = chain.first().ok_or(OwnRefusal::Chain)?;
        let (_, facts) = X509Certificate::from_der(leaf).map_err(|_| OwnRefusal::Chain)?;
        if let Some(now) = now {
            check_use(&facts, now)?;
        }
        let not_named = check_names(&names_of(&facts), self.names)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| OwnRefusal::Key)?;
        let key = any_supported_type(&key).map_err(|_| OwnRefusal::Key)?;
        let key = CertifiedKey::new(chain.clone(), key);
        key.keys_match().map_err(|_| OwnRefusal::OtherKey("give the key that belongs to it"))?;
        match facts.public_key().parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() < RSA_BITS_MIN => Err(OwnRefusal::Key),
            _ => Ok(Own { key, not_named }),
        }
    }

    fn read(&self, file: &str, label: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = files::read(&self.folder.join(file), FILE_BYTES_MAX).ok().flatten()?;
        let opened = self.cipher.open(label, &sealed).ok()?;
        Some(Zeroizing::new(opened.expose().to_vec()))
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

/// All host names must be covered; the addresses that are not are answered.
fn check_names(
    named: &BTreeSet<String>,
    names: &BTreeSet<String>,
) -> Result<Vec<String>, OwnRefusal> {
    let mut not_named = Vec::new();
    for name in names {
        if named.contains(name) {
            continue;
        }
        let above = name.split_once('.').map(|(_, above)| format!("*.{above}"));
        match name.parse::<IpAddr>() {
            Ok(_) => not_named.push(name.clone()),
            Err(_) if above.is_some_and(|above| named.contains(&above)) => {}
            Err(_) => return Err(OwnRefusal::Name(name.clone())),
        }
    }
    Ok(not_named)
}

#[cfg(test)]
mod tests;
