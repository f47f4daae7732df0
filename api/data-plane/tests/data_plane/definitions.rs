//! Role definitions through the API, name prefixes, and why somebody may do something.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{ADMIN, Reply, World, b64};

const ROLES: &str = "/providers/Microsoft.Authorization";
const DEFINITION: &str = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions";
const CRYPTO_USER: &str = "21dbd100-6940-42c2-9190-5d6cb909625b";
const ACTION: &str = "Microsoft.KeyVault/managedHsm";

fn at(id: Uuid) -> String {
    format!("{ROLES}/roleDefinitions/{id}")
}

fn definition(name: &str, actions: &[&str]) -> Value {
    let names: Vec<_> = actions.iter().map(|action| format!("{ACTION}{action}")).collect();
    json!({"properties": {"roleName": name, "permissions": [{"dataActions": names}]}})
}

async fn grant(world: &World, role: Uuid, scope: &str, to: Uuid) -> Reply {
    let path = format!("{scope}{ROLES}/roleAssignments/{}", Uuid::new_v4());
    let body = json!({"properties": {"roleDefinitionId": role, "principalId": to}});
    world.call("PUT", &path, body).await
}

#[tokio::test]
async fn definitions_are_listed_at_any_scope() {
    let world = World::new().await;
    world.create("k", json!({"kty": "EC"})).await;
    for scope in ["", "/keys", "/keys/k", "/keys/team-*"] {
        let path = format!("{scope}{ROLES}/roleDefinitions");
        let list = world.call("GET", &path, Value::Null).await.json();
        assert_eq!(list["value"].as_array().unwrap().len(), 10, "{scope}");
    }
    let path = format!("{ROLES}/roleDefinitions/{CRYPTO_USER}");
    let one = world.call("GET", &path, Value::Null).await.json();
    assert_eq!(one["id"], format!("{DEFINITION}/{CRYPTO_USER}"));
    assert_eq!(one["properties"]["roleName"], "Managed HSM Crypto User");
    assert_eq!(one["properties"]["assignableScopes"], json!(["/"]));
    assert_eq!(one["properties"]["permissions"][0]["notDataActions"], json!([]));
    let named = "roleDefinitions?$filter=roleName%20eq%20'Managed%20HSM%20Crypto%20User'";
    let named = world.call("GET", &format!("{ROLES}/{named}"), Value::Null).await.json();
    assert_eq!(named["value"], json!([one]));
    let none = at(Uuid::from_u128(1));
    let reply = world.call("GET", &none, Value::Null).await;
    assert_eq!(reply.code(), (404, "RoleDefinitionNotFound".to_owned()));
}

