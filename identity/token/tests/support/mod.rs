//! An issuer made of a key and a map of documents, and tokens signed by it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_token::{FetchError, KeyFetch, TrustSettings, TrustedIssuer, Validator};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const ISSUER: &str = "https://issuer.example/t/v2.0";
pub(crate) const METADATA_URL: &str =
    "https://issuer.example/t/v2.0/.well-known/openid-configuration";
pub(crate) const KEYS_URL: &str = "https://issuer.example/t/keys";
pub(crate) const AUDIENCE: &str = "https://managedhsm.example:8443";
pub(crate) const TENANT: Uuid = Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888);
pub(crate) const OBJECT: Uuid = Uuid::from_u128(0xaaaa_bbbb_cccc_dddd_eeee_ffff_0000_1111);

/// The documents that can be fetched, and how often one was.
#[derive(Default)]
pub(crate) struct Documents {
    bodies: Mutex<HashMap<String, Vec<u8>>>,
    asked: AtomicUsize,
}

impl Documents {
    pub(crate) fn put(&self, url: &str, body: Vec<u8>) {
        self.bodies.lock().expect("no test panics while it holds this").insert(url.into(), body);
    }

    pub(crate) fn remove(&self, url: &str) {
        self.bodies.lock().expect("no test panics while it holds this").remove(url);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl KeyFetch for Documents {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        trust_anchors_pem: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        assert_eq!(trust_anchors_pem, "the anchors", "the configured anchors are handed through");
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            // Gives way once, so that callers who are refused entry would be seen.
            tokio::task::yield_now().await;
            let bodies = self.bodies.lock().expect("no test panics while it holds this");
            bodies.get(url).cloned().ok_or(FetchError::Unreachable)
        })
    }
}

/// A private key with the `kid` under which it is published.
pub(crate) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

/// RSA keys take long to make: the tests of one program share theirs.
pub(crate) fn rsa(number: usize) -> &'static Signer {
    static KEYS: [OnceLock<Signer>; 2] = [OnceLock::new(), OnceLock::new()];
    KEYS[number].get_or_init(|| {
        Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("the library makes keys"))
    })
}

pub(crate) fn p256() -> &'static Signer {
    static KEY: OnceLock<Signer> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Signer::P256(key.expect("the library makes keys"))
    })
}

pub(crate) fn p384() -> &'static Signer {
    static KEY: OnceLock<Signer> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
        Signer::P384(key.expect("the library makes keys"))
    })
}

impl Signer {
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                // RSAPublicKey of a 2048-bit key and e = 65537: the modulus is at a fixed place.
                let der = key.public_key().as_ref();
                assert_eq!((der.len(), &der[265..]), (270, &[2, 3, 1, 0, 1][..]));
                let modulus = b64(&der[9..265]);
                json!({ "kty": "RSA", "use": "sig", "kid": kid, "e": "AQAB", "n": modulus })
            }
            Self::P256(key) => ec_jwk("P-256", kid, key.public_key().as_ref()),
            Self::P384(key) => ec_jwk("P-384", kid, key.public_key().as_ref()),
        }
    }

    /// Signs as `alg` says, or with a nonsense signature for algorithms that no key has.
    pub(crate) fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa_padding: &'static dyn RsaEncoding = match alg {
            "RS384" => &RSA_PKCS1_SHA384,
            "RS512" => &RSA_PKCS1_SHA512,
            "PS256" => &RSA_PSS_SHA256,
            _ => &RSA_PKCS1_SHA256,
        };
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(rsa_padding, &random, message, &mut signature).expect("RSA signs");
                signature
            }
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message).expect("EC signs").as_ref().to_vec()
            }
        }
    }
}

fn ec_jwk(crv: &str, kid: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({ "kty": "EC", "kid": kid, "crv": crv, "x": b64(x), "y": b64(y) })
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of a good token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "tid": TENANT, "oid": OBJECT, "sub": "subject",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 3600,
        "appid": "app", "upn": "u@example", "groups": [Uuid::from_u128(5)],
    })
}

/// A token of these claims.
pub(crate) fn token(signer: &Signer, alg: &str, kid: &str, claims: &Value) -> String {
    raw_token(signer, &json!({ "alg": alg, "kid": kid, "typ": "JWT" }).to_string(), claims)
}

/// A token with this header.
pub(crate) fn raw_token(signer: &Signer, header: &str, claims: &Value) -> String {
    let alg: Value = serde_json::from_str(header).unwrap_or_default();
    let signed = format!("{}.{}", b64(header), b64(claims.to_string()));
    let signature = signer.sign(alg["alg"].as_str().unwrap_or_default(), signed.as_bytes());
    format!("{signed}.{}", b64(signature))
}

pub(crate) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(crate) fn settings() -> TrustSettings {
    TrustSettings {
        tenant: TENANT,
        issuers: vec![TrustedIssuer {
            issuer: ISSUER.to_owned(),
            metadata_url: METADATA_URL.to_owned(),
            trust_anchors_pem: "the anchors".to_owned(),
            directory: true,
        }],
        audiences: vec![AUDIENCE.to_owned(), "https://managedhsm.azure.net/".to_owned()],
    }
}

/// A validator and an issuer that publishes the first RSA key as `r`, P-256 as `e`, P-384 as `f`.
pub(crate) fn world() -> (Arc<Documents>, Validator) {
    let documents = Arc::new(Documents::default());
    let metadata = json!({ "issuer": ISSUER, "jwks_uri": KEYS_URL });
    documents.put(METADATA_URL, metadata.to_string().into_bytes());
    let keys = [rsa(0).jwk("r"), p256().jwk("e"), p384().jwk("f")];
    documents.put(KEYS_URL, key_set(&keys));
    let validator = Validator::new(settings(), Arc::<Documents>::clone(&documents));
    (documents, validator)
}
