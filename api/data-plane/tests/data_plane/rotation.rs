//! A new secret of the domain over HTTP: who may begin it, each refusal, and what is told of it.

use std::sync::atomic::Ordering;

use casemate_engine_port::Secret;
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_engine_soft::domain::domain_id;
use casemate_hsm::Escalation;
use casemate_quorum::{Approval, Blob, DownloadRequest, Quorum, Rotation, Terms};
use serde_json::{Value, json};

use crate::kit::{ADMIN, Setup, URL, World};
use crate::security_domain::{OFFICERS, not_activated, quorum};

const DOWNLOAD: &str = "/securitydomain/download";
const ROTATE: &str = "/securitydomain/rotate";
const PENDING: &str = "/securitydomain/rotate/pending";

fn rotation(epoch: u32, forget_before: Option<u32>) -> Option<Rotation> {
    Some(Rotation { epoch, forget_before })
}

fn body(quorum: &Quorum, approvals: Vec<Approval>, rotation: Option<Rotation>) -> Value {
    let request = DownloadRequest { quorum: quorum.clone(), approvals, rotation };
    serde_json::from_str(&request.body(&SoftPrimitives)).unwrap()
}

/// The request of a new epoch with the approvals of these officers.
fn approved(next: &Quorum, download: u64, rotation: Option<Rotation>, who: &[usize]) -> Value {
    let domain = domain_id(&Secret::new(vec![7; 32]));
    let terms = Terms { domain, download, quorum: next, rotation };
    let by = |at: &usize| terms.approve(&OFFICERS[*at].holder, &*OFFICERS[*at].key).unwrap();
    body(next, who.iter().map(by).collect(), rotation)
}

/// An HSM whose domain three officers hold.
async fn held() -> World {
    let world = World::new().await;
    let first = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new(), None)).await;
    assert_eq!(first.status, 202, "{}", first.text);
    world
}

