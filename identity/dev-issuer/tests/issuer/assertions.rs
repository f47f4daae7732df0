//! Apps that prove themselves by an assertion: signed with their certificate, or given by another
//! issuer.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use casemate_dev_issuer::{AppCreated, DevIssuer, NewApp};
use http::Response;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, date_time_ymd};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{BASE, HSM, Loopback, NOW, World, access_token, local, refused};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const SCOPE: &str = "https://managedhsm.localhost:8443/.default";
const EXCHANGE: &str = "api://AzureADTokenExchange/.default";

/// A certificate with its key.
struct Certified {
    pem: String,
    der: Vec<u8>,
    pkcs8: Vec<u8>,
    rsa: bool,
}

impl Certified {
    fn new(rsa: bool, last_year: i32) -> Self {
        let kind = if rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(kind).expect("the library makes keys");
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(last_year, 1, 1);
        let certificate = params.self_signed(&key).expect("the library signs");
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { pem, der, pkcs8: key.serialize_der(), rsa }
    }

    fn x5t(&self) -> String {
        // With padding, as Microsoft's Python library sends it.
        URL_SAFE.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }

    fn app(&self, world: &World) -> AppCreated {
        let options = NewApp { certificate_pem: Some(self.pem.clone()), federated: None };
        world.issuer.add_app("certified", options).expect("the certificate is good")
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let random = SystemRandom::new();
        let signature = if self.rsa {
            let key = RsaKeyPair::from_pkcs8(&self.pkcs8).expect("the key is RSA");
            let pss = header["alg"] == "PS256";
            let padding: &'static dyn RsaEncoding =
                if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(padding, &random, signed.as_bytes(), &mut signature).expect("RSA signs");
            signature
        } else {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8);
            let key = key.expect("the key is P-256");
            key.sign(&random, signed.as_bytes()).expect("EC signs").as_ref().to_vec()
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn header(&self) -> Value {
        json!({ "alg": if self.rsa { "RS256" } else { "ES256" }, "typ": "JWT", "x5t": self.x5t() })
    }
}

/// The claims as Microsoft's Python library writes them, with fractions in the times.
fn claims(app: &AppCreated) -> Value {
    json!({
        "aud": format!("{BASE}/adfs/oauth2/token"), "iss": app.app_id, "sub": app.app_id,
        "jti": uuid::Uuid::new_v4(), "iat": 1_800_000_000.25, "exp": 1_800_000_600.75,
    })
}

async fn present(world: &World, client_id: &str, assertion: &str, now: i64) -> Response<Bytes> {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", client_id),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
        ("scope", SCOPE),
    ];
    world.token(&fields, now).await
}

#[tokio::test]
async fn a_certificate_assertion_is_accepted_in_the_forms_that_clients_send() {
    let world = World::new();
    let guid = world.issuer.tenant();
    for (rsa, name) in [(true, "r"), (false, "e")] {
        let certified = Certified::new(rsa, 2100);
        let options = NewApp { certificate_pem: Some(certified.pem.clone()), federated: None };
        let app = world.issuer.add_app(name, options).unwrap();
        let id = app.app_id.to_string();
        let s256 = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certified.der));
        let mut headers = vec![
            certified.header(),
            json!({ "alg": certified.header()["alg"], "x5t#S256": s256 }),
            json!({ "alg": certified.header()["alg"], "x5t#S256": s256, "x5t": certified.x5t() }),
        ];
        if rsa {
            headers.push(json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": s256 }));
        }
        for header in headers {
            let answer = present(&world, &id, &certified.sign(&header, &claims(&app)), NOW).await;
            assert_eq!(world.caller(&answer, HSM).await.object_id, app.object_id, "{header}");
        }
        for audience in [
            json!(format!("{BASE}/{guid}/oauth2/v2.0/token")),
            json!(format!("{BASE}/{guid}/v2.0")),
            json!([format!("{BASE}/ADFS/oauth2/token/"), "other"]),
        ] {
            let mut claims = claims(&app);
            claims["aud"] = audience;
            let assertion = certified.sign(&certified.header(), &claims);
            world.caller(&present(&world, &id, &assertion, NOW).await, HSM).await;
        }
    }
}

