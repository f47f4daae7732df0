//! The primitives of the officers' quorum, over AWS-LC: what `casemate-quorum` asks for.
//!
//! Thin: which key may do what, and what a failure means, is decided there.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey, PublicKeyComponents,
};
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256};
use casemate_engine_port::{OctSize, Secret};
use casemate_quorum::{Hidden, Primitives, PrivateKey, RsaPublic};
use zeroize::Zeroizing;

use crate::oct::cbc;
use crate::{random, sha256};

/// The primitives, over AWS-LC.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftPrimitives;

impl Primitives for SoftPrimitives {
    fn random(&self, out: &mut [u8]) {
        random(out);
    }

    fn sha1(&self, bytes: &[u8]) -> [u8; 20] {
        let mut out = [0; 20];
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        out.copy_from_slice(digest.as_ref());
        out
    }

    fn sha256(&self, bytes: &[u8]) -> [u8; 32] {
        sha256(bytes)
    }

    fn hmac_sha512(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 64] {
        let key = hmac::Key::new(hmac::HMAC_SHA512, key);
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 64];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    fn aes256_cbc_encrypt(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let key = Secret::new(key.to_vec());
        cbc::encrypt_padded(OctSize::B256, &key, *iv, plaintext).ok()
    }

    fn aes256_cbc_decrypt(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        ciphertext: &[u8],
    ) -> Option<Hidden> {
        let key = Secret::new(key.to_vec());
        let opened = cbc::decrypt_padded(OctSize::B256, &key, *iv, ciphertext)?;
        Some(Hidden::copied(opened.expose()))
    }

    fn rsa_oaep256_encrypt(&self, key: &RsaPublic, plaintext: &Hidden) -> Option<Vec<u8>> {
        let components = PublicKeyComponents { n: key.n.clone(), e: key.e.clone() };
        let key: PublicEncryptingKey = components.try_into().ok()?;
        let key = OaepPublicEncryptingKey::new(key).ok()?;
        let mut out = vec![0; key.ciphertext_size()];
        let encrypted =
            key.encrypt(&OAEP_SHA256_MGF1SHA256, plaintext.expose(), &mut out, None).ok()?;
        Some(encrypted.to_vec())
    }

    fn rsa_pss256_verify(&self, key: &RsaPublic, message: &[u8], signature: &[u8]) -> bool {
        let key = PublicKeyComponents { n: &key.n, e: &key.e };
        key.verify(&RSA_PSS_2048_8192_SHA256, message, signature).is_ok()
    }

    fn rsa_private_key(&self, pkcs8: &Hidden) -> Option<Box<dyn PrivateKey>> {
        let pair = KeyPair::from_pkcs8(pkcs8.expose()).ok()?;
        Some(Box::new(SoftKey(pair)))
    }
}

struct SoftKey(KeyPair);

impl PrivateKey for SoftKey {
    fn public(&self) -> RsaPublic {
        let public = self.0.public_key();
        RsaPublic {
            n: public.modulus().big_endian_without_leading_zero().to_vec(),
            e: public.exponent().big_endian_without_leading_zero().to_vec(),
        }
    }

    fn oaep256_decrypt(&self, ciphertext: &[u8]) -> Option<Hidden> {
        let der = self.0.as_der().ok()?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).ok()?;
        let mut out = Zeroizing::new(vec![0; key.key_size_bytes()]);
        let key = OaepPrivateDecryptingKey::new(key).ok()?;
        let opened = key.decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut out, None).ok()?;
        Some(Hidden::copied(opened))
    }

    fn pss256_sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let source = aws_lc_rs::rand::SystemRandom::new();
        self.0.sign(&RSA_PSS_SHA256, &source, message, &mut signature).ok()?;
        Some(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rsa::KeySize;

    fn key() -> Box<dyn PrivateKey> {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 = Hidden::copied(pair.as_der().unwrap().as_ref());
        SoftPrimitives.rsa_private_key(&pkcs8).unwrap()
    }

    #[test]
    fn what_is_encrypted_to_a_key_opens_with_it_alone() {
        let (key, other) = (key(), key());
        let text = Hidden::copied(&[7; 64]);
        let sealed = SoftPrimitives.rsa_oaep256_encrypt(&key.public(), &text).unwrap();
        assert_eq!(key.oaep256_decrypt(&sealed), Some(text));
        assert_eq!(other.oaep256_decrypt(&sealed), None);
        assert_eq!(key.oaep256_decrypt(&sealed[1..]), None);
        let long = Hidden::copied(&[7; 191]);
        assert_eq!(SoftPrimitives.rsa_oaep256_encrypt(&key.public(), &long), None);
        let broken = RsaPublic { n: vec![1], e: vec![3] };
        assert_eq!(SoftPrimitives.rsa_oaep256_encrypt(&broken, &Hidden::copied(&[1])), None);
    }

    #[test]
    fn a_signature_is_over_its_message_by_its_key() {
        let (key, other) = (key(), key());
        let signature = key.pss256_sign(b"message").unwrap();
        let verify = |key: &dyn PrivateKey, message: &[u8], signature: &[u8]| {
            SoftPrimitives.rsa_pss256_verify(&key.public(), message, signature)
        };
        assert!(verify(&*key, b"message", &signature));
        assert!(!verify(&*key, b"massage", &signature));
        assert!(!verify(&*other, b"message", &signature));
        assert!(!verify(&*key, b"message", &signature[1..]));
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        assert!(SoftPrimitives.rsa_private_key(&Hidden::copied(b"")).is_none());
        assert!(SoftPrimitives.rsa_private_key(&Hidden::copied(&[0x30; 100])).is_none());
    }

    #[test]
    fn digests_are_those_of_fips_180_and_rfc_4231() {
        assert_eq!(SoftPrimitives.sha1(b"abc")[..4], [0xa9, 0x99, 0x3e, 0x36]);
        let mac = SoftPrimitives.hmac_sha512(b"Jefe", &[b"what do ya ", b"want for nothing?"]);
        assert_eq!(mac[..4], [0x16, 0x4b, 0x7a, 0x7b]);
    }
}