#[tokio::test]
async fn an_administrator_alone_changes_no_secret() {
    let world = held().await;
    let next = quorum(1..4);
    let two = rotation(2, None);
    for (refused, why) in [
        (approved(&next, 2, two, &[]), "nobody"),
        (approved(&next, 2, two, &[0]), "one of two"),
        (approved(&next, 2, two, &[0, 3]), "who is to hold it does not hold it yet"),
        (approved(&next, 1, two, &[0, 1]), "for another download"),
    ] {
        let reply = world.call("POST", ROTATE, refused).await;
        assert_eq!(reply.code(), (403, "Forbidden".to_owned()), "{why}: {}", reply.text);
        assert_eq!(reply.json()["error"]["innererror"]["code"], "ApprovalsMissing");
    }
    // What officers signed for a download, or for less, does not serve.
    let mut of_download = approved(&next, 2, None, &[0, 1]);
    of_download["rotation"] = json!({"epoch": 2});
    let mut of_less = approved(&next, 2, two, &[0, 1]);
    of_less["rotation"]["forgetBefore"] = json!(2);
    let mut without = approved(&next, 2, two, &[0, 1]);
    without.as_object_mut().unwrap().remove("rotation");
    for (path, changed) in [(ROTATE, of_download), (ROTATE, of_less), (DOWNLOAD, without)] {
        let reply = world.call("POST", path, changed).await;
        assert_eq!(reply.code(), (403, "Forbidden".to_owned()), "{}", reply.text);
    }
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 0);
    let reply = world.call("GET", PENDING, Value::Null).await;
    assert_eq!(reply.status, 404, "{}", reply.text);
    assert!(reply.message().contains("POST /securitydomain/rotate"), "{}", reply.text);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_what_can() {
    let world = held().await;
    let next = quorum(1..4);
    for (asked, says) in [
        (None, "request --rotate"),
        (rotation(1, None), "next is 2, not 1"),
        (rotation(3, None), "next is 2, not 3"),
        (rotation(2, Some(1)), "oldest epoch is 1"),
        (rotation(2, Some(3)), "Epoch 3 is after"),
    ] {
        let reply = world.call("POST", ROTATE, approved(&next, 2, asked, &[0, 1])).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{}", reply.text);
        assert!(reply.message().contains(says), "{}", reply.text);
    }
    let malformed = [json!({}), json!({"rotation": {"epoch": 2}}), json!({"certificates": []})];
    for bad in malformed {
        let reply = world.call("POST", ROTATE, bad).await;
        assert_eq!(reply.status, 400, "{}", reply.text);
    }
    let as_download = approved(&next, 2, rotation(2, None), &[0, 1]);
    let reply = world.call("POST", DOWNLOAD, as_download).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(reply.message().contains(ROTATE), "{}", reply.text);
    for (method, path) in [("GET", ROTATE), ("PUT", ROTATE), ("POST", PENDING)] {
        assert_eq!(world.call(method, path, json!({})).await.status, 405, "{method} {path}");
    }
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 0);
    let early = not_activated().await;
    for (method, path) in [("POST", ROTATE), ("GET", PENDING)] {
        let reply = early.call(method, path, approved(&next, 2, rotation(2, None), &[])).await;
        assert_eq!(reply.code(), (503, "ServiceUnavailable".to_owned()), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_seal_that_cannot_be_written_changes_nothing() {
    let world = held().await;
    let asked = approved(&quorum(1..4), 2, rotation(2, None), &[0, 1]);
    world.keeper.is_full.store(true, Ordering::SeqCst);
    let reply = world.call("POST", ROTATE, asked.clone()).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(reply.message().contains("nothing was changed"), "{}", reply.text);
    world.keeper.is_full.store(false, Ordering::SeqCst);
    assert!(!world.keeper.is_reopened.load(Ordering::SeqCst));
    assert_eq!(world.call("POST", ROTATE, asked).await.status, 202, "the approvals serve still");
}

#[tokio::test]
async fn an_engine_that_cannot_go_on_is_a_conflict_before_anything_is_changed() {
    let why = ": its token must take in two keys more";
    let world = World::with(Setup { stuck: Some(why), ..Setup::default() }).await;
    let first = world.call("POST", DOWNLOAD, body(&quorum(0..3), Vec::new(), None)).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let asked = approved(&quorum(1..4), 2, rotation(2, None), &[0, 1]);
    for _ in 0..2 {
        let reply = world.call("POST", ROTATE, asked.clone()).await;
        assert_eq!(reply.code(), (409, "Conflict".to_owned()), "{}", reply.text);
        let message = reply.message();
        assert!(
            message.contains("The engine 'pkcs11' cannot go on under another secret"),
            "{message}"
        );
        assert!(message.contains(&format!("so the secret stays{why}")), "{message}");
    }
    assert_eq!(world.keeper.prepared.load(Ordering::SeqCst), 0, "the seal is as it was");
    assert!(!world.keeper.is_reopened.load(Ordering::SeqCst));
    assert_eq!(world.call("GET", PENDING, Value::Null).await.status, 404, "nothing began");
    let made = world.call("POST", "/keys/k/create", json!({"kty": "EC-HSM"})).await;
    assert_eq!(made.status, 200, "and it serves: {}", made.text);
}

#[tokio::test]
async fn the_blob_the_status_and_the_record_tell_of_the_new_epoch() {
    let world = held().await;
    let next = quorum(1..4);
    let asked = approved(&next, 2, rotation(2, Some(2)), &[0, 2]);
    let reply = world.call("POST", ROTATE, asked.clone()).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.headers["azure-asyncoperation"], format!("{URL}{PENDING}"));
    let told = reply.json();
    let blob = Blob::parse(told["value"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!((blob.facts().unwrap().epoch, blob.facts().unwrap().download), (2, 2));
    let epochs = blob.tags().filter(|tag| tag.starts_with("casemate-epoch-"));
    assert_eq!(epochs.collect::<Vec<_>>(), ["casemate-epoch-2"], "the first is forgotten");
    assert_eq!((&told["epoch"], &told["forgotten"]["before"]), (&json!(2), &json!(2)));
    assert_eq!(told["forgotten"]["epochs"][0]["epoch"], 1);
    assert!(world.keeper.is_reopened.load(Ordering::SeqCst), "it is opened anew");
    let status = world.call("GET", PENDING, Value::Null).await;
    assert_eq!(status.status, 200, "{}", status.text);
    assert!(status.headers.contains_key("retry-after"));
    let shown = status.json();
    assert_eq!((&shown["status"], &shown["epoch"]), (&json!("InProgress"), &json!(2)));
    assert_eq!(shown["beganBy"], json!(ADMIN), "{shown}");
    assert_eq!(shown["forgotten"], told["forgotten"], "{shown}");
    // The process that took the turn is at its end: it changes nothing more.
    let late = world.call("POST", "/keys/k/create", json!({"kty": "EC-HSM"})).await;
    assert_eq!(late.status, 503, "{}", late.text);
    let twice = world.call("POST", ROTATE, asked).await;
    assert_eq!(twice.code(), (409, "Conflict".to_owned()), "{}", twice.text);
    assert!(twice.message().contains("under way"), "{}", twice.text);
    let lines = world.audit.lines();
    let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |record: &Value| record["operationName"] == "SecurityDomainRotate";
    let done: Vec<Value> = records.filter(of).take(2).collect();
    let phases: Vec<&Value> = done.iter().map(|record| &record["phase"]).collect();
    assert_eq!(phases, ["intent", "outcome"], "{done:?}");
    for record in &done {
        assert_eq!(record["details"], json!({"epoch": 2, "forgetBefore": 2}), "{record}");
    }
    assert_eq!(done[1]["resultType"], "Success", "{done:?}");
    assert!(!lines.iter().any(|line| line.contains("EncData")), "no blob");
}

#[tokio::test]
async fn mode_azure_asks_nobody_and_who_has_no_role_gets_nothing() {
    let world = World::with(Setup { escalation: Escalation::Azure, ..Setup::default() }).await;
    let next = quorum(0..3);
    let asked = body(&next, Vec::new(), rotation(2, None));
    for role in
        ["Managed HSM Crypto Officer", "Managed HSM Crypto User", "Managed HSM Crypto Auditor"]
    {
        let somebody = world.somebody(role, "").await;
        for (method, path) in [("POST", ROTATE), ("GET", PENDING)] {
            let reply = world.call_as(somebody, method, path, asked.clone()).await;
            assert_eq!(reply.status, 403, "{role} {method} {path}: {}", reply.text);
        }
    }
    let reply = world.call("POST", ROTATE, asked).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
}
