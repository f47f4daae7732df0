//! Groups that a token lists, and those that it leaves out.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::kit::{Reply, Setup, World};

const OVERAGE: [(&str, &str); 2] = [("_claim_names", "groups"), ("hasgroups", "")];

/// Lists the keys by a token that was changed.
async fn list(world: &World, who: Uuid, change: impl FnOnce(&mut Value)) -> Reply {
    let token = world.token_with(who, change);
    let mut request = world.request(who, "GET", "/keys", "");
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    world.raw(request).await
}

fn leaves_out((claim, inner): (&str, &str), claims: &mut Value) {
    claims[claim] = if inner.is_empty() { json!(true) } else { json!({inner: "src1"}) };
    // Where the token says they can be had is not believed.
    claims["_claim_sources"] = json!({"src1": {"endpoint": "https://evil.example/"}});
}

#[tokio::test]
async fn without_a_source_a_token_that_leaves_groups_out_is_refused_in_clear_words() {
    let world = World::new().await;
    let group = world.somebody("Managed HSM Crypto User", "").await;
    let member = Uuid::new_v4();
    let listed = list(&world, member, |claims| claims["groups"] = json!([group])).await;
    assert_eq!(listed.status, 200);
    for claim in OVERAGE {
        let refused = list(&world, member, |claims| leaves_out(claim, claims)).await;
        assert_eq!(refused.code(), (403, "AccessDenied".to_owned()));
        let text = refused.message();
        assert!(text.starts_with("Not authorized to access Microsoft.KeyVault/managedHsm/keys/"));
        assert!(text.contains("leaves out the caller's groups, and no group source is configured"));
        assert_eq!(world.last_record()["phase"], "refusal");
        // What the caller holds itself counts all the same.
        let own = world.somebody("Managed HSM Crypto User", "").await;
        assert_eq!(list(&world, own, |claims| leaves_out(claim, claims)).await.status, 200);
    }
}

#[tokio::test]
async fn with_a_source_they_are_asked_for() {
    let world = World::with(Setup { group_source: true, ..Setup::default() }).await;
    let group = world.somebody("Managed HSM Crypto User", "").await;
    let leave = |claims: &mut Value| leaves_out(OVERAGE[0], claims);
    let (member, other) = (Uuid::new_v4(), Uuid::new_v4());
    *world.told.0.lock().unwrap() = Some(json!({"oid": member, "groups": [group]}));
    assert_eq!(list(&world, member, leave).await.status, 200);
    let refused = list(&world, other, leave).await;
    assert_eq!(refused.code(), (403, "AccessDenied".to_owned()));
    assert!(refused.message().contains("named somebody else"), "{}", refused.message());
    let stranger = Uuid::new_v4();
    *world.told.0.lock().unwrap() = Some(json!({"oid": stranger, "groups": []}));
    let refused = list(&world, stranger, leave).await;
    assert_eq!(refused.code(), (403, "AccessDenied".to_owned()));
    assert!(!refused.message().contains("groups"), "{}", refused.message());
    *world.told.0.lock().unwrap() = None;
    let refused = list(&world, Uuid::new_v4(), leave).await;
    assert_eq!(refused.code(), (503, "ServiceUnavailable".to_owned()));
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn who_leaves_groups_out_gives_nothing_to_what_may_be_its_own() {
    let world = World::new().await;
    let officer = world.somebody("Managed HSM Crypto Officer", "").await;
    let group = Uuid::new_v4();
    let role = "21dbd100-6940-42c2-9190-5d6cb909625b";
    let grant = async |change: fn(&mut Value)| {
        let name = Uuid::new_v4();
        let path = format!("/keys/providers/Microsoft.Authorization/roleAssignments/{name}");
        let body = json!({"properties": {"roleDefinitionId": role, "principalId": group}});
        let token = world.token_with(officer, change);
        let mut request = world.request(officer, "PUT", &path, body.to_string());
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        world.raw(request).await
    };
    for leave in [
        |claims: &mut Value| leaves_out(OVERAGE[0], claims),
        |claims: &mut Value| {
            leaves_out(OVERAGE[1], claims);
        },
    ] {
        let refused = grant(leave).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        assert!(refused.message().contains("lists all groups"), "{}", refused.message());
        assert_eq!(world.last_record()["phase"], "outcome");
    }
    assert_eq!(grant(|_| {}).await.status, 201, "with all groups known it is his to give");
}
