//! The security domain over HTTP: before activation nothing else, who may, and each refusal.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_hsm::Escalation;
use casemate_quorum::{
    Approval, Blob, DownloadRequest, Hidden, Holder, Jwk, Primitives, PrivateKey, Quorum, Terms,
    wrap,
};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::kit::{ADMIN, Setup, URL, World};

pub(crate) struct Officer {
    pub(crate) holder: Holder,
    pub(crate) key: Box<dyn PrivateKey>,
}

pub(crate) static OFFICERS: LazyLock<Vec<Officer>> =
    LazyLock::new(|| (0..4).map(|_| officer()).collect());

fn officer() -> Officer {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let params = CertificateParams::new(Vec::new()).unwrap();
    let der = params.self_signed(&pair).unwrap().der().to_vec();
    let holder = Holder::from_der(&der, &SoftPrimitives).unwrap();
    let key = SoftPrimitives.rsa_private_key(&Hidden::new(pair.serialize_der())).unwrap();
    Officer { holder, key }
}

pub(crate) fn quorum(holders: std::ops::Range<usize>) -> Quorum {
    let holders = OFFICERS[holders].iter().map(|officer| officer.holder.clone()).collect();
    Quorum::new(holders, Some(2)).unwrap()
}

fn body(quorum: &Quorum, approvals: Vec<Approval>) -> Value {
    let request = DownloadRequest { quorum: quorum.clone(), approvals, rotation: None };
    serde_json::from_str(&request.body(&SoftPrimitives)).unwrap()
}

pub(crate) async fn not_activated() -> World {
    World::with(Setup { activated: false, ..Setup::default() }).await
}

const DOWNLOAD: &str = "/securitydomain/download";
const UPLOAD: &str = "/securitydomain/upload";

#[tokio::test]
async fn before_activation_everything_else_says_what_to_do() {
    let world = not_activated().await;
    let role = "/providers/Microsoft.Authorization/roleAssignments";
    let calls = [
        ("GET", "/keys"),
        ("GET", "/keys/a"),
        ("POST", "/keys/a/create"),
        ("POST", "/keys/a/sign"),
        ("GET", "/deletedkeys"),
        ("POST", "/rng"),
        ("GET", "/settings"),
        ("PATCH", "/settings/CasemateEscalation"),
        ("GET", role),
        ("GET", "/audit/sinks"),
        ("GET", "/explain"),
        ("POST", "/backup"),
        ("POST", "/keys/a/rotate"),
    ];
    for (method, path) in calls {
        let reply = world.call(method, path, json!({"kty": "oct", "count": 1})).await;
        assert_eq!(reply.code(), (503, "ServiceUnavailable".to_owned()), "{method} {path}");
        assert_eq!(reply.json()["error"]["innererror"]["code"], "NotActivated");
        assert!(reply.message().contains("az keyvault security-domain download"), "{path}");
        assert!(reply.headers.contains_key("retry-after"));
    }
    assert_eq!(world.last_record()["resultType"], "Failed");
    // Once a recovery has begun the text says what is waited for.
    assert_eq!(world.call("GET", UPLOAD, Value::Null).await.status, 200);
    let reply = world.call("GET", "/keys", Value::Null).await;
    assert!(reply.message().contains("waits for a security domain"), "{}", reply.text);
}

#[tokio::test]
async fn the_first_download_gives_the_domain_out_once() {
    let world = not_activated().await;
    let reply = world.call("GET", "/securitydomain/download/pending", Value::Null).await;
    assert_eq!(reply.status, 404, "none was started");
    let reply = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new())).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    let pending = format!("{URL}/securitydomain/download/pending");
    assert_eq!(reply.headers["azure-asyncoperation"], pending);
    assert!(reply.headers.contains_key("retry-after"));
    let blob = reply.json()["value"].as_str().unwrap().to_owned();
    let blob = Blob::parse(blob.as_bytes()).unwrap();
    assert_eq!((blob.required(), blob.holders().count()), (2, 3));
    assert!(world.keeper.is_reopened.load(Ordering::SeqCst), "it is to be opened anew");
    let lines = world.audit.lines();
    let of = |operation: &str| lines.iter().filter(|line| line.contains(operation)).count();
    assert_eq!(of("\"SecurityDomainBackup\""), 2, "intent and outcome");
    // What is left of this process does nothing more.
    let reply = world.call("GET", "/securitydomain/download/pending", Value::Null).await;
    assert_eq!(reply.json()["status"], "InProgress");
    let again = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new())).await;
    assert_eq!(again.code(), (503, "ServiceUnavailable".to_owned()), "{}", again.text);
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn only_an_administrator_may() {
    let world = not_activated().await;
    let stranger = uuid::Uuid::from_u128(0x51);
    let calls = [
        ("POST", DOWNLOAD, body(&quorum(0..3), Vec::new())),
        ("GET", "/securitydomain/download/pending", Value::Null),
        ("GET", UPLOAD, Value::Null),
        ("POST", UPLOAD, json!({"value": "{}"})),
        ("GET", "/securitydomain/upload/pending", Value::Null),
    ];
    for (method, path, body) in calls {
        let reply = world.call_as(stranger, method, path, body).await;
        assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{method} {path}");
    }
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 0, "nothing was begun");
    let active = World::new().await;
    let officer = active.somebody("Managed HSM Crypto Officer", "").await;
    let reply = active.call_as(officer, "POST", DOWNLOAD, body(&quorum(0..3), Vec::new())).await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
}

