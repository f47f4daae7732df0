//! Secrets and passwords: each grant, good and bad, and what the token then says.

use bytes::Bytes;
use casemate_dev_issuer::{AppCreated, NewApp};
use casemate_token::{TokenRefusal, parse};
use http::{Method, Request};
use serde_json::json;

use crate::world::{BASE, HSM, NOW, World, access_token, json as body_of, refused};

const SCOPE: &str = "https://managedhsm.localhost:8443/.default";

fn app(world: &World) -> AppCreated {
    world.issuer.add_app("app", NewApp::default()).expect("the name is free")
}

async fn with_secret(world: &World, id: &str, secret: &str, scope: &str) -> http::Response<Bytes> {
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", id),
        ("client_secret", secret),
        ("scope", scope),
    ];
    world.token(&fields, NOW).await
}

#[tokio::test]
async fn a_secret_gives_a_token_that_the_validator_believes() {
    let world = World::new();
    let app = app(&world);
    let id = app.app_id.to_string();
    let guid = world.issuer.tenant().to_string();
    let common = [
        ("client_id", id.as_str()),
        ("client_secret", &app.secret),
        ("grant_type", "client_credentials"),
        ("client_info", "1"),
        ("claims", r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#),
        ("x-client-sku", "MSAL.js"),
    ];
    for (path, asked) in [
        (format!("{guid}/oauth2/v2.0/token?client-request-id=7"), ("scope", SCOPE)),
        ("adfs/oauth2/token".to_owned(), ("scope", SCOPE)),
        ("adfs/oauth2/token".to_owned(), ("resource", HSM)),
        ("organizations/oauth2/v2.0/token".to_owned(), ("scope", SCOPE)),
        ("common//oauth2/token/".to_owned(), ("resource", "https://managedhsm.localhost:8443/")),
    ] {
        let answer = world.token_at(&path, &[&common[..], &[asked]].concat(), NOW).await;
        assert_eq!(body_of(&answer)["expires_in"], 3600);
        let caller = world.caller(&answer, HSM).await;
        assert_eq!((caller.object_id, caller.tenant), (app.object_id, world.issuer.tenant()));
        assert_eq!((caller.app_id.as_deref(), caller.upn.as_deref()), (Some(id.as_str()), None));
        assert_eq!((caller.issued_at, caller.expires_at), (NOW, NOW + 3600));
        let token = access_token(&answer);
        let claims = parse(&token).unwrap().claims;
        assert_eq!((&claims["tid"], &claims["xms_cc"]), (&json!(guid), &json!(["CP1"])));
        assert_eq!(claims["tenant_alias"], path.split('/').next().unwrap());
    }
}

#[tokio::test]
async fn a_token_is_for_its_audience_and_its_hour_only() {
    let world = World::new();
    let app = app(&world);
    let answer = with_secret(&world, &app.app_id.to_string(), &app.secret, SCOPE).await;
    let token = access_token(&answer);
    let control_plane = world.validator("https://management.localhost:8443");
    let outcome = control_plane.validate(&token, NOW).await;
    assert_eq!(outcome, Err(TokenRefusal::WrongAudience));
    let outcome = world.validator(HSM).validate(&token, NOW + 3600).await;
    assert_eq!(outcome, Err(TokenRefusal::Expired { expired_at: NOW + 3600 }));
    let other = World::new();
    let outcome = other.validator(HSM).validate(&token, NOW).await;
    assert_eq!(outcome, Err(TokenRefusal::UnknownIssuer), "each issuer is a tenant of its own");
}

#[tokio::test]
async fn a_wrong_secret_or_client_gets_nothing() {
    let world = World::new();
    let (app, user) = (app(&world), world.issuer.add_user("user").unwrap());
    let other = world.issuer.add_app("other", NewApp::default()).unwrap();
    let (id, secret) = (app.app_id.to_string(), app.secret.as_str());
    for (id, wrong) in [
        (id.as_str(), "xyzzy-7"),
        (&id, &secret[1..]),
        (&id, &format!("{secret} ")),
        (&id, &other.secret),
        (&id, &user.secret),
        (&other.app_id.to_string(), secret),
        (&app.object_id.to_string(), secret),
        (&user.object_id.to_string(), &user.secret),
        ("app", secret),
        ("00000000-0000-0000-0000-000000000000", secret),
    ] {
        let answer = with_secret(&world, id, wrong, SCOPE).await;
        refused(&answer, 401, "invalid_client", &[secret, wrong]);
    }
    let none = [("grant_type", "client_credentials"), ("client_id", id.as_str()), ("scope", SCOPE)];
    refused(&world.token(&none, NOW).await, 401, "invalid_client", &[]);
}

#[tokio::test]
async fn tokens_are_given_for_known_resources_only() {
    let world = World::new();
    let app = app(&world);
    let id = app.app_id.to_string();
    for (scope, error) in [
        ("https://graph.microsoft.com/.default", "invalid_resource"),
        ("https://managedhsm.localhost.example/.default", "invalid_resource"),
        ("http://managedhsm.localhost:8443/.default", "invalid_resource"),
        ("openid profile", "invalid_scope"),
        ("https://a.localhost/.default https://b.localhost/.default", "invalid_scope"),
        ("", "invalid_scope"),
    ] {
        let answer = with_secret(&world, &id, &app.secret, scope).await;
        refused(&answer, 400, error, &[&app.secret]);
    }
    for (scope, audience) in [
        ("https://managedhsm.azure.net/.default", "https://managedhsm.azure.net"),
        ("https://management.localhost:8443//.default", "https://management.localhost:8443"),
        ("https://managedhsm.localhost/.default", "https://managedhsm.localhost"),
    ] {
        let answer = with_secret(&world, &id, &app.secret, scope).await;
        world.caller(&answer, audience).await;
    }
}

#[tokio::test]
async fn a_form_that_is_not_one_is_refused() {
    let world = World::new();
    let app = app(&world);
    let id = app.app_id.to_string();
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", &app.secret),
        ("scope", SCOPE),
    ];
    for missing in 0..2 {
        let mut fields = good.to_vec();
        fields.remove(missing);
        refused(&world.token(&fields, NOW).await, 400, "invalid_request", &[&app.secret]);
    }
    let twice = [&good[..], &[("client_id", id.as_str())]].concat();
    refused(&world.token(&twice, NOW).await, 400, "invalid_request", &[&app.secret]);
    for grant in ["authorization_code", "refresh_token", "device_code", "implicit", "PASSWORD"] {
        let mut fields = good;
        fields[0].1 = grant;
        refused(&world.token(&fields, NOW).await, 400, "unsupported_grant_type", &[]);
    }
    let large = "x".repeat(64 * 1024);
    let large = [&good[..], &[("filler", large.as_str())]].concat();
    refused(&world.token(&large, NOW).await, 400, "invalid_request", &[]);
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let world = World::new();
    for kind in [None, Some("application/json"), Some("multipart/form-data; boundary=x")] {
        let mut request = Request::builder().method(Method::POST);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let uri = format!("{BASE}/adfs/oauth2/token");
        let request = request.uri(uri).body(Bytes::from_static(b"grant_type=password")).unwrap();
        refused(&world.ask(&request, NOW).await, 400, "invalid_request", &[]);
    }
}

