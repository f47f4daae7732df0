//! What is remembered, for how long, and what makes it fall.

mod support;

use std::sync::Arc;

use casemate_token::{
    CUT_OFFS_MAX, FETCHED_BODY_BYTES_MAX, FetchError, KEYS_FRESH_S, KEYS_KEPT_S, KeyRefusal,
    KeySourceError, REFRESH_INTERVAL_S, RETRY_WITHOUT_KEYS_S, RefusalKind, TokenRefusal, Validator,
};
use serde_json::{Value, json};
use support::{
    ISSUER, KEYS_URL, METADATA_URL, NOW, OBJECT, claims, key_set, p256, rsa, settings, token, world,
};
use uuid::Uuid;

/// Documents that a discovery and a key set cost: two fetches.
const ONE_REFRESH: usize = 2;

fn good() -> String {
    token(rsa(0), "RS256", "r", &claims())
}

/// A good token that lives for longer than the keys are kept.
fn lasting() -> String {
    let mut claims = claims();
    claims["exp"] = json!(NOW + 30 * 86_400);
    token(rsa(0), "RS256", "r", &claims)
}

fn unavailable(outcome: Result<Arc<casemate_token::Caller>, TokenRefusal>) -> KeySourceError {
    let refusal = outcome.expect_err("nothing can be checked without keys");
    assert_eq!(refusal.kind(), RefusalKind::Unavailable);
    let TokenRefusal::KeysUnavailable { cause } = refusal else {
        unreachable!("only missing keys are unavailable here")
    };
    cause
}

#[tokio::test]
async fn a_result_is_remembered_until_the_token_expires() {
    let (documents, validator) = world();
    let token = good();
    assert!(validator.cached(&token, NOW).is_none(), "nothing is known before the first check");
    validator.validate(&token, NOW).await.unwrap();
    assert_eq!(documents.asked(), ONE_REFRESH);
    assert!(validator.cached(&token, NOW + 3599).is_some());
    assert!(validator.cached(&token, NOW + 3600).is_none());
    assert!(validator.cached(&token, NOW - 71).is_none(), "nor before it begins");
    let expired = TokenRefusal::Expired { expired_at: NOW + 3600 };
    assert_eq!(validator.validate(&token, NOW + 3600).await, Err(expired));
}

#[tokio::test]
async fn other_settings_make_every_result_fall() {
    let (documents, validator) = world();
    let token = good();
    validator.validate(&token, NOW).await.unwrap();
    validator.replace(settings());
    assert!(validator.cached(&token, NOW).is_none(), "even under the same settings again");
    validator.validate(&token, NOW).await.unwrap();
    assert_eq!(documents.asked(), 2 * ONE_REFRESH, "the keys fell as well");
    let mut others = settings();
    others.tenant = Uuid::nil();
    validator.replace(others);
    assert!(validator.cached(&token, NOW).is_none());
    assert_eq!(validator.validate(&token, NOW).await, Err(TokenRefusal::WrongTenant));
    let mut nobody = settings();
    nobody.issuers.clear();
    validator.replace(nobody);
    assert_eq!(validator.validate(&token, NOW).await, Err(TokenRefusal::UnknownIssuer));
}

#[tokio::test]
async fn a_removed_key_takes_its_results_with_it_and_leaves_the_others() {
    let (documents, validator) = world();
    let (by_rsa, by_ec) = (lasting(), token(p256(), "ES256", "e", &claims()));
    validator.validate(&by_rsa, NOW).await.unwrap();
    validator.validate(&by_ec, NOW).await.unwrap();
    documents.put(KEYS_URL, key_set(&[p256().jwk("e")]));
    // Any token with an unknown key makes the validator look at the issuer again.
    let later = NOW + REFRESH_INTERVAL_S;
    let stranger = token(rsa(1), "RS256", "new", &claims());
    assert_eq!(validator.validate(&stranger, later).await, Err(TokenRefusal::UnknownKey));
    assert!(validator.cached(&by_rsa, later).is_none());
    assert!(validator.cached(&by_ec, later).is_some());
    assert_eq!(validator.validate(&by_rsa, later).await, Err(TokenRefusal::UnknownKey));
}

#[tokio::test]
async fn a_key_exchanged_under_its_old_id_takes_its_results_with_it() {
    let (documents, validator) = world();
    let token = lasting();
    validator.validate(&token, NOW).await.unwrap();
    documents.put(KEYS_URL, key_set(&[rsa(1).jwk("r")]));
    let later = NOW + KEYS_FRESH_S;
    assert!(validator.cached(&token, later).is_none(), "old keys are not trusted blindly");
    // One caller may still be served by the old keys while another asks; the next one is not.
    let _ = validator.validate(&token, later + 1).await;
    assert_eq!(validator.validate(&token, later + 2).await, Err(TokenRefusal::BadSignature));
    assert!(validator.cached(&token, later + 2).is_none());
}