#[tokio::test]
async fn claims_of_an_assertion_that_are_wrong_are_refused() {
    let world = World::new();
    let certified = Certified::new(false, 2100);
    let app = certified.app(&world);
    let id = app.app_id.to_string();
    for (claim, value) in [
        ("aud", json!("https://login.microsoftonline.com/adfs/oauth2/token")),
        ("aud", json!(BASE)),
        ("aud", json!(7)),
        ("aud", Value::Null),
        ("sub", json!(uuid::Uuid::nil())),
        ("sub", Value::Null),
        ("iss", json!(uuid::Uuid::nil())),
        ("iss", json!("https://issuer.example")),
        ("iss", Value::Null),
        ("exp", json!(NOW)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("exp", json!(NOW + 24 * 3600 + 1)),
        ("nbf", json!(NOW + 61)),
        ("iat", json!(NOW + 61)),
        ("jti", json!(7)),
        ("jti", json!("x".repeat(257))),
    ] {
        let mut claims = claims(&app);
        claims[claim] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        }
        let assertion = certified.sign(&certified.header(), &claims);
        let answer = present(&world, &id, &assertion, NOW).await;
        refused(&answer, 401, "invalid_client", &[&assertion]);
    }
}

#[tokio::test]
async fn an_assertion_by_another_key_or_in_another_name_is_refused() {
    let world = World::new();
    let (certified, stranger) = (Certified::new(false, 2100), Certified::new(false, 2100));
    let rsa = Certified::new(true, 2100);
    let app = certified.app(&world);
    let other = world.issuer.add_app("other", NewApp::default()).unwrap();
    let id = app.app_id.to_string();
    let good = certified.sign(&certified.header(), &claims(&app));
    let other_kind = json!({ "alg": "RS256", "x5t": certified.x5t() });
    for assertion in [
        stranger.sign(&stranger.header(), &claims(&app)),
        stranger.sign(&certified.header(), &claims(&app)),
        rsa.sign(&other_kind, &claims(&app)),
        certified.sign(&json!({ "alg": "ES256" }), &claims(&app)),
        certified.sign(&json!({ "alg": "ES256", "x5t": 7 }), &claims(&app)),
        certified.sign(&json!({ "alg": "none", "x5t": certified.x5t() }), &claims(&app)),
        certified.sign(&json!({ "alg": "HS256", "x5t": certified.x5t() }), &claims(&app)),
        good[..good.len() - 4].to_owned(),
        "nonsense".to_owned(),
    ] {
        refused(&present(&world, &id, &assertion, NOW).await, 401, "invalid_client", &[]);
    }
    let other_id = other.app_id.to_string();
    refused(&present(&world, &other_id, &good, NOW).await, 401, "invalid_client", &[]);
    let as_other = certified.sign(&certified.header(), &claims(&other));
    refused(&present(&world, &other_id, &as_other, NOW).await, 401, "invalid_client", &[]);
    refused(&present(&world, &id, &as_other, NOW).await, 401, "invalid_client", &[]);
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ("client_assertion", &good),
        ("scope", SCOPE),
    ];
    refused(&world.token(&fields, NOW).await, 400, "invalid_request", &[]);
    let no_type = [fields[0], fields[2], fields[3]];
    refused(&world.token(&no_type, NOW).await, 400, "invalid_request", &[]);
    world.caller(&present(&world, &id, &good, NOW).await, HSM).await;
}

#[tokio::test]
async fn a_certificate_that_ran_out_proves_nothing() {
    let world = World::new();
    let certified = Certified::new(false, 2026);
    let app = certified.app(&world);
    let assertion = certified.sign(&certified.header(), &claims(&app));
    let answer = present(&world, &app.app_id.to_string(), &assertion, NOW).await;
    refused(&answer, 401, "invalid_client", &[]);
}

