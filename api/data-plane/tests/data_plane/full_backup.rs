//! Full backup and restore through the API: shapes, rights, and what is answered meanwhile.

use std::sync::atomic::Ordering;

use casemate_hsm::backup::TransferError;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, HOST, Reply, START, URL, World};

fn storage() -> Value {
    json!({"storageResourceUri": "https://a.blob.example/c", "token": "?sv=1&sig=x"})
}

fn restore(folder: &str) -> Value {
    json!({"sasTokenParameters": storage(), "folderToRestore": folder})
}

fn key_restore(folder: &str) -> Value {
    json!({"sasTokenParameters": storage(), "folder": folder})
}

fn by_identity(uri: &str) -> Value {
    json!({"storageResourceUri": uri, "useManagedIdentity": true})
}

/// Two ways to open one storage.
fn token_and_identity() -> Value {
    let mut both = storage();
    both["useManagedIdentity"] = true.into();
    both
}

/// Where the job's status is.
fn status_path(reply: &Reply) -> String {
    let url = reply.headers["azure-asyncoperation"].to_str().unwrap();
    url.strip_prefix(URL).unwrap().to_owned()
}

/// A call without an api-version, as clients follow the URL that they were given.
async fn poll(world: &World, who: Uuid, path: &str) -> Reply {
    let request = Request::builder()
        .method("GET")
        .uri(path)
        .header("host", HOST)
        .header("authorization", format!("Bearer {}", world.token(who)))
        .body(Full::default())
        .unwrap();
    world.raw(request).await
}

async fn ended(world: &World, path: &str) -> Value {
    for _ in 0..1_000 {
        let reply = poll(world, ADMIN, path).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let body = reply.json();
        if body["status"] != "InProgress" {
            return body;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the job did not end");
}

async fn backup(world: &World) -> String {
    let started = world.call("POST", "/backup", storage()).await;
    assert_eq!(started.status, 202, "{}", started.text);
    let done = ended(world, &status_path(&started)).await;
    assert_eq!(done["status"], "Succeeded", "{done}");
    let uri = done["azureStorageBlobContainerUri"].as_str().unwrap();
    uri.strip_prefix("https://a.blob.example/c/").unwrap().to_owned()
}

#[tokio::test]
async fn a_backup_is_answered_as_the_contract_says() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let started = world.call("POST", "/backup", storage()).await;
    assert_eq!(started.status, 202);
    let path = status_path(&started);
    let id = path.strip_prefix("/backup/").unwrap().strip_suffix("/pending").unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(started.headers["retry-after"], "2");
    let expected = json!({
        "status": "InProgress", "statusDetails": null, "error": null, "startTime": START,
        "endTime": null, "jobId": id, "azureStorageBlobContainerUri": null,
    });
    assert_eq!(started.json(), expected, "absent members are null, not left out");
    let done = ended(&world, &path).await;
    let uri = done["azureStorageBlobContainerUri"].as_str().unwrap();
    let folder = uri.strip_prefix("https://a.blob.example/c/mhsm-dev-").unwrap();
    assert!(folder.len() == 16 && folder.bytes().all(|byte| byte.is_ascii_digit()), "{uri}");
    assert_eq!((&done["status"], &done["endTime"]), (&json!("Succeeded"), &json!(START)));
    assert!(done["error"].is_null());
    assert_eq!(world.shelf.names().len(), 2);
    let lines = world.audit.lines().concat();
    for record in ["BackupCreate", "BackupEnded", "BackupStatusGet"] {
        assert!(lines.contains(record), "{record}");
    }
    assert!(!lines.contains("sig=x"), "what opens the storage is not recorded");
}

/// The details of the records of an operation, in order.
fn details(world: &World, operation: &str) -> Vec<Value> {
    let lines = world.audit.lines();
    let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = records.filter(|record| record["operationName"] == operation);
    of.map(|record| record["details"].clone()).collect()
}

#[tokio::test]
async fn the_hsms_identity_opens_the_storage_in_place_of_a_token() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let place = "https://a.blob.example/c";
    let started = world.call("POST", "/backup", by_identity(place)).await;
    assert_eq!(started.status, 202, "{}", started.text);
    let done = ended(&world, &status_path(&started)).await;
    assert_eq!(done["status"], "Succeeded", "{done}");
    let uri = done["azureStorageBlobContainerUri"].as_str().unwrap();
    let folder = uri.strip_prefix("https://a.blob.example/c/").unwrap();
    let opened: Vec<bool> = world.shelf.opened_by_identity();
    assert!(!opened.is_empty() && opened.iter().all(|by_identity| *by_identity));
    let [intent, outcome] = &details(&world, "BackupCreate")[..] else { panic!("two records") };
    let access = json!("managedIdentity");
    assert_eq!((&intent["storageAccess"], &outcome["storageAccess"]), (&access, &access));
    for (path, kind, restore) in [
        ("/prerestore", "RestoreCheck", json!({"folderToRestore": folder})),
        ("/keys/k/restore", "KeySelectiveRestore", json!({"folder": folder})),
    ] {
        let mut body = restore;
        body["sasTokenParameters"] = by_identity(place);
        let started = world.call("PUT", path, body).await;
        assert_eq!(started.status, 202, "{}", started.text);
        let done = ended(&world, &status_path(&started)).await;
        assert_eq!(done["status"], "Succeeded", "{done}");
        assert_eq!(details(&world, kind)[0]["storageAccess"], access);
    }
    assert!(world.shelf.opened_by_identity().iter().all(|by_identity| *by_identity));
    // A token is as it was, and so is a `false`.
    let mut body = storage();
    body["useManagedIdentity"] = false.into();
    let started = world.call("POST", "/backup", body).await;
    assert_eq!(ended(&world, &status_path(&started)).await["status"], "Succeeded");
    assert_eq!(world.shelf.opened_by_identity().last(), Some(&false));
    assert_eq!(details(&world, "BackupCreate").last().unwrap().get("storageAccess"), None);
}

