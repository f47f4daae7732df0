//! Who may do what, through the API; role assignments and definitions.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, World, b64};

const ROLES: &str = "/providers/Microsoft.Authorization";
const DEFINITION: &str = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions";
const CRYPTO_USER: &str = "21dbd100-6940-42c2-9190-5d6cb909625b";
const ADMINISTRATOR: &str = "a290e904-7015-4bba-90c8-60543313cdb4";

fn assignment(role: &str, principal: Uuid) -> Value {
    json!({"properties": {"roleDefinitionId": role, "principalId": principal}})
}

#[tokio::test]
async fn nobody_does_what_no_role_allows() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let stranger = Uuid::new_v4();
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    for (method, path, body, action, scope) in [
        ("GET", "/keys", Value::Null, "/keys/read/action", "/keys"),
        ("GET", "/keys/k", Value::Null, "/keys/read/action", "/keys/k"),
        ("POST", "/keys/k/create", json!({"kty": "EC"}), "/keys/create", "/keys/k"),
        ("POST", "/keys/k/sign", sign, "/keys/sign/action", "/keys/k"),
        ("DELETE", "/keys/k", Value::Null, "/keys/delete", "/keys/k"),
        ("DELETE", "/deletedkeys/k", Value::Null, "/keys/deletedKeys/delete", "/keys/k"),
        ("POST", "/rng", json!({"count": 1}), "/rng/action", "/"),
        (
            "GET",
            "/providers/Microsoft.Authorization/roleAssignments",
            Value::Null,
            "/roleAssignments/read/action",
            "/",
        ),
    ] {
        let reply = world.call_as(stranger, method, path, body).await;
        assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{method} {path}");
        let denied = format!("Microsoft.KeyVault/managedHsm{action} on {scope}");
        let text = format!("Not authorized to access {denied} (Activity ID: ");
        assert!(reply.message().starts_with(&text), "{}", reply.message());
    }
}

#[tokio::test]
async fn a_role_holds_at_its_scope_and_below() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.create(name, json!({"kty": "EC"})).await;
    }
    let user = world.somebody("Managed HSM Crypto User", "/keys/a").await;
    for (path, status) in [("/keys/a", 200), ("/keys/A", 200), ("/keys/b", 403), ("/keys", 200)] {
        assert_eq!(world.call_as(user, "GET", path, Value::Null).await.status, status, "{path}");
    }
    let auditor = world.somebody("Managed HSM Crypto Auditor", "/keys").await;
    assert_eq!(world.call_as(auditor, "GET", "/keys", Value::Null).await.status, 200);
    assert_eq!(world.call_as(auditor, "DELETE", "/keys/a", Value::Null).await.status, 403);
    assert_eq!(world.call_as(auditor, "POST", "/rng", json!({"count": 1})).await.status, 403);
}

#[tokio::test]
async fn assignments_are_made_shown_and_taken_away() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    let (name, user) = (Uuid::new_v4(), Uuid::new_v4());
    let path = format!("/keys/k{ROLES}/roleAssignments/{name}");
    let role = format!("/{DEFINITION}/{CRYPTO_USER}");
    let made = world.call("PUT", &path, assignment(&role, user)).await;
    let expected = json!({
        "id": path, "name": name, "type": "Microsoft.Authorization/roleAssignments",
        "properties": {
            "scope": "/keys/k",
            "roleDefinitionId": format!("{DEFINITION}/{CRYPTO_USER}"),
            "principalId": user,
        },
    });
    assert_eq!((made.status.as_u16(), made.json()), (201, expected.clone()));
    assert_eq!(world.call("GET", &path, Value::Null).await.json(), expected);
    assert_eq!(world.call_as(user, "GET", "/keys/k", Value::Null).await.status, 200);
    let at_root = format!("{ROLES}/roleAssignments/{name}");
    assert_eq!(world.call("GET", &at_root, Value::Null).await.status, 404);
    for (filter, count) in [("", 1), ("atScope()", 1), (&format!("principalId eq '{user}'"), 1)] {
        let list = format!("/keys/k{ROLES}/roleAssignments?$filter={}", filter.replace(' ', "%20"));
        let list = world.call("GET", &list, Value::Null).await.json();
        assert_eq!(list["value"].as_array().unwrap().len(), count, "{filter}");
    }
    let mine = format!("/keys/k{ROLES}/roleAssignments?$filter=principalId+eq+{ADMIN}");
    let mine = world.call("GET", &mine, Value::Null).await.json();
    assert_eq!(mine["value"].as_array().unwrap().len(), 3);
    let gone = world.call("DELETE", &path, Value::Null).await;
    assert_eq!((gone.status.as_u16(), gone.json()), (200, expected));
    assert_eq!(world.call_as(user, "GET", "/keys/k", Value::Null).await.status, 403);
    let again = world.call("DELETE", &path, Value::Null).await;
    assert_eq!(again.code(), (404, "RoleAssignmentNotFound".to_owned()));
}