#[tokio::test]
async fn a_user_logs_in_with_a_password_and_carries_the_groups() {
    let world = World::new();
    let user = world.issuer.add_user("Ada").unwrap();
    let (one, two) =
        (world.issuer.add_group("one").unwrap(), world.issuer.add_group("two").unwrap());
    world.issuer.add_group("three").unwrap();
    world.issuer.add_member("ONE", "ada").unwrap();
    world.issuer.add_member(&two.object_id.to_string(), &user.object_id.to_string()).unwrap();
    world.issuer.add_member("two", "Ada").unwrap();
    let mut groups = vec![one.object_id, two.object_id];
    groups.sort();
    for name in ["Ada", "ada", "ada@dev.localhost", &user.object_id.to_string()] {
        let fields = [
            ("grant_type", "password"),
            ("client_id", "04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
            ("username", name),
            ("password", &user.secret),
            ("scope", "https://managedhsm.localhost:8443/.default offline_access openid profile"),
        ];
        let caller = world.caller(&world.token(&fields, NOW).await, HSM).await;
        assert_eq!(
            (caller.object_id, caller.upn.as_deref()),
            (user.object_id, Some("Ada@dev.localhost"))
        );
        let mut told = caller.groups.clone();
        told.sort();
        assert_eq!((told, caller.groups_overage), (groups.clone(), false));
    }
}

#[tokio::test]
async fn a_wrong_password_or_a_borrowed_client_gets_nothing() {
    let world = World::new();
    let (app, user) = (app(&world), world.issuer.add_user("ada").unwrap());
    world.issuer.add_user("bob").unwrap();
    let log_in = async |username: &str, password: &str, extra: &[(&str, &str)]| {
        let fields = [
            ("grant_type", "password"),
            ("username", username),
            ("password", password),
            ("scope", SCOPE),
        ];
        world.token(&[&fields[..], extra].concat(), NOW).await
    };
    for (name, password) in [
        ("ada", "xyzzy-7"),
        ("bob", user.secret.as_str()),
        ("nobody", &user.secret),
        ("app", &app.secret),
        ("ada@", "xyzzy-7"),
    ] {
        let answer = log_in(name, password, &[]).await;
        refused(&answer, 400, "invalid_grant", &[&user.secret, password]);
    }
    let id = app.app_id.to_string();
    for extra in [
        &[("client_id", id.as_str())][..],
        &[("client_id", id.as_str()), ("client_secret", "xyzzy-7")],
        &[("client_id", "not an id")],
    ] {
        let answer = log_in("ada", &user.secret, extra).await;
        refused(&answer, 401, "invalid_client", &[&user.secret]);
    }
    let proven = [("client_id", id.as_str()), ("client_secret", app.secret.as_str())];
    let caller = world.caller(&log_in("ada", &user.secret, &proven).await, HSM).await;
    assert_eq!((caller.object_id, caller.app_id.as_deref()), (user.object_id, Some(id.as_str())));
}
