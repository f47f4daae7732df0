//! The certificate of one share holder, as clients send it: a JSON Web Key with the certificate
//! inside.
//!
//! A certificate only names a key here. Its issuer, its signature and its dates are not looked at:
//! officers make their own, and a share must open years later. What is said about the key beside
//! the certificate has to agree with it, so that nobody encrypts to another key than the one that
//! was looked at.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::{Primitives, RsaPublic, base64url, from_base64url};

/// Sizes of RSA keys that hold a share, in bits.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The largest certificate, in bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// The largest public exponent, in bytes: what the library takes.
const EXPONENT_BYTES_MAX: usize = 4;
/// How a share is encrypted to its holder.
const ALGORITHM: &str = "RSA-OAEP-256";

/// The standard alphabet, with or without padding.
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A certificate as it is sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Jwk {
    /// The kind of key.
    pub kty: String,
    /// What a share is to be encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// What the key is for; not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// The modulus, base64url.
    pub n: String,
    /// The exponent, base64url.
    pub e: String,
    /// The certificate: standard base64 of its DER, and no chain.
    pub x5c: Vec<String>,
    /// SHA-1 of the DER, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x5t: Option<String>,
    /// SHA-256 of the DER, base64url: the name of the share's holder.
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: String,
}

/// Why a certificate holds no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Another kind of key.
    #[error("its key is not RSA; make an RSA key of {} bits or more", RSA_BITS.start())]
    NotRsa,
    /// Another algorithm.
    #[error("its `alg` is not {ALGORITHM}")]
    Algorithm,
    /// None, or a chain.
    #[error("its `x5c` must hold the one certificate, without a chain")]
    NotOne,
    /// Not base64, not DER, or more than one certificate.
    #[error("its `x5c` is not one X.509 certificate in base64 of up to 16384 bytes")]
    Malformed,
    /// Too small or too large a key.
    #[error(
        "its RSA key has {bits} bits; a share holder's has {} to {}",
        RSA_BITS.start(),
        RSA_BITS.end()
    )]
    Size {
        /// Its size.
        bits: usize,
    },
    /// An exponent that no sound key has.
    #[error("its RSA key has an exponent that is even, 1 or longer than 4 bytes")]
    Exponent,
    /// Number and certificate differ.
    #[error("its `n` and `e` are not those of the certificate in `x5c`")]
    OtherKey,
    /// Thumbprint and certificate differ.
    #[error("its `{0}` is not the thumbprint of the certificate in `x5c`")]
    OtherThumbprint(&'static str),
}

/// The holder of one share: a certificate that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    der: Vec<u8>,
    public: RsaPublic,
    bits: usize,
    thumbprint: String,
    subject: String,
}

impl Holder {
    /// The holder that a client names.
    pub fn from_jwk(jwk: &Jwk, primitives: &dyn Primitives) -> Result<Self, CertificateError> {
        if jwk.kty != "RSA" {
            return Err(CertificateError::NotRsa);
        }
        if jwk.alg.as_ref().is_some_and(|alg| alg != ALGORITHM) {
            return Err(CertificateError::Algorithm);
        }
        let [text] = jwk.x5c.as_slice() else { return Err(CertificateError::NotOne) };
        if text.len() > CERTIFICATE_BYTES_MAX * 2 {
            return Err(CertificateError::Malformed);
        }
        let der = STANDARD.decode(text).map_err(|_| CertificateError::Malformed)?;
        let holder = Self::from_der(&der, primitives)?;
        let number = |text: &str| from_base64url(text).map(|bytes| stripped(&bytes).to_vec());
        let (n, e) = (number(&jwk.n), number(&jwk.e));
        if n.as_ref() != Some(&holder.public.n) || e.as_ref() != Some(&holder.public.e) {
            return Err(CertificateError::OtherKey);
        }
        if jwk.x5t_s256 != holder.thumbprint {
            return Err(CertificateError::OtherThumbprint("x5t#S256"));
        }
        let sha1 = base64url(&primitives.sha1(&der));
        if jwk.x5t.as_ref().is_some_and(|x5t| *x5t != sha1) {
            return Err(CertificateError::OtherThumbprint("x5t"));
        }
        Ok(holder)
    }

    /// The holder of a certificate in DER.
    pub fn from_der(der: &[u8], primitives: &dyn Primitives) -> Result<Self, CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::Malformed);
        }
        let malformed = |_| CertificateError::Malformed;
        let (rest, certificate) = X509Certificate::from_der(der).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let parsed = certificate.public_key().parsed().map_err(|_| CertificateError::NotRsa)?;
        let PublicKey::RSA(key) = parsed else { return Err(CertificateError::NotRsa) };
        let public =
            RsaPublic { n: stripped(key.modulus).to_vec(), e: stripped(key.exponent).to_vec() };
        let bits = bits(&public.n);
        if !RSA_BITS.contains(&bits) {
            return Err(CertificateError::Size { bits });
        }
        let odd = public.e.last().is_some_and(|last| last % 2 == 1);
        if !odd || public.e == [1] || public.e.len() > EXPONENT_BYTES_MAX {
            return Err(CertificateError::Exponent);
        }
        Ok(Self {
            der: der.to_vec(),
            public,
            bits,
            thumbprint: base64url(&primitives.sha256(der)),
            subject: certificate.subject().to_string(),
        })
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key.
    pub fn public(&self) -> &RsaPublic {
        &self.public
    }

    /// The size of the key in bits.
    pub fn bits(&self) -> usize {
        self.bits
    }

    /// SHA-256 of the DER, base64url: the name under which the share is found.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whom the certificate says that it is of, for people.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// As clients send it.
    pub fn jwk(&self, primitives: &dyn Primitives) -> Jwk {
        Jwk {
            kty: "RSA".to_owned(),
            alg: Some(ALGORITHM.to_owned()),
            key_ops: Some(["verify", "encrypt", "wrapKey"].map(str::to_owned).to_vec()),
            n: base64url(&self.public.n),
            e: base64url(&self.public.e),
            x5c: vec![base64::engine::general_purpose::STANDARD.encode(&self.der)],
            x5t: Some(base64url(&primitives.sha1(&self.der))),
            x5t_s256: self.thumbprint.clone(),
        }
    }
}

/// A number without leading zeros.
fn stripped(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    let Some(first) = number.first() else { return 0 };
    let unused = usize::try_from(first.leading_zeros()).unwrap_or_default();
    number.len() * 8 - unused
}