#[tokio::test]
async fn a_definition_is_written_read_changed_and_deleted() {
    let world = World::new().await;
    let id = Uuid::new_v4();
    let body = json!({"properties": {
        "roleName": "Signer", "description": "signs", "type": "CustomRole",
        "permissions": [{
            "actions": ["a/b"], "notActions": ["a/c"],
            "dataActions": [format!("{ACTION}/keys/sign/action"), format!("{ACTION}/rng/action")],
            "notDataActions": [format!("{ACTION}/rng/action")],
        }],
        "assignableScopes": ["/"],
    }});
    let expected = json!({
        "id": format!("{DEFINITION}/{id}"), "name": id,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": "Signer", "description": "signs", "type": "CustomRole",
            "permissions": body["properties"]["permissions"], "assignableScopes": ["/"],
        },
    });
    let made = world.call("PUT", &at(id), body).await;
    assert_eq!((made.status.as_u16(), made.json()), (201, expected.clone()));
    assert_eq!(world.last_record()["operationName"], "RoleDefinitionCreateOrUpdate");
    assert_eq!(world.call("GET", &at(id), Value::Null).await.json(), expected);
    let listed = format!("/keys/x{ROLES}/roleDefinitions?$filter=roleName%20eq%20'signer'");
    let listed = world.call("GET", &listed, Value::Null).await.json();
    assert_eq!(listed["value"], json!([expected]));

    let user = Uuid::new_v4();
    world.create("k", json!({"kty": "EC"})).await;
    assert_eq!(grant(&world, id, "/keys/k", user).await.status, 201);
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    assert_eq!(world.call_as(user, "POST", "/keys/K/sign", sign.clone()).await.status, 200);
    assert_eq!(world.last_record()["permit"]["role"], "Signer");
    assert_eq!(world.last_record()["key"]["name"], "k");
    // What is left out is empty, as in the original.
    let bare = world.call("PUT", &at(id), json!({"properties": {}})).await;
    assert_eq!(bare.status, 201);
    let properties = bare.json()["properties"].clone();
    assert_eq!(
        (&properties["roleName"], &properties["description"], &properties["permissions"]),
        (&json!(""), &json!(""), &json!([]))
    );
    let reply = world.call_as(user, "POST", "/keys/k/sign", sign.clone()).await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));

    world.call("PUT", &at(id), definition("Signer", &["/keys/sign/action"])).await;
    assert_eq!(world.call_as(user, "POST", "/keys/k/sign", sign.clone()).await.status, 200);
    let gone = world.call("DELETE", &at(id), Value::Null).await;
    assert_eq!((gone.status.as_u16(), &gone.json()["name"]), (200, &json!(id)));
    assert_eq!(world.call_as(user, "POST", "/keys/k/sign", sign).await.status, 403);
    assert_eq!(world.call("GET", &at(id), Value::Null).await.status, 404);
    let again = world.call("DELETE", &at(id), Value::Null).await;
    assert_eq!(again.code(), (404, "RoleDefinitionNotFound".to_owned()));
    let list = format!("/keys/k{ROLES}/roleAssignments");
    let list = world.call("GET", &list, Value::Null).await.json();
    assert_eq!(list["value"][0]["properties"]["roleDefinitionId"], format!("{DEFINITION}/{id}"));
    let revive = world.call("PUT", &at(id), definition("Signer", &["/keys/sign/action"])).await;
    assert_eq!(revive.code(), (409, "Conflict".to_owned()));
}

#[tokio::test]
async fn what_is_no_definition_is_refused() {
    let world = World::new().await;
    let id = Uuid::new_v4();
    assert_eq!(world.call("PUT", &at(id), definition("Mine", &[])).await.status, 201);
    let built_in = at(Uuid::parse_str(CRYPTO_USER).unwrap());
    let other = at(Uuid::new_v4());
    let bad = (400, "BadParameter".to_owned());
    for (path, body, code) in [
        (&built_in, definition("Other", &[]), bad.clone()),
        (&other, definition("managed hsm crypto user", &[]), bad.clone()),
        (&other, definition("MINE", &[]), (409, "Conflict".to_owned())),
        (&other, definition("a", &["/*"]), bad.clone()),
        (&other, definition("a", &["/keys/fly/action"]), bad.clone()),
        (&other, definition(&"x".repeat(129), &[]), bad.clone()),
        (&other, json!({"properties": {"assignableScopes": ["/keys"]}}), bad.clone()),
        (&other, json!({}), bad.clone()),
        (&other, Value::Null, bad.clone()),
        (&format!("/keys{other}"), definition("a", &[]), bad.clone()),
        (&format!("/keys/k{other}"), definition("a", &[]), bad.clone()),
        (&format!("{ROLES}/roleDefinitions/mine"), definition("a", &[]), bad.clone()),
    ] {
        let reply = world.call("PUT", path, body.clone()).await;
        assert_eq!(reply.code(), code, "{path} {body}: {}", reply.text);
    }
    let text = world.call("PUT", &built_in, definition("Other", &[])).await.message();
    assert!(text.starts_with("Cannot re-use the name/GUID matching that of a built-in role. "));
    assert_eq!(world.call("DELETE", &built_in, Value::Null).await.code(), bad);
    let elsewhere = format!("/keys{}", at(id));
    assert_eq!(world.call("DELETE", &elsewhere, Value::Null).await.code(), bad);
    let user = world.somebody("Managed HSM Crypto User", "").await;
    for method in ["PUT", "DELETE"] {
        let reply = world.call_as(user, method, &at(id), definition("a", &[])).await;
        assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{method}");
    }
    let officer = world.somebody("Managed HSM Crypto Officer", "").await;
    let climb = definition("Climb", &["/securitydomain/download/action"]);
    let reply = world.call_as(officer, "PUT", &other, climb).await;
    assert_eq!(reply.code(), (403, "Forbidden".to_owned()));
}

