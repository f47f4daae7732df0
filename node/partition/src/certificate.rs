//! The HSM's TLS key and certificate: made here, signed through the agent, kept in its folder.
//!
//! `tls.pem` holds the chain, `tls.key` the private key sealed by the record cipher: somebody who
//! reads the disk cannot pose as this HSM. It is renewed when the names change and when two thirds
//! of its life are over.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use casemate_engine_soft::domain::RecordCipher;
use casemate_hsm::UnixSeconds;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::agent::{Agent, AskError};
use crate::files;

const CHAIN_FILE: &str = "tls.pem";
const KEY_FILE: &str = "tls.key";
/// Largest of these files, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What the sealed key is bound to; it opens under no other HSM's domain secret anyway.
const KEY_LABEL: &[u8] = b"casemate tls key v1";

/// A certificate with its key, ready for TLS.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) key: CertifiedKey,
    /// When it shall be renewed.
    pub(crate) renew_at: UnixSeconds,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The agent did not have it signed.
    #[error("the HSM's certificate was not signed")]
    Ask(#[from] AskError),
    /// The library refused.
    #[error("the HSM's key or certificate request could not be made")]
    Make(#[from] rcgen::Error),
    /// The key could not be sealed.
    #[error("the HSM's TLS key could not be sealed")]
    Seal,
    /// The files.
    #[error("the HSM's certificate could not be stored: check the disk")]
    Io(#[source] io::Error),
    /// What was signed is no certificate for this key and these names.
    #[error("what the agent's authority signed is no certificate for this HSM: {0}")]
    NotOurs(&'static str),
    /// TLS cannot use it.
    #[error("TLS cannot use the HSM's key")]
    Tls(#[source] rustls::Error),
}

/// What a certificate is made with.
pub(crate) struct Maker<'a> {
    pub(crate) agent: &'a Agent,
    pub(crate) cipher: &'a RecordCipher,
    pub(crate) folder: &'a Path,
    /// Host names and addresses, lower case.
    pub(crate) names: &'a BTreeSet<String>,
}

impl Maker<'_> {
    /// The stored certificate if it serves, else a new one.
    pub(crate) async fn stored_or_new(
        &self,
        now: UnixSeconds,
    ) -> Result<Certified, CertificateError> {
        match self.stored() {
            Some(stored) if now < stored.renew_at => Ok(stored),
            Some(_) | None => self.new_one().await,
        }
    }

    /// A new key with a new certificate, stored.
    pub(crate) async fn new_one(&self) -> Result<Certified, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let names: Vec<String> = self.names.iter().cloned().collect();
        let request = CertificateParams::new(names.clone())?.serialize_request(&key)?.pem()?;
        let chain_pem = self.agent.sign(request, names).await?;
        let key_der = Zeroizing::new(key.serialize_der());
        let certified = certified(&chain_pem, &key_der, self.names)?;
        let sealed = self.cipher.seal(KEY_LABEL, &key_der).map_err(|_| CertificateError::Seal)?;
        // The key first: a chain with another key is not used, so a crash between costs a renewal.
        files::replace(&self.folder.join(KEY_FILE), &sealed).map_err(CertificateError::Io)?;
        files::replace(&self.folder.join(CHAIN_FILE), chain_pem.as_bytes())
            .map_err(CertificateError::Io)?;
        Ok(certified)
    }

    /// What is stored, if it is whole and for these names.
    fn stored(&self) -> Option<Certified> {
        let read = |name| files::read(&self.folder.join(name), FILE_BYTES_MAX).ok().flatten();
        let chain = String::from_utf8(read(CHAIN_FILE)?).ok()?;
        let key = self.cipher.open(KEY_LABEL, &read(KEY_FILE)?).ok()?;
        certified(&chain, key.expose(), self.names).ok()
    }
}

/// Puts chain and key together, if they belong together and are for exactly these names.
fn certified(
    chain_pem: &str,
    key_der: &[u8],
    names: &BTreeSet<String>,
) -> Result<Certified, CertificateError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::NotOurs("it is no PEM"))?;
    let leaf = chain.first().ok_or(CertificateError::NotOurs("it is empty"))?;
    let (_, facts) =
        X509Certificate::from_der(leaf).map_err(|_| CertificateError::NotOurs("it is no X.509"))?;
    if &names_of(&facts) != names {
        return Err(CertificateError::NotOurs("it is for other names"));
    }
    let (from, until) =
        (facts.validity().not_before.timestamp(), facts.validity().not_after.timestamp());
    let renew_at = UnixSeconds(from.saturating_add(until.saturating_sub(from) / 3 * 2));
    let key_der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key_der));
    let key = CertifiedKey::new(chain, any_ecdsa_type(&key_der).map_err(CertificateError::Tls)?);
    key.keys_match().map_err(|_| CertificateError::NotOurs("it is for another key"))?;
    Ok(Certified { key, renew_at })
}

/// Host names and addresses that a certificate is for, lower case.
pub(crate) fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