#[tokio::test]
async fn that_there_is_no_identity_is_said_as_such() {
    let world = World::new().await;
    for (failure, says) in [
        (TransferError::NoIdentity, "has no managed identity"),
        (TransferError::IdentityUnusable, "cannot be used"),
        (TransferError::NoToken("the issuer refused".to_owned()), "the issuer refused"),
    ] {
        world.shelf.refuse_with(Some(failure));
        for path in ["/backup", "/prebackup"] {
            let started = world.call("POST", path, by_identity("https://a.example/c")).await;
            let done = ended(&world, &status_path(&started)).await;
            assert_eq!(done["status"], "Failed");
            assert_eq!(done["error"]["code"], "ManagedIdentityError", "{done}");
            assert!(done["error"]["message"].as_str().unwrap().contains(says), "{done}");
        }
    }
    world.shelf.refuse_with(None);
    backup(&world).await;
}

#[tokio::test]
async fn the_records_of_a_backup_and_of_a_restore_say_where_it_lies() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let folder = backup(&world).await;
    let place = "https://a.blob.example/c";
    let [intent, outcome] = &details(&world, "BackupCreate")[..] else { panic!("two records") };
    assert_eq!(*intent, json!({"storageResourceUri": place}));
    let job = outcome["jobId"].as_str().unwrap();
    assert_eq!(*outcome, json!({"storageResourceUri": place, "jobId": job}));
    let [ended] = &details(&world, "BackupEnded")[..] else { panic!("one record") };
    assert_eq!(*ended, json!({"jobId": job, "folder": format!("{place}/{folder}")}));

    let body = restore("mhsm-dev-2026010101010101");
    assert_eq!(world.call("PUT", "/prerestore", body).await.status, 202);
    let [intent, ..] = &details(&world, "RestoreCheck")[..] else { panic!("records") };
    let none = "mhsm-dev-2026010101010101";
    assert_eq!(*intent, json!({"storageResourceUri": place, "folder": none}));
}

#[tokio::test]
async fn who_may_restore_one_key_sees_what_became_of_it_and_of_no_other() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let folder = backup(&world).await;
    let one = world.somebody("Managed HSM Restore User", "/keys/k").await;
    let other = world.somebody("Managed HSM Restore User", "/keys/l").await;
    let path = "/keys/k/restore";
    assert_eq!(world.call_as(other, "PUT", path, key_restore(&folder)).await.status, 403);
    let started = world.call_as(one, "PUT", path, key_restore(&folder)).await;
    assert_eq!(started.status, 202, "{}", started.text);
    let status = status_path(&started);
    assert_eq!(poll(&world, one, &status).await.status, 200);
    assert_eq!(poll(&world, other, &status).await.status, 403);
    ended(&world, &status).await;
    assert_eq!(poll(&world, one, &status).await.status, 200);
    assert_eq!(
        poll(&world, one, &format!("/restore/{}/pending", "0".repeat(32))).await.status,
        403
    );
    let whole = world.call("PUT", "/prerestore", restore(&folder)).await;
    assert_eq!(poll(&world, one, &status_path(&whole)).await.status, 403, "of all keys");
    let told = details(&world, "KeySelectiveRestore");
    assert_eq!(told.last().unwrap()["folder"], folder, "{told:?}");
}