#[tokio::test]
async fn many_definitions_come_in_pages() {
    let world = World::new().await;
    for number in 0..260 {
        let body = definition(&format!("Role {number}"), &[]);
        assert_eq!(world.call("PUT", &at(Uuid::new_v4()), body).await.status, 201);
    }
    let mut path = format!("/keys{ROLES}/roleDefinitions");
    let mut names = std::collections::BTreeSet::new();
    let mut pages = 0;
    loop {
        let list = world.call("GET", &path, Value::Null).await.json();
        pages += 1;
        for one in list["value"].as_array().unwrap() {
            assert!(names.insert(one["name"].as_str().unwrap().to_owned()));
        }
        let Some(next) = list["nextLink"].as_str() else { break };
        path = next.strip_prefix(crate::kit::URL).unwrap().to_owned();
        assert!(path.starts_with("/keys/providers/"), "{path}");
    }
    assert_eq!((pages, names.len()), (2, 270));
}

#[tokio::test]
async fn a_team_has_its_keys_by_prefix_and_sees_no_others() {
    let world = World::new().await;
    for name in ["Team-a-1", "team-b-1"] {
        world.create(name, json!({"kty": "EC"})).await;
    }
    let user = world.somebody("Managed HSM Crypto User", "/keys/team-a-*").await;
    let lead = world.somebody("Managed HSM Policy Administrator", "/keys/team-a-%2a").await;
    let ec = json!({"kty": "EC"});
    for (path, status) in [("/keys/TEAM-A-2/create", 200), ("/keys/team-b-2/create", 403)] {
        assert_eq!(world.call_as(user, "POST", path, ec.clone()).await.status, status, "{path}");
    }
    let list = world.call_as(user, "GET", "/keys?maxresults=1", Value::Null).await.json();
    assert!(list["value"][0]["kid"].as_str().unwrap().ends_with("/keys/Team-a-1"), "{list}");
    let next = list["nextLink"].as_str().unwrap().strip_prefix(crate::kit::URL).unwrap();
    let list = world.call_as(user, "GET", next, Value::Null).await.json();
    assert!(list["value"][0]["kid"].as_str().unwrap().ends_with("/keys/TEAM-A-2"), "{list}");
    assert!(list["nextLink"].is_null(), "{list}");

    let path = format!("/keys/team-a-1{ROLES}/roleAssignments/{}", Uuid::new_v4());
    let mate = Uuid::new_v4();
    let body = json!({"properties": {"roleDefinitionId": CRYPTO_USER, "principalId": mate}});
    let made = world.call_as(lead, "PUT", &path, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    for elsewhere in ["", "/keys", "/keys/team-b-1", "/keys/team-*"] {
        let path = format!("{elsewhere}{ROLES}/roleAssignments/{}", Uuid::new_v4());
        let reply = world.call_as(lead, "PUT", &path, body.clone()).await;
        assert_eq!(reply.code(), (403, "AccessDenied".to_owned()), "{elsewhere}");
        let scope = if elsewhere.is_empty() { "/" } else { elsewhere };
        assert!(reply.message().contains(&format!("write/action on {scope} (")));
    }
    let list = format!("/keys/team-a-*{ROLES}/roleAssignments");
    let list = world.call_as(lead, "GET", &list, Value::Null).await.json();
    assert_eq!(list["value"].as_array().unwrap().len(), 2, "{list}");
    assert_eq!(list["value"][0]["properties"]["scope"], "/keys/team-a-*");
    // az reads the definitions at `/` after each assignment.
    let list = format!("{ROLES}/roleDefinitions");
    assert_eq!(world.call_as(lead, "GET", &list, Value::Null).await.status, 200);
    for bad in ["/keys/*", "/keys/a*b", "/keys/a_*"] {
        let path = format!("{bad}{ROLES}/roleAssignments");
        let reply = world.call("GET", &path, Value::Null).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn grants_to_oneself_and_duties_together_are_told() {
    let world = World::new().await;
    let path = || format!("/keys/a{ROLES}/roleAssignments/{}", Uuid::new_v4());
    let body =
        |role: &str, to: Uuid| json!({"properties": {"roleDefinitionId": role, "principalId": to}});
    let own = world.call("PUT", &path(), body(CRYPTO_USER, ADMIN)).await;
    assert_eq!(own.status, 201, "{}", own.text);
    assert_eq!(world.last_record()["marks"], json!(["grantToOneself", "dutiesTogether"]));
    let warning = own.headers["x-casemate-warning"].to_str().unwrap();
    assert!(warning.contains("using keys and managing rights"), "{warning}");
    let other = world.call("PUT", &path(), body(CRYPTO_USER, Uuid::new_v4())).await;
    assert!(!other.headers.contains_key("x-casemate-warning"));
    assert_eq!(world.last_record()["marks"], Value::Null);
}

#[tokio::test]
async fn explanations_name_what_allows_and_what_is_missing() {
    let world = World::new().await;
    let user = Uuid::new_v4();
    let path = world.grant(user, "Managed HSM Crypto User", "/keys/team-*").await;
    let ask =
        |scope: &str| format!("/explain?principal={user}&action=keys/sign/action&scope={scope}");
    let told = world.call("GET", &ask("/keys/Team-1"), Value::Null).await.json();
    assert_eq!(
        told,
        json!({
            "principalId": user, "dataAction": format!("{ACTION}/keys/sign/action"),
            "scope": "/keys/Team-1", "allowed": true, "elsewhere": [],
            "allowedBy": [{
                "id": path, "roleDefinitionId": format!("{DEFINITION}/{CRYPTO_USER}"),
                "roleName": "Managed HSM Crypto User", "scope": "/keys/team-*",
                "principalId": user,
            }],
        })
    );
    assert_eq!(world.last_record()["operationName"], "RightsExplain");
    let told = world.call("GET", &ask("/keys/other"), Value::Null).await.json();
    assert_eq!((&told["allowed"], &told["allowedBy"]), (&json!(false), &json!([])));
    assert_eq!(told["elsewhere"][0]["id"], json!(path));
    assert_eq!(told["missing"]["roleName"], "Managed HSM Crypto User");
    assert_eq!(told["missing"]["scope"], "/keys/other");
    assert_eq!(told["missing"]["grantedByAdministratorsOnly"], false);

    let auditor = world.somebody("Managed HSM Crypto Auditor", "").await;
    assert_eq!(world.call_as(auditor, "GET", &ask("/"), Value::Null).await.status, 200);
    for role in ["Managed HSM Crypto User", "Managed HSM Crypto Officer"] {
        let other = world.somebody(role, "").await;
        let reply = world.call_as(other, "GET", &ask("/"), Value::Null).await;
        assert_eq!(reply.code(), (403, "Forbidden".to_owned()), "{role}");
    }
    let reply = world.call_as(Uuid::new_v4(), "GET", &ask("/"), Value::Null).await;
    assert_eq!(reply.code(), (403, "AccessDenied".to_owned()));
    for bad in [
        "/explain".to_owned(),
        format!("/explain?principal={user}&action=rng/action"),
        format!("/explain?principal={user}&action=fly&scope=/"),
        "/explain?principal=me&action=rng/action&scope=/".to_owned(),
        format!("/explain?principal={user}&action=rng/action&scope=/nowhere"),
        format!("/explain?principal={user}&action=rng/action&scope=/&groups=us"),
    ] {
        let reply = world.call("GET", &bad, Value::Null).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{bad}");
    }
    let reply = world.call("POST", &ask("/"), json!({})).await;
    assert_eq!(reply.code(), (405, "MethodNotAllowed".to_owned()));
}
