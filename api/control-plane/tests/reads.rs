//! The control plane from outside: what logins and lists read, and what it refuses.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use casemate_control_plane::{Activation, ControlPlane, ControlPlaneSettings, ManagedHsm};
use casemate_token::{FetchError, KeyFetch, TrustSettings, TrustedIssuer, Validator};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use serde_json::{Value, json};
use uuid::Uuid;

const NOW: i64 = 1_800_000_000;
const BASE: &str = "https://localhost:8443";
const ISSUER: &str = "https://localhost:8443/t/v2.0";
const AUDIENCE: &str = "https://management.localhost:8443";
const TENANT: Uuid = Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888);
const SUBSCRIPTION: Uuid = Uuid::from_u128(0xaaaa_bbbb_cccc_dddd_eeee_ffff_0000_1111);
const ADMIN: Uuid = Uuid::from_u128(9);

fn key() -> &'static EcdsaKeyPair {
    static KEY: OnceLock<EcdsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        key.expect("the library makes keys")
    })
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The issuer's two documents; an issuer that is down has none.
struct Documents {
    up: bool,
}

impl KeyFetch for Documents {
    fn fetch<'a>(
        &'a self,
        url: &'a str,
        _trust_anchors_pem: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        let point = key().public_key().as_ref();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": b64(&point[1..33]),
            "y": b64(&point[33..]) });
        let document = match url {
            "https://localhost:8443/metadata" => {
                json!({ "issuer": ISSUER, "jwks_uri": "https://localhost:8443/keys" })
            }
            _ => json!({ "keys": [jwk] }),
        };
        let answer =
            if self.up { Ok(document.to_string().into()) } else { Err(FetchError::TimedOut) };
        Box::pin(async move { answer })
    }
}

fn token(audience: &str, alias: &str) -> String {
    let header = json!({ "alg": "ES256", "kid": "k" });
    let claims = json!({
        "iss": ISSUER, "aud": audience, "tid": TENANT, "oid": ADMIN, "tenant_alias": alias,
        "iat": NOW, "exp": NOW + 3600,
    });
    let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = key().sign(&SystemRandom::new(), signed.as_bytes()).expect("EC signs");
    format!("{signed}.{}", b64(signature))
}

fn validator(up: bool) -> Arc<Validator> {
    let settings = TrustSettings {
        tenant: TENANT,
        issuers: vec![TrustedIssuer {
            issuer: ISSUER.to_owned(),
            metadata_url: "https://localhost:8443/metadata".to_owned(),
            trust_anchors_pem: String::new(),
            directory: true,
        }],
        audiences: vec![AUDIENCE.to_owned()],
    };
    Arc::new(Validator::new(settings, Arc::new(Documents { up })))
}

fn plane_with(validator: Arc<Validator>) -> ControlPlane {
    let settings = ControlPlaneSettings {
        cloud_name: "casemate".to_owned(),
        audience: AUDIENCE.to_owned(),
        authorization: format!("{BASE}/adfs"),
        tenant: TENANT,
        subscription: SUBSCRIPTION,
        subscription_name: "Development".to_owned(),
        resource_group: "Casemate-Dev".to_owned(),
        location: "local".to_owned(),
        managed_hsm_suffix: ".managedhsm.localhost:8443".to_owned(),
        key_vault_suffix: ".vault.localhost:8443".to_owned(),
        storage_suffix: ".storage.localhost:8443".to_owned(),
    };
    let activation = Activation::default();
    activation.set(true);
    let hsm = ManagedHsm {
        name: "Dev".to_owned(),
        uri: "https://dev.managedhsm.localhost:8443".to_owned(),
        retention_days: 7,
        purge_protection: true,
        initial_admins: vec![ADMIN],
        activation,
    };
    ControlPlane::new(settings, vec![hsm], validator)
}