#[tokio::test]
async fn an_increment_is_asked_for_by_a_member_of_ours() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let full = backup(&world).await;
    world.create("new", json!({"kty": "EC"})).await;
    world.clock.advance(1);
    let on = |base: Value| {
        let mut storage = storage();
        storage["casemateBase"] = base;
        storage
    };
    for bad in [json!(""), json!(".."), json!("a b"), json!("below/mhsm-dev-1"), json!(7)] {
        let reply = world.call("POST", "/backup", on(bad.clone())).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{bad}: {}", reply.text);
    }
    let before = world.shelf.names().len();
    let started = world.call("POST", "/backup", on(json!("mhsm-dev-1"))).await;
    let done = ended(&world, &status_path(&started)).await;
    assert_eq!(done["status"], "Failed", "{done}");
    assert_eq!(world.shelf.names().len(), before, "nothing was sent");
    let started = world.call("POST", "/backup", on(json!(full))).await;
    let done = ended(&world, &status_path(&started)).await;
    assert_eq!(done["status"], "Succeeded", "{done}");
    let details = done["statusDetails"].as_str().unwrap();
    assert!(details.starts_with("1 keys with 1 versions were changed since"), "{details}");
    assert!(details.contains("of 2 keys with 2 versions"), "{details}");
}

#[tokio::test]
async fn one_job_at_a_time_and_its_failure_is_told() {
    let world = World::new().await;
    let gate = world.shelf.gate.forget_permits(1_000);
    assert_eq!(gate, 1_000);
    let started = world.call("POST", "/backup", storage()).await;
    for (method, path, body) in [
        ("POST", "/backup", storage()),
        ("POST", "/prebackup", storage()),
        ("PUT", "/restore", restore("mhsm-dev-1")),
        ("PUT", "/prerestore", restore("mhsm-dev-1")),
        ("PUT", "/keys/k/restore", key_restore("mhsm-dev-1")),
    ] {
        let busy = world.call(method, path, body).await;
        assert_eq!(busy.code(), (409, "Conflict".to_owned()), "{path}");
    }
    world.shelf.is_gone.store(true, Ordering::SeqCst);
    world.shelf.gate.add_permits(1_000);
    let done = ended(&world, &status_path(&started)).await;
    assert_eq!(done["status"], "Failed");
    assert_eq!(done["error"]["code"], "StorageAccountError");
    assert!(done["error"]["message"].as_str().unwrap().contains("not there"));
    world.shelf.is_gone.store(false, Ordering::SeqCst);
    backup(&world).await;
}