#[tokio::test]
async fn a_new_key_is_found_at_the_first_token_that_names_it() {
    let (documents, validator) = world();
    validator.validate(&good(), NOW).await.unwrap();
    documents.put(KEYS_URL, key_set(&[rsa(0).jwk("r"), rsa(1).jwk("new")]));
    let token = token(rsa(1), "RS256", "new", &claims());
    let soon = NOW + REFRESH_INTERVAL_S - 1;
    assert_eq!(validator.validate(&token, soon).await, Err(TokenRefusal::UnknownKey));
    assert_eq!(documents.asked(), ONE_REFRESH, "the issuer was asked a moment ago");
    assert!(validator.validate(&token, soon + 1).await.is_ok(), "refusals are not remembered");
    assert!(validator.cached(&good(), soon + 1).is_some(), "an unchanged key keeps its results");
}

#[tokio::test]
async fn invented_key_ids_do_not_flood_the_issuer() {
    let (documents, validator) = world();
    validator.validate(&good(), NOW).await.unwrap();
    for second in 0..60 {
        for number in 0..5 {
            let kid = format!("{second}-{number}");
            let token = token(p256(), "ES256", &kid, &claims());
            let outcome = validator.validate(&token, NOW + 1 + second).await;
            assert_eq!(outcome, Err(TokenRefusal::UnknownKey));
        }
    }
    assert_eq!(documents.asked(), 3 * ONE_REFRESH, "once at first and twice in a minute");
}

#[tokio::test]
async fn many_callers_at_once_cost_one_fetch() {
    let (documents, validator) = world();
    let token = good();
    let checks = (0..100).map(|_| validator.validate(&token, NOW));
    let outcomes = futures_util::future::join_all(checks).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(documents.asked(), ONE_REFRESH);
}

#[tokio::test]
async fn keys_are_asked_for_again_after_an_hour() {
    let (documents, validator) = world();
    let token = lasting();
    validator.validate(&token, NOW).await.unwrap();
    assert!(validator.cached(&token, NOW + KEYS_FRESH_S - 1).is_some());
    assert!(validator.cached(&token, NOW + KEYS_FRESH_S).is_none());
    validator.validate(&token, NOW + KEYS_FRESH_S + 1).await.unwrap();
    assert_eq!(documents.asked(), 2 * ONE_REFRESH);
    assert!(validator.cached(&token, NOW + KEYS_FRESH_S + 1).is_some());
}

#[tokio::test]
async fn the_last_good_keys_serve_for_a_day_while_the_issuer_is_down() {
    let (documents, validator) = world();
    let token = lasting();
    validator.validate(&token, NOW).await.unwrap();
    documents.remove(METADATA_URL);
    for hour in 2..24 {
        let now = NOW + hour * 3600;
        validator.validate(&token, now).await.unwrap();
        assert!(validator.cached(&token, now + REFRESH_INTERVAL_S - 1).is_some());
        assert!(validator.cached(&token, now + REFRESH_INTERVAL_S).is_none());
    }
    let last = NOW + KEYS_KEPT_S - 1;
    validator.validate(&token, last).await.unwrap();
    assert!(validator.cached(&token, last + 1).is_none());
    let cause = unavailable(validator.validate(&token, last + 1 + RETRY_WITHOUT_KEYS_S).await);
    let expected = FetchError::Unreachable;
    assert_eq!(cause, KeySourceError::Fetch { document: "discovery document", cause: expected });
}

#[tokio::test]
async fn an_issuer_that_comes_late_is_found_within_seconds() {
    let (documents, validator) = world();
    let metadata = json!({ "issuer": ISSUER, "jwks_uri": KEYS_URL }).to_string().into_bytes();
    documents.remove(METADATA_URL);
    let token = good();
    unavailable(validator.validate(&token, NOW).await);
    documents.put(METADATA_URL, metadata);
    unavailable(validator.validate(&token, NOW + RETRY_WITHOUT_KEYS_S - 1).await);
    assert!(validator.validate(&token, NOW + RETRY_WITHOUT_KEYS_S).await.is_ok());
}

async fn cause_with(metadata: Vec<u8>, keys: Vec<u8>) -> KeySourceError {
    let (documents, validator) = world();
    documents.put(METADATA_URL, metadata);
    documents.put(KEYS_URL, keys);
    unavailable(validator.validate(&good(), NOW).await)
}

#[tokio::test]
async fn a_bad_discovery_document_gives_no_keys() {
    let keys = key_set(&[rsa(0).jwk("r")]);
    let metadata = |value: Value| value.to_string().into_bytes();
    for (document, expected) in [
        (json!({ "issuer": "https://other", "jwks_uri": KEYS_URL }), KeySourceError::OtherIssuer),
        (
            json!({ "issuer": ISSUER, "jwks_uri": "http://issuer.example/keys" }),
            KeySourceError::NotHttps { document: "key set" },
        ),
        (
            json!({ "issuer": ISSUER, "jwks_uri": "file:///etc/passwd" }),
            KeySourceError::NotHttps { document: "key set" },
        ),
        (
            json!({ "issuer": ISSUER }),
            KeySourceError::MalformedMetadata { what: "it names no jwks_uri" },
        ),
        (
            json!({ "jwks_uri": KEYS_URL }),
            KeySourceError::MalformedMetadata { what: "it names no issuer" },
        ),
    ] {
        assert_eq!(cause_with(metadata(document), keys.clone()).await, expected);
    }
    let expected = KeySourceError::MalformedMetadata { what: "it is not JSON" };
    assert_eq!(cause_with(b"<html>".to_vec(), keys.clone()).await, expected);
    let cause = FetchError::BodyTooLarge { limit: FETCHED_BODY_BYTES_MAX };
    let expected = KeySourceError::Fetch { document: "discovery document", cause };
    assert_eq!(cause_with(vec![b' '; FETCHED_BODY_BYTES_MAX + 1], keys).await, expected);
}