#[tokio::test]
async fn a_jti_belongs_to_one_assertion() {
    let world = World::new();
    let certified = Certified::new(false, 2100);
    let app = certified.app(&world);
    let id = app.app_id.to_string();
    let claims = claims(&app);
    let first = certified.sign(&certified.header(), &claims);
    let again = certified.sign(&certified.header(), &claims);
    assert_ne!(first, again, "ECDSA signatures differ");
    world.caller(&present(&world, &id, &first, NOW).await, HSM).await;
    refused(&present(&world, &id, &again, NOW + 1).await, 401, "invalid_client", &[]);
    // Microsoft's Python library sends one assertion for every resource until it runs out.
    world.caller(&present(&world, &id, &first, NOW + 2).await, HSM).await;
    refused(&present(&world, &id, &first, NOW + 600).await, 401, "invalid_client", &[]);
}

fn federated(world: &World, name: &str, issuer: String, subject: String) -> String {
    let options = NewApp { certificate_pem: None, federated: Some((issuer, subject)) };
    world.issuer.add_app(name, options).expect("the federation is good").app_id.to_string()
}

async fn exchange_token(world: &World, app: &AppCreated, scope: &str) -> String {
    let id = app.app_id.to_string();
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", &app.secret),
        ("scope", scope),
    ];
    access_token(&world.token(&fields, NOW).await)
}

#[tokio::test]
async fn a_token_of_the_issuer_itself_proves_a_federated_app() {
    let world = World::new();
    let source = world.issuer.add_app("source", NewApp::default()).unwrap();
    let own = world.issuer.issuer_name(BASE);
    let id = federated(&world, "workload", own.clone(), source.object_id.to_string());
    let stranger = federated(&world, "stranger", own, uuid::Uuid::nil().to_string());
    let assertion = exchange_token(&world, &source, EXCHANGE).await;
    for _ in 0..2 {
        let caller = world.caller(&present(&world, &id, &assertion, NOW).await, HSM).await;
        assert_eq!(caller.app_id.as_ref(), Some(&id), "a workload's token file is read repeatedly");
    }
    refused(&present(&world, &stranger, &assertion, NOW).await, 401, "invalid_client", &[]);
    let source_id = source.app_id.to_string();
    refused(&present(&world, &source_id, &assertion, NOW).await, 401, "invalid_client", &[]);
    refused(&present(&world, &id, &assertion, NOW + 3600).await, 401, "invalid_client", &[]);
    let access = exchange_token(&world, &source, SCOPE).await;
    refused(&present(&world, &id, &access, NOW).await, 401, "invalid_client", &[]);
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    refused(&present(&world, &id, &forged, NOW).await, 401, "invalid_client", &[]);
}

#[tokio::test]
async fn a_token_of_another_issuer_proves_a_federated_app_by_fetched_keys() {
    const ELSEWHERE: &str = "https://other.example:9443";
    let (folder, mut world) = (TempDir::new().unwrap(), World::new());
    let other = Arc::new(DevIssuer::open(folder.path()).unwrap());
    let source = other.add_app("source", NewApp::default()).unwrap();
    let name = other.issuer_name(ELSEWHERE);
    let id = federated(&world, "workload", name, source.object_id.to_string());
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &source.app_id.to_string())
        .append_pair("client_secret", &source.secret)
        .append_pair("scope", EXCHANGE)
        .finish();
    let request = http::Request::post("/adfs/oauth2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .unwrap();
    let answer = other.handle(&request, ELSEWHERE, local(), NOW).await.unwrap();
    let assertion = access_token(&answer);
    refused(&present(&world, &id, &assertion, NOW).await, 401, "invalid_client", &[]);
    let again = DevIssuer::open(world.folder.path()).unwrap();
    let fetch = Arc::new(Loopback { issuer: other, base: ELSEWHERE });
    world.issuer = Arc::new(again.with_key_fetch(fetch));
    let caller = world.caller(&present(&world, &id, &assertion, NOW).await, HSM).await;
    assert_eq!(caller.app_id, Some(id));
}