#[tokio::test]
async fn parameters_that_are_none_are_refused_and_begin_nothing() {
    let world = World::new().await;
    let uri = |uri: &str| json!({"storageResourceUri": uri, "token": "sig=x"});
    for (method, path, body) in [
        ("POST", "/backup", json!({})),
        ("POST", "/backup", uri("")),
        ("POST", "/backup", uri("c")),
        ("POST", "/backup", uri("https://h/c?sig=1")),
        ("POST", "/backup", json!({"storageResourceUri": "https://h/c", "token": "a\nb"})),
        ("POST", "/backup", by_identity("file:///nightly")),
        ("POST", "/prebackup", by_identity("s3+https://h/b")),
        ("POST", "/backup", by_identity("https://h/c?x=1")),
        ("POST", "/backup", token_and_identity()),
        ("PUT", "/restore", by_identity("https://h/c")),
        (
            "PUT",
            "/restore",
            json!({"sasTokenParameters": token_and_identity(), "folderToRestore": "f"}),
        ),
        (
            "PUT",
            "/prerestore",
            json!({"sasTokenParameters": by_identity("file:///c"), "folderToRestore": "f"}),
        ),
        (
            "PUT",
            "/keys/k/restore",
            json!({"sasTokenParameters": by_identity("s3+https://h/b"), "folder": "f"}),
        ),
        ("PUT", "/restore", storage()),
        ("PUT", "/restore", restore("")),
        ("PUT", "/restore", restore("..")),
        ("PUT", "/keys/k/restore", restore("f")),
        ("PUT", "/keys/k/restore", key_restore("a b")),
    ] {
        let reply = world.call(method, path, body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{path} {body}: {}", reply.text);
    }
    backup(&world).await;
    for path in ["/backup/0/pending", "/restore/x/pending", "/prebackup/0/pending", "/backup/a"] {
        assert_eq!(world.call("GET", path, Value::Null).await.status, 404, "{path}");
    }
    let none = format!("/backup/{}/pending", "0".repeat(32));
    let reply = world.call("GET", &none, Value::Null).await;
    assert_eq!(reply.code(), (404, "JobNotFound".to_owned()));
    for (method, path) in [("GET", "/backup"), ("POST", "/restore"), ("PUT", "/prebackup")] {
        assert_eq!(world.call(method, path, Value::Null).await.status, 405, "{method} {path}");
    }
}

#[tokio::test]
async fn who_backs_up_does_not_restore_and_users_of_keys_do_neither() {
    let world = World::new().await;
    let started = world.call("POST", "/backup", storage()).await;
    let path = status_path(&started);
    ended(&world, &path).await;
    let backs_up = world.somebody("Managed HSM Backup User", "").await;
    let restores = world.somebody("Managed HSM Restore User", "").await;
    let uses = world.somebody("Managed HSM Crypto User", "").await;
    let officer = world.somebody("Managed HSM Crypto Officer", "").await;
    for (who, may_back_up, may_restore) in [
        (backs_up, true, false),
        (restores, false, true),
        (uses, false, false),
        (officer, false, false),
        (Uuid::new_v4(), false, false),
    ] {
        let is = |reply: &Reply, allowed: bool| {
            assert_eq!(reply.status != 403, allowed, "{}", reply.text);
        };
        is(&poll(&world, who, &path).await, may_back_up);
        let started = world.call_as(who, "POST", "/prebackup", storage()).await;
        is(&started, may_back_up);
        if may_back_up {
            assert_eq!(ended(&world, &status_path(&started)).await["status"], "Succeeded");
        }
        for (path, body) in
            [("/prerestore", restore("mhsm-none")), ("/keys/k/restore", key_restore("mhsm-none"))]
        {
            let started = world.call_as(who, "PUT", path, body).await;
            is(&started, may_restore);
            if may_restore {
                let path = status_path(&started);
                assert_eq!(ended(&world, &path).await["status"], "Failed");
                assert_eq!(poll(&world, who, &path).await.status, 200);
                assert!(ended(&world, &path).await.get("azureStorageBlobContainerUri").is_none());
            }
        }
    }
}

#[tokio::test]
async fn a_restore_answers_nothing_but_its_status_until_the_hsm_is_opened_anew() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let stranger = world.somebody("Managed HSM Crypto User", "").await;
    let folder = backup(&world).await;
    let role = world.grant(Uuid::new_v4(), "Managed HSM Crypto User", "/keys").await;
    let started = world.call("PUT", "/restore", restore(&folder)).await;
    assert_eq!(started.status, 202, "{}", started.text);
    let path = status_path(&started);
    assert!(path.starts_with("/restore/"));
    while !world.shelf.taken.load(Ordering::SeqCst) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for (who, method, path) in [
        (ADMIN, "GET", "/keys/k".to_owned()),
        (stranger, "POST", "/keys/k/sign".to_owned()),
        (ADMIN, "DELETE", role),
        (ADMIN, "POST", "/backup".to_owned()),
        (ADMIN, "GET", "/settings".to_owned()),
    ] {
        let reply = world.call_as(who, method, &path, Value::Null).await;
        assert_eq!(reply.code(), (503, "ServiceUnavailable".to_owned()), "{path}");
        assert!(reply.headers.contains_key("retry-after"));
    }
    let status = poll(&world, ADMIN, &path).await;
    assert_eq!((status.status.as_u16(), &status.json()["status"]), (200, &json!("InProgress")));
    let lines = world.audit.lines().concat();
    assert!(lines.contains("RestoreTakesOver") && lines.contains("RoleAssignmentDropped"));
}

#[tokio::test]
async fn a_restore_that_fails_leaves_the_hsm_in_service() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let folder = backup(&world).await;
    world.shelf.alter(&format!("{folder}/part-000000"));
    let started = world.call("PUT", "/restore", restore(&folder)).await;
    let done = ended(&world, &status_path(&started)).await;
    assert_eq!((&done["status"], &done["error"]["code"]), (&json!("Failed"), &json!("BadBackup")));
    assert!(done["error"]["message"].as_str().unwrap().contains("altered"), "{done}");
    assert!(!world.shelf.taken.load(Ordering::SeqCst));
    assert_eq!(world.call("GET", "/keys/k", Value::Null).await.status, 200);
    world.create("l", json!({"kty": "EC"})).await;
    assert!(world.audit.lines().concat().contains("RestoreEnded"));
}

#[tokio::test]
async fn nothing_is_backed_up_without_a_record() {
    let world = World::new().await;
    world.audit.set_full(true);
    assert_eq!(world.call("POST", "/backup", storage()).await.status, 503);
    world.audit.set_full(false);
    assert!(world.shelf.names().is_empty());
    backup(&world).await;
}