#[tokio::test]
async fn what_is_refused_changes_nothing_and_says_why() {
    let world = not_activated().await;
    let whole = body(&quorum(0..3), Vec::new());
    let refused = async |change: &dyn Fn(&mut Value)| {
        let mut body = whole.clone();
        change(&mut body);
        let reply = world.call("POST", DOWNLOAD, body).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{}", reply.text);
        reply.message()
    };
    let few = refused(&|body| drop(body["certificates"].as_array_mut().unwrap().pop())).await;
    assert!(few.contains("3 to 10 certificates, not 2"), "{few}");
    let beyond = refused(&|body| body["required"] = json!(4)).await;
    assert!(beyond.contains("quorum of 4 needs"), "{beyond}");
    let none = refused(&|body| body["required"] = Value::Null).await;
    assert!(none.contains("`required` is missing"), "{none}");
    let same = refused(&|body| body["certificates"][1] = body["certificates"][0].clone()).await;
    assert!(same.contains("ertificates 1 and 2 are the same"), "{same}");
    let ec = refused(&|body| body["certificates"][2]["kty"] = json!("EC")).await;
    assert!(ec.contains("Certificate 3") || ec.contains("certificate 3"), "{ec}");
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 0);
    // A disk that is full: nothing was given out, and it can be tried again.
    world.keeper.is_full.store(true, Ordering::SeqCst);
    let full = world.call("POST", DOWNLOAD, whole.clone()).await;
    assert_eq!(full.status, 503);
    assert!(full.message().contains("nothing was changed"), "{}", full.text);
    world.keeper.is_full.store(false, Ordering::SeqCst);
    assert_eq!(world.call("POST", DOWNLOAD, whole).await.status, 202);
}

#[tokio::test]
async fn the_exchange_key_is_a_text_and_stays_the_same() {
    let world = not_activated().await;
    let first = world.call("GET", UPLOAD, Value::Null).await.json();
    assert_eq!(first["key_format"], "jwk");
    let text = first["transfer_key"].as_str().expect("a text that holds JSON");
    let jwk: Value = serde_json::from_str(text).unwrap();
    assert_eq!((&jwk["kty"], &jwk["use"]), (&json!("RSA"), &json!("enc")));
    let jwk: Jwk = serde_json::from_value(jwk).unwrap();
    Holder::from_jwk(&jwk, &SoftPrimitives).unwrap();
    assert_eq!(world.call("GET", UPLOAD, Value::Null).await.json(), first);
}