#[tokio::test]
async fn a_bad_key_set_gives_no_keys() {
    let metadata = json!({ "issuer": ISSUER, "jwks_uri": KEYS_URL }).to_string().into_bytes();
    let many: Vec<Value> = (0..65).map(|number| p256().jwk(&number.to_string())).collect();
    for (keys, cause) in [
        (b"[]".to_vec(), KeyRefusal::NotAKeySet),
        (b"{\"keys\":{}}".to_vec(), KeyRefusal::NotAKeySet),
        (key_set(&many), KeyRefusal::TooManyKeys { count: 65, limit: 64 }),
        (key_set(&[rsa(0).jwk("r"), rsa(1).jwk("r")]), KeyRefusal::SameKeyId),
    ] {
        let expected = KeySourceError::Keys { cause };
        assert_eq!(cause_with(metadata.clone(), keys).await, expected);
    }
}

#[tokio::test]
async fn a_settings_address_that_is_not_https_is_never_fetched() {
    let (documents, validator) = world();
    let mut plain = settings();
    plain.issuers[0].metadata_url = METADATA_URL.replace("https", "http");
    validator.replace(plain);
    let expected = KeySourceError::NotHttps { document: "discovery document" };
    assert_eq!(unavailable(validator.validate(&good(), NOW).await), expected);
    assert_eq!(documents.asked(), 0);
}

#[tokio::test]
async fn older_tokens_of_a_principal_are_cut_off_at_once() {
    let (_, validator) = world();
    let old = good();
    let mut other = claims();
    other["oid"] = json!(Uuid::from_u128(9));
    let other = token(rsa(0), "RS256", "r", &other);
    for token in [&old, &other] {
        validator.validate(token, NOW).await.unwrap();
    }
    validator.cut_off(OBJECT, NOW);
    assert!(validator.cached(&old, NOW).is_none());
    let refused = validator.validate(&old, NOW).await.unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::CutOff { not_before: NOW });
    let TokenRefusal::CutOff { caller, .. } = &refused else { panic!("{refused}") };
    assert_eq!((caller.object_id, caller.token_id.len()), (OBJECT, 32), "it is known whose it was");
    assert!(validator.cached(&other, NOW).is_some(), "others are not touched");
    let mut renewed = claims();
    renewed["iat"] = json!(NOW);
    let renewed = token(rsa(0), "RS256", "r", &renewed);
    assert!(validator.validate(&renewed, NOW).await.is_ok());
    validator.cut_off(OBJECT, NOW - 5);
    assert_eq!(validator.validate(&old, NOW).await, Err(refused), "a cut-off only moves forward");
}

#[tokio::test]
async fn too_many_cut_offs_refuse_too_much_and_not_too_little() {
    let (_, validator) = world();
    let token = good();
    validator.cut_off(OBJECT, NOW);
    for number in 0..u128::try_from(CUT_OFFS_MAX).unwrap() {
        validator.cut_off(Uuid::from_u128(number), NOW - 100);
    }
    let kind = async |token: &str| validator.validate(token, NOW).await.map_err(|why| why.kind());
    let expected = Err(RefusalKind::CutOff { not_before: NOW });
    assert_eq!(kind(&token).await.map(|_| ()), expected);
    let mut other = claims();
    other["oid"] = json!(Uuid::from_u128(u128::MAX));
    let other = support::token(rsa(0), "RS256", "r", &other);
    assert_eq!(kind(&other).await.map(|_| ()), expected, "the oldest became everybody's");
}

#[tokio::test]
async fn the_memory_of_results_is_bounded() {
    let (_, validator) = world();
    let validator: &Validator = &validator;
    let mut tokens = Vec::new();
    for number in 0..casemate_token::CACHED_RESULTS_MAX + 500 {
        let mut claims = claims();
        claims["jti"] = json!(number);
        let token = token(p256(), "ES256", "e", &claims);
        validator.validate(&token, NOW).await.unwrap();
        tokens.push(token);
    }
    let held = tokens.iter().filter(|token| validator.cached(token, NOW).is_some()).count();
    assert!(held <= casemate_token::CACHED_RESULTS_MAX, "{held}");
    assert!(held > casemate_token::CACHED_RESULTS_MAX / 2, "{held}");
}