async fn ask(
    plane: &ControlPlane,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> (u16, Value, Response<Bytes>) {
    let mut request = Request::builder().method(method).uri(format!("{BASE}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Bytes::new()).expect("the request is well-formed");
    let answer = plane.handle(&request, BASE, NOW).await.expect("the path is the control plane's");
    assert!(answer.headers().contains_key("x-ms-request-id"));
    let body = serde_json::from_slice(answer.body()).expect("the body is JSON");
    (answer.status().as_u16(), body, answer)
}

async fn read(path: &str) -> Value {
    let plane = plane_with(validator(true));
    let (status, body, _) = ask(&plane, Method::GET, path, Some(&token(AUDIENCE, "adfs"))).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn refused(method: Method, path: &str, status: u16, code: &str) -> Response<Bytes> {
    let plane = plane_with(validator(true));
    let (got, body, answer) = ask(&plane, method, path, Some(&token(AUDIENCE, "adfs"))).await;
    assert_eq!((got, &body["error"]["code"]), (status, &Value::from(code)), "{path}: {body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() > 20));
    answer
}

#[tokio::test]
async fn the_cloud_describes_itself_to_anybody() {
    let plane = plane_with(validator(true));
    for path in [
        "/metadata/endpoints?api-version=2022-09-01",
        "//metadata/endpoints?api-version=2022-09-01",
        "/Metadata/Endpoints/?api%2Dversion=2022-09-01",
        "/metadata/endpoints",
    ] {
        let (status, body, _) = ask(&plane, Method::GET, path, None).await;
        assert_eq!(status, 200);
        assert_eq!(body["authentication"]["loginEndpoint"], BASE);
        assert_eq!(body["authentication"]["audiences"][0], AUDIENCE);
        assert_eq!(body["resourceManager"], BASE);
        assert_eq!(body["suffixes"]["mhsmDns"], ".managedhsm.localhost:8443");
        assert_eq!(body["suffixes"]["keyVaultDns"], ".vault.localhost:8443");
        assert_eq!(body["microsoftGraphResourceId"], format!("{BASE}/graph"));
        assert!(
            body["name"].is_string() && body["portal"].is_string() && body["gallery"].is_string()
        );
    }
    let array = "/metadata/endpoints?api-version=2019-05-01";
    let (_, body, _) = ask(&plane, Method::GET, array, None).await;
    assert_eq!(body[0]["resourceManager"], BASE, "the older version is a list of clouds");
    let oldest = "/metadata/endpoints?api-version=2015-01-01";
    let (_, body, _) = ask(&plane, Method::GET, oldest, None).await;
    assert_eq!(body["authentication"]["loginEndpoint"], BASE);
}

#[tokio::test]
async fn a_login_sees_its_subscription_under_the_tenant_s_name_it_used() {
    let plane = plane_with(validator(true));
    let guid = TENANT.to_string();
    for (alias, shown) in [("adfs", "adfs"), (&guid, &guid), ("organizations", &guid)] {
        let token = token(AUDIENCE, alias);
        for path in ["/subscriptions?api-version=2022-12-01", "/tenants?api-version=2022-12-01"] {
            let (status, body, _) = ask(&plane, Method::GET, path, Some(&token)).await;
            assert_eq!((status, &body["value"][0]["tenantId"]), (200, &Value::from(shown)));
        }
    }
    let body = read(&format!("/Subscriptions/{}", SUBSCRIPTION.to_string().to_uppercase())).await;
    assert_eq!(body["subscriptionId"], SUBSCRIPTION.to_string());
    assert_eq!(body["id"], format!("/subscriptions/{SUBSCRIPTION}"));
    assert_eq!((&body["state"], &body["displayName"]), (&"Enabled".into(), &"Development".into()));
}

#[tokio::test]
async fn the_managed_hsm_is_found_on_every_way_to_it() {
    let s = format!("/subscriptions/{SUBSCRIPTION}");
    let id =
        format!("{s}/resourceGroups/Casemate-Dev/providers/Microsoft.KeyVault/managedHSMs/Dev");
    for path in [
        format!("{s}/providers/Microsoft.KeyVault/managedHSMs?api-version=2026-02-01"),
        format!("{s}/resourceGroups/casemate-dev/providers/microsoft.keyvault/managedhsms"),
        format!("{s}/resources"),
        format!("{s}/resources?$filter=resourceType%20eq%20'Microsoft.KeyVault/managedHSMs'"),
    ] {
        let body = read(&path).await;
        assert_eq!(body["value"].as_array().map(Vec::len), Some(1));
        assert_eq!(body["value"][0]["id"], id);
        assert_eq!(body["value"][0]["type"], "Microsoft.KeyVault/managedHSMs");
    }
    for path in [id.clone(), id.to_uppercase().replace(&s.to_uppercase(), &s)] {
        let hsm = read(&path).await;
        assert_eq!(
            (&hsm["id"], &hsm["name"], &hsm["location"]),
            (&id.as_str().into(), &"Dev".into(), &"local".into())
        );
        let properties = &hsm["properties"];
        assert_eq!(properties["hsmUri"], "https://dev.managedhsm.localhost:8443/");
        assert_eq!(properties["softDeleteRetentionInDays"], 7);
        assert_eq!(properties["enablePurgeProtection"], true);
        assert_eq!(properties["tenantId"], TENANT.to_string());
        assert_eq!(properties["initialAdminObjectIds"], json!([ADMIN]));
        assert_eq!(properties["provisioningState"], "Succeeded");
        assert_eq!(properties["securityDomainProperties"]["activationStatus"], "Active");
    }
    let group = read(&format!("{s}/resourcegroups/CASEMATE-DEV")).await;
    assert_eq!(group["name"], "Casemate-Dev");
    assert_eq!(read(&format!("{s}/resourcegroups")).await["value"][0]["name"], "Casemate-Dev");
}

#[tokio::test]
async fn lists_of_what_is_not_there_are_empty() {
    let s = format!("/subscriptions/{SUBSCRIPTION}");
    for path in [
        format!(
            "{s}/resources?api-version=2015-11-01\
             &$filter=resourceType%20eq%20'Microsoft.KeyVault/vaults'"
        ),
        format!("{s}/resources?%24filter=resourceType+eq+%27Microsoft.KeyVault%2Fvaults%27"),
        format!("{s}/providers/Microsoft.KeyVault/deletedManagedHSMs"),
        format!("{s}/providers/Microsoft.KeyVault/deletedVaults"),
        format!("{s}/providers/Microsoft.KeyVault/vaults"),
    ] {
        assert_eq!(read(&path).await["value"], json!([]), "{path}");
    }
}

#[tokio::test]
async fn without_a_good_token_nothing_but_the_metadata_is_told() {
    let plane = plane_with(validator(true));
    let data_plane = token("https://managedhsm.localhost:8443", "adfs");
    let good = token(AUDIENCE, "adfs");
    let cut = &good[..good.len() - 8];
    for path in ["/subscriptions", "/tenants", "/subscriptions/x/nonsense", "/providers/x"] {
        for method in [Method::GET, Method::PUT] {
            for token in [None, Some(""), Some("nonsense"), Some(&*data_plane), Some(cut)] {
                let (status, body, answer) = ask(&plane, method.clone(), path, token).await;
                assert_eq!((status, &body["error"]["code"]), (401, &"AuthenticationFailed".into()));
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
                assert_eq!(
                    challenge,
                    "Bearer authorization=\"https://localhost:8443/adfs\", \
                     resource=\"https://management.localhost:8443\""
                );
                assert!(!body.to_string().contains(&SUBSCRIPTION.to_string()));
            }
        }
    }
}

#[tokio::test]
async fn other_schemes_are_no_bearer_tokens() {
    let plane = plane_with(validator(true));
    let good = token(AUDIENCE, "adfs");
    for (value, status) in [
        (format!("Basic {good}"), 401),
        (good.clone(), 401),
        (format!("Bearer{good}"), 401),
        (format!("bearer {good}"), 200),
    ] {
        let request = Request::get("/subscriptions").header("authorization", value);
        let request = request.body(Bytes::new()).unwrap();
        let answer = plane.handle(&request, BASE, NOW).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
}

#[tokio::test]
async fn a_cut_off_token_gets_a_claims_challenge_and_a_silent_issuer_a_retry() {
    let validator = validator(true);
    let plane = plane_with(Arc::clone(&validator));
    let good = token(AUDIENCE, "adfs");
    assert_eq!(ask(&plane, Method::GET, "/subscriptions", Some(&good)).await.0, 200);
    validator.cut_off(ADMIN, NOW + 1);
    let (status, _, answer) = ask(&plane, Method::GET, "/subscriptions", Some(&good)).await;
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    assert_eq!(status, 401);
    assert!(challenge.contains("error=\"insufficient_claims\", claims=\""), "{challenge}");
    let plane = plane_with(self::validator(false));
    let (status, body, answer) = ask(&plane, Method::GET, "/subscriptions", Some(&good)).await;
    assert_eq!((status, &body["error"]["code"]), (503, &"ServiceUnavailable".into()));
    assert!(answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_so() {
    let s = format!("/subscriptions/{SUBSCRIPTION}");
    let other = Uuid::nil();
    for (path, code) in [
        (format!("/subscriptions/{other}"), "SubscriptionNotFound"),
        (
            format!("/subscriptions/{other}/providers/Microsoft.KeyVault/managedHSMs"),
            "SubscriptionNotFound",
        ),
        (format!("{s}/resourceGroups/other"), "ResourceGroupNotFound"),
        (
            format!("{s}/resourceGroups/casemate-dev/providers/Microsoft.KeyVault/managedHSMs/x"),
            "ResourceNotFound",
        ),
        (
            format!("{s}/providers/Microsoft.KeyVault/locations/local/deletedManagedHSMs/x"),
            "ResourceNotFound",
        ),
        (format!("{s}/providers/Microsoft.Storage/storageAccounts"), "InvalidResourceType"),
        (format!("{s}/providers/Microsoft.KeyVault/nonsense"), "InvalidResourceType"),
        (format!("{s}/nonsense"), "InvalidResourceType"),
        ("/providers/Microsoft.KeyVault/operations".to_owned(), "InvalidResourceType"),
    ] {
        refused(Method::GET, &path, 404, code).await;
    }
}

#[tokio::test]
async fn changes_are_refused_with_what_to_do_instead() {
    let s = format!("/subscriptions/{SUBSCRIPTION}");
    let hsm = format!("{s}/resourceGroups/g/providers/Microsoft.KeyVault/managedHSMs/new");
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        let answer = refused(method, &hsm, 405, "MethodNotAllowed").await;
        assert_eq!(answer.headers()["allow"], "GET");
    }
    refused(Method::POST, "/metadata/endpoints", 405, "MethodNotAllowed").await;
    refused(Method::GET, "/graph/v1.0/users", 404, "Request_ResourceNotFound").await;
}

#[tokio::test]
async fn other_paths_are_left_to_others() {
    let plane = plane_with(validator(true));
    for path in
        ["/", "/keys/k1", "/adfs/oauth2/token", "/metadata/identity/oauth2/token", "/msi/token"]
    {
        let request = Request::get(path).body(Bytes::new()).unwrap();
        assert!(plane.handle(&request, BASE, NOW).await.is_none(), "{path}");
    }
}
