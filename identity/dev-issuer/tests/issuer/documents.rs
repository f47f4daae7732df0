//! The documents, and which paths are the issuer's.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};

use crate::world::{BASE, NOW, World, get, json, local, refused};

#[tokio::test]
async fn each_name_of_the_tenant_leads_to_its_own_token_endpoint() {
    let world = World::new();
    let guid = world.issuer.tenant().to_string();
    for tenant in ["adfs", "organizations", "common", &guid, "ADFS", &guid.to_uppercase()] {
        for (path, token_path) in [
            (".well-known/openid-configuration", "oauth2/token"),
            ("v2.0/.well-known/openid-configuration", "oauth2/v2.0/token"),
            ("/.well-known/openid-configuration?", "oauth2/token"),
        ] {
            let answer = world.ask(&get(&format!("/{tenant}/{path}"), &[]), NOW).await;
            let document = json(&answer);
            let tenant = tenant.to_lowercase();
            // The one exception is what `az login --tenant adfs` resolves the tenant's name by.
            let resolves = tenant == "adfs" && path.starts_with("v2.0");
            let issuer = if resolves { "adfs" } else { guid.as_str() };
            assert_eq!(document["issuer"], format!("{BASE}/{issuer}/v2.0"));
            assert_eq!(document["token_endpoint"], format!("{BASE}/{tenant}/{token_path}"));
            assert!(document["authorization_endpoint"].is_string(), "clients demand it");
            let keys = document["jwks_uri"].as_str().unwrap().strip_prefix(BASE).unwrap();
            let keys = json(&world.ask(&get(keys, &[]), NOW).await);
            assert_eq!(
                (&keys["keys"][0]["kty"], &keys["keys"][0]["e"]),
                (&"RSA".into(), &"AQAB".into())
            );
            assert!(keys["keys"][0].get("d").is_none(), "only the public half");
        }
    }
}

#[tokio::test]
async fn another_tenant_is_refused() {
    let world = World::new();
    for path in [
        "x/.well-known/openid-configuration",
        "x/discovery/keys",
        "adf/v2.0/.well-known/openid-configuration",
    ] {
        let answer = world.ask(&get(&format!("/{path}"), &[]), NOW).await;
        refused(&answer, 400, "invalid_request", &[]);
    }
    let answer =
        world.token_at("00000000-0000-0000-0000-000000000000/oauth2/token", &[], NOW).await;
    refused(&answer, 400, "invalid_request", &[]);
}

#[tokio::test]
async fn instance_discovery_knows_the_issuer_itself() {
    let world = World::new();
    let path = "/common/discovery/instance?api-version=1.1&authorization_endpoint=x";
    let document = json(&world.ask(&get(path, &[]), NOW).await);
    assert_eq!(document["metadata"][0]["aliases"][0], "localhost:8443");
    let discovery = document["tenant_discovery_endpoint"].as_str().unwrap();
    assert_eq!(discovery, world.issuer.metadata_url(BASE));
}

#[tokio::test]
async fn wrong_methods_and_browsers_are_told_what_to_do() {
    let world = World::new();
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("{BASE}/adfs/discovery/keys").parse().unwrap();
    let answer = world.ask(&request, NOW).await;
    refused(&answer, 405, "invalid_request", &[]);
    assert_eq!(answer.headers()["allow"], "GET, HEAD");
    let answer = world.ask(&get("/adfs/oauth2/token", &[]), NOW).await;
    refused(&answer, 405, "invalid_request", &[]);
    assert_eq!(answer.headers()["allow"], "POST");
    let answer = world.ask(&get("/adfs/oauth2/v2.0/authorize?client_id=x", &[]), NOW).await;
    refused(&answer, 400, "unsupported_response_type", &[]);
}

#[tokio::test]
async fn other_paths_are_left_to_others() {
    let world = World::new();
    for path in [
        "/",
        "/keys/k1",
        "/metadata/endpoints",
        "/subscriptions",
        "/adfs",
        "/adfs/oauth2",
        "/adfs/oauth2/v2.0/token/x",
        "/metadata/identity/oauth2",
        "/msi",
        "/msi/token/x",
    ] {
        let request = get(path, &[]);
        let peer: SocketAddr = local();
        assert!(world.issuer.handle(&request, BASE, peer, NOW).await.is_none(), "{path}");
    }
}
