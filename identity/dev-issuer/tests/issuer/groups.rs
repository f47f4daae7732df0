//! Too many groups for a token: what it says then, and where they can be had.

use http::{Method, Request};
use serde_json::Value;

use bytes::Bytes;

use crate::world::{BASE, HSM, NOW, World, access_token, get, json, refused};

/// A token of an app that is in so many groups.
async fn member_of(world: &World, count: usize) -> String {
    let app = world.issuer.add_app("member", Default::default()).unwrap();
    for number in 0..count {
        let name = format!("group-{number}");
        world.issuer.add_group(&name).unwrap();
        world.issuer.add_member(&name, "member").unwrap();
    }
    let id = app.app_id.to_string();
    let scope = format!("{HSM}/.default");
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", &id),
        ("client_secret", &app.secret),
        ("scope", &scope),
    ];
    access_token(&world.token(&fields, NOW).await)
}

async fn asked(world: &World, token: &str, now: i64) -> http::Response<Bytes> {
    let bearer = format!("Bearer {token}");
    world.ask(&get("/adfs/userinfo", &[("authorization", &bearer)]), now).await
}

#[tokio::test]
async fn a_token_lists_groups_up_to_a_number_and_the_source_all_of_them() {
    for (count, listed) in [(2, true), (201, false)] {
        let world = World::new();
        let token = member_of(&world, count).await;
        let caller = world.validator(HSM).validate(&token, NOW).await.unwrap();
        assert_eq!(
            (caller.groups.len(), caller.groups_overage),
            match listed {
                true => (count, false),
                false => (0, true),
            }
        );
        let said = json(&asked(&world, &token, NOW).await);
        assert_eq!(said["oid"], caller.object_id.to_string());
        assert_eq!(said["groups"].as_array().map(Vec::len), Some(count));
    }
}

#[tokio::test]
async fn the_source_believes_its_own_tokens_alone() {
    let world = World::new();
    let token = member_of(&world, 1).await;
    let other = member_of(&World::new(), 1).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let tampered = format!("{signed}.{first}{}", &signature[1..]);
    for bad in ["", "x.y.z", &other, &tampered] {
        refused(&asked(&world, bad, NOW).await, 401, "invalid_token", &[&token]);
    }
    refused(&asked(&world, &token, NOW + 3600).await, 401, "invalid_token", &[&token]);
    refused(&world.ask(&get("/adfs/userinfo", &[]), NOW).await, 401, "invalid_token", &[]);
    let post = Request::builder().method(Method::POST).uri(format!("{BASE}/adfs/userinfo"));
    let post = post.body(Bytes::new()).unwrap();
    refused(&world.ask(&post, NOW).await, 405, "invalid_request", &[]);
    let document = get("/adfs/.well-known/openid-configuration", &[]);
    let document: Value = json(&world.ask(&document, NOW).await);
    assert_eq!(document["userinfo_endpoint"], format!("{BASE}/adfs/userinfo"));
}
