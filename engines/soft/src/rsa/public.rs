//! The public half of an RSA key: verification and encryption.

use std::sync::OnceLock;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
    Pkcs1PublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaParameters, RsaSignatureEncoding,
};
use casemate_engine_port::{CipherAlgorithm, EngineError, OperationError, RsaSize, SignAlgorithm};

use super::{filled, null};
use crate::public::{DIGEST_LENGTH, MISFIT};

/// A checked public key, parsed for encryption; for each signature scheme it is parsed when that
/// scheme is first used.
pub(crate) struct Public {
    size: RsaSize,
    components: PublicKeyComponents<Vec<u8>>,
    encrypting: PublicEncryptingKey,
    verifying: [OnceLock<ParsedPublicKey>; SCHEMES],
    raw: OnceLock<null::PublicKey>,
}

/// How many digest-signing schemes there are.
const SCHEMES: usize = 6;

/// One digest-signing scheme in the library's terms.
pub(super) struct Scheme {
    index: usize,
    pub(super) encoding: &'static RsaSignatureEncoding,
    parameters: &'static RsaParameters,
    digest: &'static digest::Algorithm,
}

impl Scheme {
    /// Takes a finished digest in; only its length can be wrong.
    pub(super) fn digest(&self, input: &[u8]) -> Result<Digest, OperationError> {
        Digest::import_less_safe(input, self.digest).map_err(|_| DIGEST_LENGTH)
    }
}

const fn of(
    index: usize,
    encoding: &'static RsaSignatureEncoding,
    parameters: &'static RsaParameters,
    digest: &'static digest::Algorithm,
) -> Scheme {
    Scheme { index, encoding, parameters, digest }
}

static TABLE: [Scheme; SCHEMES] = [
    of(0, &RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256, &digest::SHA256),
    of(1, &RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384, &digest::SHA384),
    of(2, &RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512, &digest::SHA512),
    of(3, &RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256, &digest::SHA256),
    of(4, &RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384, &digest::SHA384),
    of(5, &RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512, &digest::SHA512),
];

/// The scheme of a digest-signing algorithm.
pub(super) fn scheme(algorithm: SignAlgorithm) -> Result<&'static Scheme, OperationError> {
    match algorithm {
        SignAlgorithm::Rs256 => Ok(&TABLE[0]),
        SignAlgorithm::Rs384 => Ok(&TABLE[1]),
        SignAlgorithm::Rs512 => Ok(&TABLE[2]),
        SignAlgorithm::Ps256 => Ok(&TABLE[3]),
        SignAlgorithm::Ps384 => Ok(&TABLE[4]),
        SignAlgorithm::Ps512 => Ok(&TABLE[5]),
        _ => Err(MISFIT),
    }
}

impl Public {
    /// Reads modulus and exponent, which carry no leading zeros. The exponent is not held to
    /// 65537 here: that is a rule of import, and foreign signatures are judged with this too.
    pub(crate) fn from_part(size: RsaSize, n: &[u8], e: &[u8]) -> Result<Self, EngineError> {
        const BAD: EngineError = EngineError::BadKey("not an RSA public key of this size");
        if n.len() != size.bytes() || n[0] & 0x80 == 0 {
            return Err(BAD);
        }
        let components = PublicKeyComponents { n: n.to_vec(), e: e.to_vec() };
        let encrypting = components.clone().try_into().map_err(|_| BAD)?;
        Ok(Self {
            size,
            components,
            encrypting,
            verifying: [const { OnceLock::new() }; SCHEMES],
            raw: OnceLock::new(),
        })
    }

    pub(crate) fn verify(
        &self,
        algorithm: SignAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<bool, OperationError> {
        if algorithm == SignAlgorithm::RsNull {
            if input.len() > null::input_bytes_max(self.size) {
                return Err(null::TOO_LONG);
            }
            let key = filled(&self.raw, || null::PublicKey::new(&self.components))?;
            return Ok(key.verify(input, signature));
        }
        let scheme = scheme(algorithm)?;
        let digest = scheme.digest(input)?;
        let key = filled(&self.verifying[scheme.index], || {
            self.components
                .to_parsed_public_key(scheme.parameters)
                .map_err(|_| OperationError::Failed("RSA parsing"))
        })?;
        Ok(key.verify_digest_sig(&digest, signature).is_ok())
    }

    pub(crate) fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        match algorithm {
            CipherAlgorithm::RsaOaep256 => self.encrypt_oaep(&OAEP_SHA256_MGF1SHA256, plaintext),
            CipherAlgorithm::RsaOaep => self.encrypt_oaep(&OAEP_SHA1_MGF1SHA1, plaintext),
            CipherAlgorithm::Rsa15 => self.encrypt_pkcs1(plaintext),
            _ => Err(MISFIT),
        }
    }

    fn encrypt_oaep(
        &self,
        algorithm: &'static OaepAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, OperationError> {
        let key = OaepPublicEncryptingKey::new(self.encrypting.clone()).map_err(|_| FAILED)?;
        if plaintext.len() > key.max_plaintext_size(algorithm) {
            return Err(TOO_LONG);
        }
        let mut ciphertext = vec![0; self.size.bytes()];
        key.encrypt(algorithm, plaintext, &mut ciphertext, None).map_err(|_| FAILED)?;
        Ok(ciphertext)
    }

    fn encrypt_pkcs1(&self, plaintext: &[u8]) -> Result<Vec<u8>, OperationError> {
        let key = Pkcs1PublicEncryptingKey::new(self.encrypting.clone()).map_err(|_| FAILED)?;
        if plaintext.len() > key.max_plaintext_size() {
            return Err(TOO_LONG);
        }
        let mut ciphertext = vec![0; self.size.bytes()];
        key.encrypt(plaintext, &mut ciphertext).map_err(|_| FAILED)?;
        Ok(ciphertext)
    }
}

const FAILED: OperationError = OperationError::Failed("RSA encryption");
const TOO_LONG: OperationError =
    OperationError::BadInput("the value is too long for one RSA block with this algorithm");
