//! The managed-identity endpoints, and what keeps strangers from them.

use std::net::SocketAddr;

use bytes::Bytes;
use casemate_dev_issuer::{IDENTITY_HEADER_NAME, MANAGED_IDENTITY_PATH};
use http::{Method, Request, Response};

use crate::world::{BASE, HSM, NOW, World, access_token, get, json, local, refused};

const QUERY: &str = "api-version=2019-08-01&resource=https://managedhsm.localhost:8443";
const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01\
                    &resource=https://managedhsm.localhost:8443";

async fn app_service(world: &World, more: &str, header: Option<&str>) -> Response<Bytes> {
    let path = format!("{MANAGED_IDENTITY_PATH}?{QUERY}{more}");
    let headers: Vec<_> = header.iter().map(|value| (IDENTITY_HEADER_NAME, *value)).collect();
    world.ask(&get(&path, &headers), NOW).await
}

#[tokio::test]
async fn the_secret_header_gives_the_identity_s_token() {
    let world = World::new();
    let app = world.issuer.ensure_app("dev").unwrap();
    world.issuer.set_managed_identity("dev").unwrap();
    let header = world.issuer.identity_header();
    for more in [
        String::new(),
        format!("&client_id={}", app.app_id),
        format!("&principal_id={}", app.object_id),
    ] {
        let answer = app_service(&world, &more, Some(header)).await;
        assert_eq!(world.caller(&answer, HSM).await.object_id, app.object_id);
        let body = json(&answer);
        assert_eq!((&body["expires_in"], &body["resource"]), (&"3600".into(), &HSM.into()));
        assert_eq!(body["expires_on"], (NOW + 3600).to_string());
        assert_eq!(body["client_id"], app.app_id.to_string());
    }
}

#[tokio::test]
async fn without_the_secret_or_for_another_identity_there_is_no_token() {
    let world = World::new();
    let header = world.issuer.identity_header();
    let answer = app_service(&world, "", Some(header)).await;
    refused(&answer, 404, "invalid_request", &[header]);
    world.issuer.set_managed_identity("dev").expect_err("there is no such app yet");
    world.issuer.ensure_app("dev").unwrap();
    world.issuer.set_managed_identity("dev").unwrap();
    let almost = &header[..header.len() - 1];
    for wrong in [None, Some(""), Some("x"), Some(almost)] {
        refused(&app_service(&world, "", wrong).await, 401, "invalid_request", &[header]);
    }
    for more in [
        "&client_id=00000000-0000-0000-0000-000000000000",
        "&client_id=dev",
        "&object_id=00000000-0000-0000-0000-000000000000",
        "&mi_res_id=/subscriptions/x",
        "&resource=https://managedhsm.localhost:8443",
    ] {
        let answer = app_service(&world, more, Some(header)).await;
        refused(&answer, 400, "invalid_request", &[header]);
    }
    for (query, error) in [
        ("resource=https://graph.microsoft.com", "invalid_resource"),
        ("api-version=2019-08-01", "invalid_scope"),
    ] {
        let path = format!("{MANAGED_IDENTITY_PATH}?{query}");
        let request = get(&path, &[(IDENTITY_HEADER_NAME, header)]);
        refused(&world.ask(&request, NOW).await, 400, error, &[header]);
    }
}

#[tokio::test]
async fn imds_is_off_until_it_is_switched_on() {
    let world = World::new();
    let request = get(IMDS, &[("metadata", "true")]);
    refused(&world.ask(&request, NOW).await, 404, "invalid_request", &[]);
    let object_id = world.issuer.enable_imds("machine").unwrap();
    let answer = world.ask(&request, NOW).await;
    let caller = world.caller(&answer, HSM).await;
    assert_eq!((caller.object_id, caller.groups.len()), (object_id, 0));
    // `az login --identity` reads the tenant out of the token.
    let token = access_token(&answer);
    let claims = casemate_token::parse(&token).unwrap().claims;
    assert_eq!(claims["tid"], world.issuer.tenant().to_string());
    assert_eq!(world.issuer.enable_imds("machine").unwrap(), object_id, "the same one again");
}

#[tokio::test]
async fn imds_refuses_what_may_have_been_sent_by_a_tricked_program() {
    let world = World::new();
    world.issuer.enable_imds("machine").unwrap();
    for headers in [
        &[][..],
        &[("metadata", "false")],
        &[("metadata", "")],
        &[("metadata", "true"), ("x-forwarded-for", "203.0.113.7")],
        &[("metadata", "true"), ("X-Forwarded-For", "")],
    ] {
        refused(&world.ask(&get(IMDS, headers), NOW).await, 400, "invalid_request", &[]);
    }
    let mut post = Request::new(Bytes::new());
    *post.method_mut() = Method::POST;
    *post.uri_mut() = format!("{BASE}{IMDS}").parse().unwrap();
    post.headers_mut().insert("metadata", "true".parse().unwrap());
    refused(&world.ask(&post, NOW).await, 405, "invalid_request", &[]);
}

#[tokio::test]
async fn other_machines_get_no_identity_of_this_one() {
    let world = World::new();
    world.issuer.ensure_app("dev").unwrap();
    world.issuer.set_managed_identity("dev").unwrap();
    world.issuer.enable_imds("machine").unwrap();
    let header = world.issuer.identity_header();
    let path = format!("{MANAGED_IDENTITY_PATH}?{QUERY}");
    let requests =
        [get(&path, &[(IDENTITY_HEADER_NAME, header)]), get(IMDS, &[("metadata", "true")])];
    for request in &requests {
        for (peer, status) in [
            (SocketAddr::from(([203, 0, 113, 7], 1)), 403),
            ("[2001:db8::1]:1".parse().unwrap(), 403),
            ("[::ffff:203.0.113.7]:1".parse().unwrap(), 403),
            ("[::1]:1".parse().unwrap(), 200),
            ("[::ffff:127.0.0.1]:1".parse().unwrap(), 200),
            (local(), 200),
        ] {
            let answer = world.issuer.handle(request, BASE, peer, NOW).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{peer}");
        }
    }
}