#[tokio::test]
async fn an_upload_is_judged_before_anything_is_changed() {
    let world = not_activated().await;
    let upload = async |value: Value| world.call("POST", UPLOAD, value).await;
    let empty = wrap(&[], &OFFICERS[0].holder, &SoftPrimitives).unwrap();
    let one = "\"data\":[{\"tag\":\"a\",\"compact_jwe\":\"\"}]";
    let early = upload(json!({ "value": empty.replace("\"data\":[]", one) })).await;
    assert_eq!(early.code(), (409, "Conflict".to_owned()), "{}", early.text);
    assert!(early.message().contains("init-recovery"));
    for body in [json!({}), json!({"value": 1}), json!({"value": "{}"}), json!({"value": ""})] {
        let reply = upload(body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}: {}", reply.text);
    }
    let key = world.call("GET", UPLOAD, Value::Null).await.json();
    let jwk: Jwk = serde_json::from_str(key["transfer_key"].as_str().unwrap()).unwrap();
    let exchange = Holder::from_jwk(&jwk, &SoftPrimitives).unwrap();
    let item = || casemate_quorum::Item { tag: "x".to_owned(), bytes: Hidden::copied(b"y") };
    let foreign = wrap(&[item()], &exchange, &SoftPrimitives).unwrap();
    let foreign = upload(json!({ "value": foreign })).await;
    assert!(foreign.message().contains("casemate-manifest"), "{}", foreign.text);
    let other = wrap(&[item()], &OFFICERS[0].holder, &SoftPrimitives).unwrap();
    let other = upload(json!({ "value": other })).await;
    assert!(other.message().contains("fetch the exchange key again"), "{}", other.text);
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_active_hsm_takes_no_domain() {
    let world = World::new().await;
    for (method, path) in [("GET", UPLOAD), ("POST", UPLOAD)] {
        let reply = world.call(method, path, json!({"value": "{}"})).await;
        assert_eq!(reply.code(), (409, "Conflict".to_owned()), "{}", reply.text);
        assert!(reply.message().contains("cannot replace"));
    }
}

#[tokio::test]
async fn an_administrator_alone_gets_the_domain_no_second_time() {
    let world = World::new().await;
    // Nobody is known to hold it yet, as in an HSM of an earlier release.
    let first = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new())).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let domain =
        casemate_engine_soft::domain::domain_id(&casemate_engine_port::Secret::new(vec![7; 32]));
    let next = quorum(1..4);
    let alone = world.call("POST", DOWNLOAD, body(&next, Vec::new())).await;
    assert_eq!(alone.code(), (403, "Forbidden".to_owned()), "{}", alone.text);
    assert!(alone.message().contains("casemate security-domain approve"), "{}", alone.text);
    let terms = Terms { domain, download: 2, quorum: &next, rotation: None };
    let by = |at: usize, terms: &Terms<'_>| {
        terms.approve(&OFFICERS[at].holder, &*OFFICERS[at].key).unwrap()
    };
    let one = world.call("POST", DOWNLOAD, body(&next, vec![by(0, &terms)])).await;
    assert_eq!(one.status, 403, "one of two");
    let newcomer = vec![by(0, &terms), by(3, &terms)];
    let newcomer = world.call("POST", DOWNLOAD, body(&next, newcomer)).await;
    assert_eq!(newcomer.status, 403, "who is to hold it does not hold it yet");
    let old = Terms { download: 1, ..terms };
    let stale = world.call("POST", DOWNLOAD, body(&next, vec![by(0, &old), by(1, &old)])).await;
    assert_eq!(stale.status, 403, "an approval of another download");
    let both = body(&next, vec![by(0, &terms), by(2, &terms)]);
    let agreed = world.call("POST", DOWNLOAD, both.clone()).await;
    assert_eq!(agreed.status, 202, "{}", agreed.text);
    let replayed = world.call("POST", DOWNLOAD, both).await;
    assert_eq!(replayed.status, 403, "approvals serve once");
    let status = world.call("GET", "/securitydomain/download/pending", Value::Null).await;
    assert_eq!(status.json()["status"], "InProgress");
}

#[tokio::test]
async fn mode_azure_asks_nobody() {
    let world = World::with(Setup { escalation: Escalation::Azure, ..Setup::default() }).await;
    for holders in [0..3, 1..4] {
        let reply = world.call("POST", DOWNLOAD, body(&quorum(holders), Vec::new())).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
    }
}

#[tokio::test]
async fn an_administrator_does_not_get_round_the_officers_by_changing_the_mode() {
    let world = World::new().await;
    let first = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new())).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let azure = json!({"value": "azure"});
    let changed = world.call("PATCH", "/settings/CasemateEscalation", azure).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let next = quorum(1..4);
    let alone = world.call("POST", DOWNLOAD, body(&next, Vec::new())).await;
    assert_eq!(alone.code(), (403, "Forbidden".to_owned()), "{}", alone.text);
    // Who holds it agrees to a download in that mode; from then on it is as in the original.
    let domain =
        casemate_engine_soft::domain::domain_id(&casemate_engine_port::Secret::new(vec![7; 32]));
    let terms = Terms { domain, download: 2, quorum: &next, rotation: None };
    let both = [0, 2].map(|at| terms.approve(&OFFICERS[at].holder, &*OFFICERS[at].key).unwrap());
    let agreed = world.call("POST", DOWNLOAD, body(&next, both.to_vec())).await;
    assert_eq!(agreed.status, 202, "{}", agreed.text);
    let again = world.call("POST", DOWNLOAD, body(&next, Vec::new())).await;
    assert_eq!(again.status, 202, "{}", again.text);
}

#[tokio::test]
async fn the_status_is_told_with_and_without_an_api_version() {
    let world = World::new().await;
    let reply = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new())).await;
    assert_eq!(reply.status, 202);
    for query in ["", "?api-version=7.5"] {
        let mut request = world.request(ADMIN, "GET", "/securitydomain/download/pending", "");
        let uri = format!("/securitydomain/download/pending{query}");
        *request.uri_mut() = uri.parse().unwrap();
        let reply = world.raw(request).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.json(), json!({"status": "InProgress", "status_details": ""}));
    }
    let reply = world.call("GET", "/securitydomain/upload/pending", Value::Null).await;
    assert_eq!(reply.status, 404, "there was no upload");
}