#[tokio::test]
async fn assignments_are_written_as_the_scope_was_asked() {
    let world = World::new().await;
    let user = Uuid::new_v4();
    for (made_at, asked_at) in
        [("/keys/Sign-1", "/keys/sign-1"), ("/keys/Team-A-*", "/KEYS/team-a-*")]
    {
        let name = Uuid::new_v4();
        let path = |scope: &str| format!("{scope}{ROLES}/roleAssignments/{name}");
        let made = world.call("PUT", &path(made_at), assignment(CRYPTO_USER, user)).await.json();
        assert_eq!(made["properties"]["scope"], made_at);
        let asked = asked_at.replace("KEYS", "keys");
        let all = |filter: &str| format!("{asked_at}{ROLES}/roleAssignments?$filter={filter}");
        for filter in ["", "atScope()", &format!("principalId+eq+{user}")] {
            let list = world.call("GET", &all(filter), Value::Null).await.json();
            let found =
                list["value"].as_array().unwrap().iter().find(|one| one["name"] == json!(name));
            let found = found.unwrap_or_else(|| panic!("{filter}: {list}"));
            assert_eq!(found["properties"]["scope"], asked, "{filter}");
            assert_eq!(found["id"], path(&asked), "{filter}");
        }
        let got = world.call("GET", &path(asked_at), Value::Null).await.json();
        assert_eq!(
            (&got["properties"]["scope"], &got["id"]),
            (&json!(asked), &json!(path(&asked)))
        );
        // Elsewhere it keeps the spelling that it was made in.
        let around = format!("{ROLES}/roleAssignments?$filter=principalId+eq+{user}");
        let list = world.call("GET", &around, Value::Null).await.json();
        assert_eq!(list["value"][0]["properties"]["scope"], made_at);
        let gone = world.call("DELETE", &path(asked_at), Value::Null).await;
        assert_eq!((gone.status.as_u16(), &gone.json()["id"]), (200, &json!(path(&asked))));
    }
}

#[tokio::test]
async fn wrong_assignments_are_refused() {
    let world = World::new().await;
    let user = Uuid::new_v4();
    let taken = Uuid::new_v4();
    let path = |name: Uuid| format!("{ROLES}/roleAssignments/{name}");
    assert_eq!(world.call("PUT", &path(taken), assignment(CRYPTO_USER, user)).await.status, 201);
    let exists = (409, "Conflict".to_owned());
    let other = assignment(CRYPTO_USER, Uuid::new_v4());
    assert_eq!(world.call("PUT", &path(taken), other).await.code(), exists);
    let twin = world.call("PUT", &path(Uuid::new_v4()), assignment(CRYPTO_USER, user)).await;
    assert_eq!(twin.code(), exists);
    for body in [
        json!({}),
        json!({"properties": {"roleDefinitionId": CRYPTO_USER}}),
        json!({"properties": {"roleDefinitionId": CRYPTO_USER, "principalId": "me"}}),
        assignment("Managed HSM Crypto User", user),
        assignment(&Uuid::from_u128(1).to_string(), user),
    ] {
        let reply = world.call("PUT", &path(Uuid::new_v4()), body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{body}");
    }
    let bad_filter = format!("{ROLES}/roleAssignments?$filter=all()");
    assert_eq!(world.call("GET", &bad_filter, Value::Null).await.status, 400);
}

#[tokio::test]
async fn an_officer_grants_roles_but_never_the_highest() {
    let world = World::new().await;
    let officer = world.somebody("Managed HSM Crypto Officer", "").await;
    let path = || format!("{ROLES}/roleAssignments/{}", Uuid::new_v4());
    let grant = assignment(CRYPTO_USER, Uuid::new_v4());
    assert_eq!(world.call_as(officer, "PUT", &path(), grant).await.status, 201);
    let own = world.call_as(officer, "PUT", &path(), assignment(CRYPTO_USER, officer)).await;
    assert_eq!(own.code(), (403, "Forbidden".to_owned()));
    assert!(own.message().contains("to itself"), "{}", own.message());
    let climb = assignment(ADMINISTRATOR, officer);
    let reply = world.call_as(officer, "PUT", &path(), climb).await;
    assert_eq!(reply.code(), (403, "Forbidden".to_owned()));
    assert!(reply.message().contains("Only a Managed HSM Administrator"), "{}", reply.message());
}

#[tokio::test]
async fn an_administrator_leaves_only_by_the_hand_of_another() {
    let world = World::new().await;
    let filter = format!("{ROLES}/roleAssignments?$filter=principalId%20eq%20{ADMIN}");
    let list = world.call("GET", &filter, Value::Null).await.json();
    let role = json!(format!("{DEFINITION}/{ADMINISTRATOR}"));
    let all = list["value"].as_array().unwrap();
    let mine = all.iter().find(|one| one["properties"]["roleDefinitionId"] == role).unwrap();
    let mine = mine["id"].as_str().unwrap();
    let last = world.call("DELETE", mine, Value::Null).await;
    assert_eq!(last.code(), (409, "Conflict".to_owned()));
    let other = world.somebody("Managed HSM Administrator", "").await;
    let own = world.call("DELETE", mine, Value::Null).await;
    assert_eq!(own.code(), (409, "Conflict".to_owned()));
    assert!(own.message().contains("Let another Administrator do it"), "{}", own.message());
    assert_eq!(world.call_as(other, "DELETE", mine, Value::Null).await.status, 200);
    assert_eq!(world.last_record()["phase"], "outcome");
    assert_eq!(world.last_record()["resultType"], "Success");
    let gone = world.call("GET", mine, Value::Null).await;
    assert_eq!(gone.status, 404, "{}", gone.text);
}
