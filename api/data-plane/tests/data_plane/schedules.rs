//! Schedules of backups through the API: who may, what is shown, what is refused, what is recorded.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, HOST, START, World};

const PLACE: &str = "https://a.blob.example/c";
const TOKEN: &str = "?sv=1&sig=hunter2";
const NIGHTLY: &str = "/backup/schedules/nightly";

fn schedule() -> Value {
    json!({"storageResourceUri": PLACE, "token": TOKEN, "everyMinutes": 1_440})
}

fn with(member: &str, value: Value) -> Value {
    let mut schedule = schedule();
    schedule[member] = value;
    schedule
}

async fn set(world: &World, body: Value) {
    let set = world.call("PUT", NIGHTLY, body).await;
    assert_eq!(set.status, 200, "{}", set.text);
}

#[tokio::test]
async fn what_is_set_is_shown_without_its_token_and_is_recorded() {
    let world = World::new().await;
    let none = world.call("GET", "/backup/schedules", Value::Null).await;
    assert_eq!(none.json(), json!({"value": []}));
    let set = world.call("PUT", NIGHTLY, schedule()).await;
    let expected = json!({
        "name": "nightly", "storageResourceUri": PLACE, "useManagedIdentity": false,
        "everyMinutes": 1_440,
        "offsetMinutes": 0, "fullEvery": 7, "keepDays": 30, "keepLast": 2, "enabled": true,
        "setTime": START, "setBy": ADMIN,
        "status": {
            "jobId": null, "lastRunTime": null, "lastSuccessTime": null, "lastBackup": null,
            "nextRunTime": START, "failures": 0, "lastFailure": null, "backups": 0, "chains": 0,
            "unfinished": 0, "kept": 0, "forgotten": 0, "removalFailure": null,
        },
    });
    assert_eq!((set.status.as_u16(), set.json()), (200, expected.clone()));
    let one = world.call("GET", NIGHTLY, Value::Null).await;
    assert_eq!(one.json(), expected);
    let all = world.call("GET", "/Backup/Schedules/", Value::Null).await;
    assert_eq!(all.json(), json!({"value": [expected]}));
    let mut kept = with("enabled", json!(false));
    kept.as_object_mut().unwrap().remove("token");
    let kept = world.call("PUT", NIGHTLY, kept).await;
    assert_eq!(kept.status, 200, "{}", kept.text);
    assert_eq!(kept.json()["status"]["nextRunTime"], Value::Null, "it is disabled");
    let gone = world.call("DELETE", NIGHTLY, Value::Null).await;
    assert_eq!(gone.json()["name"], "nightly");
    for reply in [&set, &one, &all, &kept, &gone] {
        assert!(!reply.text.contains("hunter2"), "{}", reply.text);
    }
    let gone = world.call("GET", NIGHTLY, Value::Null).await;
    assert_eq!(gone.code(), (404, "ScheduleNotFound".to_owned()));
    let lines = world.audit.lines();
    assert!(!lines.concat().contains("hunter2"), "no token in a record");
    let of = |operation: &str, phase: &str| {
        let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = records.filter(|it| it["operationName"] == operation && it["phase"] == phase);
        of.map(|it| it["details"].clone()).collect::<Vec<_>>()
    };
    let plan = "every 1440 min at 0, full every 7, keep 30 days and 2 chains, enabled";
    let sets = of("BackupScheduleSet", "intent");
    let token = sets[0]["token"].as_str().unwrap().to_owned();
    assert!(token.len() == 16 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    assert_eq!(sets[0], json!({"storageResourceUri": PLACE, "plan": plan, "token": token}));
    assert_eq!((&sets[1]["token"], &sets[1]["planBefore"]), (&json!("kept"), &json!(plan)));
    assert_eq!(of("BackupScheduleSet", "outcome").len(), 2);
    assert_eq!(of("BackupScheduleDelete", "intent").len(), 1);
    assert_eq!(of("BackupScheduleDelete", "outcome").len(), 1);
    assert_eq!(of("BackupScheduleList", "use").len(), 2);
    assert_eq!(of("BackupScheduleGet", "use").len(), 1);
}

#[tokio::test]
async fn the_identity_of_the_hsm_opens_the_target_until_something_else_is_said() {
    let world = World::new().await;
    let without = |member: &str, value: Value| {
        let mut body = with(member, value);
        body.as_object_mut().unwrap().remove("token");
        body
    };
    let by_identity = without("useManagedIdentity", json!(true));
    let set = world.call("PUT", NIGHTLY, by_identity).await;
    assert_eq!((set.status.as_u16(), &set.json()["useManagedIdentity"]), (200, &json!(true)));
    let kept = world.call("PUT", NIGHTLY, without("enabled", json!(false))).await;
    assert_eq!(kept.json()["useManagedIdentity"], true, "it is kept: {}", kept.text);
    let both = with("useManagedIdentity", json!(true));
    for (body, says) in [
        (both, "two ways"),
        (without("useManagedIdentity", json!(false)), "'token' is needed"),
        (without("useManagedIdentity", json!("yes")), "wrong type"),
    ] {
        let refused = world.call("PUT", NIGHTLY, body).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        assert!(refused.text.contains(says), "{}", refused.text);
    }
    let s3 = json!({"storageResourceUri": "s3+https://s3.example/b", "useManagedIdentity": true,
        "everyMinutes": 60});
    assert_eq!(world.call("PUT", NIGHTLY, s3).await.status, 400, "no identity opens that");
    assert_eq!(world.call("GET", NIGHTLY, Value::Null).await.json()["useManagedIdentity"], true);
    // What is recorded: that it was kept, and no token where there is none.
    let details = |at: usize| {
        let lines = world.audit.lines();
        let records = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = |it: &Value| it["operationName"] == "BackupScheduleSet" && it["phase"] == "intent";
        records.filter(of).nth(at).unwrap()["details"].clone()
    };
    for at in 0..3 {
        let details = details(at);
        assert_eq!(details["token"], Value::Null, "{at}: {details}");
        let access = if at < 2 { json!("managedIdentity") } else { Value::Null };
        assert_eq!(details["storageAccess"], access, "{at}: {details}");
    }
    set_by_token(&world).await;
}

async fn set_by_token(world: &World) {
    set(world, schedule()).await;
    assert_eq!(world.call("GET", NIGHTLY, Value::Null).await.json()["useManagedIdentity"], false);
    let mut elsewhere = with("storageResourceUri", json!("file:///elsewhere"));
    elsewhere.as_object_mut().unwrap().remove("token");
    set(world, elsewhere).await;
    let lines = world.audit.lines();
    let last = lines.iter().rev().find(|line| line.contains("file:///elsewhere")).unwrap();
    let details = serde_json::from_str::<Value>(last).unwrap()["details"].clone();
    assert_eq!(details["token"], Value::Null, "none was kept: {details}");
}

#[tokio::test]
async fn nobody_but_an_administrator_sees_sets_removes_or_runs_them() {
    let world = World::new().await;
    set(&world, schedule()).await;
    let mut callers = vec![Uuid::new_v4()];
    for role in [
        "Backup User",
        "Restore User",
        "Crypto Officer",
        "Crypto User",
        "Crypto Auditor",
        "Policy Administrator",
    ] {
        callers.push(world.somebody(&format!("Managed HSM {role}"), "").await);
    }
    for caller in callers {
        for (method, path, body) in [
            ("GET", "/backup/schedules", Value::Null),
            ("GET", NIGHTLY, Value::Null),
            ("PUT", NIGHTLY, schedule()),
            ("PUT", "/backup/schedules/other", schedule()),
            ("DELETE", NIGHTLY, Value::Null),
            ("POST", "/backup/schedules/nightly/run", Value::Null),
            ("GET", "/backup/schedules/none", Value::Null),
            ("DELETE", "/backup/schedules/none", Value::Null),
        ] {
            let reply = world.call_as(caller, method, path, body).await;
            assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{method} {path}");
        }
    }
    let admin = world.somebody("Managed HSM Administrator", "").await;
    let shown = world.call_as(admin, "GET", "/backup/schedules", Value::Null).await;
    assert_eq!(shown.json()["value"].as_array().unwrap().len(), 1, "and nothing was changed");
    let taken = world.call_as(admin, "PUT", NIGHTLY, schedule()).await;
    assert_eq!(taken.json()["setBy"], json!(admin));
}

/// A role of one's own with this action alone.
async fn holder(world: &World, action: &str) -> Uuid {
    let id = Uuid::new_v4();
    let path = format!("/providers/Microsoft.Authorization/roleDefinitions/{id}");
    let data = format!("Microsoft.KeyVault/managedHsm/{action}");
    let (name, permissions) = (format!("only {action}"), json!([{"dataActions": [data]}]));
    let body = json!({"properties": {"roleName": name, "permissions": permissions}});
    let made = world.call("PUT", &path, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let who = Uuid::new_v4();
    let path = format!("/providers/Microsoft.Authorization/roleAssignments/{}", Uuid::new_v4());
    let body = json!({"properties": {"roleDefinitionId": id, "principalId": who}});
    let made = world.call("PUT", &path, body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    who
}

#[tokio::test]
async fn a_schedule_gives_nobody_what_he_does_not_have() {
    let world = World::new().await;
    set(&world, schedule()).await;
    let settings = holder(&world, "settings/write/action").await;
    let backups = holder(&world, "backup/start/action").await;
    for (who, reads) in [(settings, true), (backups, false)] {
        for (method, path, body) in [
            ("PUT", NIGHTLY, schedule()),
            ("PUT", "/backup/schedules/other", schedule()),
            ("POST", "/backup/schedules/nightly/run", Value::Null),
        ] {
            let reply = world.call_as(who, method, path, body).await;
            assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{method} {path}");
        }
        let read = world.call_as(who, "GET", NIGHTLY, Value::Null).await;
        assert_eq!(read.status == 200, reads);
    }
    let gone = world.call_as(settings, "DELETE", NIGHTLY, Value::Null).await;
    assert_eq!(gone.status, 200, "to end one takes no right to back up: {}", gone.text);
}

#[tokio::test]
async fn what_no_schedule_can_be_is_refused_and_changes_nothing() {
    let world = World::new().await;
    set(&world, schedule()).await;
    let without = |member: &str| {
        let mut schedule = schedule();
        schedule.as_object_mut().unwrap().remove(member);
        schedule
    };
    let mut moved = without("token");
    moved["storageResourceUri"] = json!("https://attacker.example/c");
    let bodies = [
        Value::Null,
        json!({}),
        json!([]),
        without("everyMinutes"),
        without("storageResourceUri"),
        moved,
        with("everyMinutes", json!(4)),
        with("everyMinutes", json!(44_641)),
        with("everyMinutes", json!(-1)),
        with("everyMinutes", json!("hunter2")),
        with("everyMinutes", json!(60.5)),
        with("offsetMinutes", json!(1_440)),
        with("fullEvery", json!(0)),
        with("fullEvery", json!(101)),
        with("keepDays", json!(3_651)),
        with("keepLast", json!(0)),
        with("keepLast", json!(101)),
        with("enabled", json!("yes")),
        with("everyMinutes", json!(5)),
        with("storageResourceUri", json!("c")),
        with("storageResourceUri", json!("https://a.blob.example/c?sig=hunter2")),
        with("token", json!("hunter2\nhunter2")),
        with("token", json!("h".repeat(4_097))),
        with("casemateBase", json!("mhsm-dev-1")),
        with("name", json!("other")),
    ];
    for body in bodies {
        let reply = world.call("PUT", NIGHTLY, body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}: {}", reply.text);
        assert!(!reply.text.contains("hunter2"), "{}", reply.text);
    }
    let shown = world.call("GET", NIGHTLY, Value::Null).await.json();
    assert_eq!((&shown["storageResourceUri"], &shown["setTime"]), (&json!(PLACE), &json!(START)));
    for name in ["A", "a_b", "a.b", "..", "%20", &"a".repeat(33)] {
        let path = format!("/backup/schedules/{name}");
        let reply = world.call("PUT", &path, schedule()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{name}: {}", reply.text);
    }
    for (method, path) in [
        ("POST", "/backup/schedules"),
        ("DELETE", "/backup/schedules"),
        ("POST", NIGHTLY),
        ("PATCH", NIGHTLY),
        ("GET", "/backup/schedules/nightly/run"),
    ] {
        assert_eq!(world.call(method, path, Value::Null).await.status, 405, "{method} {path}");
    }
    let none = world.call("POST", "/backup/schedules/none/run", Value::Null).await;
    assert_eq!(none.code(), (404, "ScheduleNotFound".to_owned()));
}

#[tokio::test]
async fn there_is_an_end_to_them() {
    let world = World::new().await;
    for at in 0..8 {
        let path = format!("/backup/schedules/s{at}");
        assert_eq!(world.call("PUT", &path, schedule()).await.status, 200);
    }
    let more = world.call("PUT", NIGHTLY, schedule()).await;
    assert_eq!(more.code(), (409, "Conflict".to_owned()), "{}", more.text);
    assert_eq!(world.call("PUT", "/backup/schedules/s0", schedule()).await.status, 200);
    assert_eq!(world.call("DELETE", "/backup/schedules/s0", Value::Null).await.status, 200);
    set(&world, schedule()).await;
}

#[tokio::test]
async fn a_run_is_asked_for_and_not_of_one_that_is_disabled() {
    let world = World::new().await;
    set(&world, schedule()).await;
    let run = world.call("POST", "/backup/schedules/nightly/run", Value::Null).await;
    assert_eq!(run.status, 202, "{}", run.text);
    assert_eq!(run.json()["status"]["nextRunTime"], START);
    set(&world, with("enabled", json!(false))).await;
    let run = world.call("POST", "/backup/schedules/nightly/run", Value::Null).await;
    assert_eq!(run.code(), (409, "Conflict".to_owned()));
    assert!(run.message().contains("enable it first"), "{}", run.message());
}

#[tokio::test]
async fn they_are_of_our_own_and_need_no_api_version() {
    let world = World::new().await;
    let ask = |query: &str| {
        Request::builder()
            .uri(format!("/backup/schedules{query}"))
            .header("host", HOST)
            .header("authorization", format!("Bearer {}", world.token(ADMIN)))
            .body(Full::default())
            .unwrap()
    };
    assert_eq!(world.raw(ask("")).await.status, 200);
    assert_eq!(world.raw(ask("?api-version=1")).await.status, 400, "one that is sent is known");
}

#[tokio::test]
async fn nothing_is_set_without_a_record() {
    let world = World::new().await;
    world.audit.set_full(true);
    assert_eq!(world.call("PUT", NIGHTLY, schedule()).await.status, 503);
    world.audit.set_full(false);
    let all = world.call("GET", "/backup/schedules", Value::Null).await;
    assert_eq!(all.json(), json!({"value": []}));
}
