//! Uses of keys through the API.

use serde_json::{Value, json};

use crate::kit::{START, World, b64};

#[tokio::test]
async fn a_signature_verifies_and_a_wrong_one_is_an_answer_too() {
    let world = World::new().await;
    let rsa = json!({"kty": "RSA"});
    for (name, body, alg, digest, length) in [
        ("ec", json!({"kty": "EC"}), "ES256", 32, 64),
        ("rsa", rsa, "PS384", 48, 256),
        ("oct", json!({"kty": "oct"}), "HS512", 5, 64),
    ] {
        world.create(name, body).await;
        let digest = b64(&vec![9; digest]);
        let request = json!({"alg": alg, "value": digest});
        let signed = world.call("POST", &format!("/keys/{name}/sign"), request).await.json();
        assert_eq!(signed["alg"], alg);
        let signature = casemate_wire::decode_base64url(signed["value"].as_str().unwrap());
        let mut signature = signature.unwrap();
        assert_eq!(signature.len(), length);
        let path = format!("/keys/{name}/verify");
        let good = json!({"alg": alg, "digest": digest, "value": signed["value"]});
        assert_eq!(world.call("POST", &path, good).await.json(), json!({"value": true}));
        signature[7] ^= 1;
        let wrong = json!({"alg": alg, "digest": digest, "value": b64(&signature)});
        assert_eq!(world.call("POST", &path, wrong).await.json(), json!({"value": false}));
    }
}

#[tokio::test]
async fn what_was_encrypted_decrypts_with_everything_echoed() {
    let world = World::new().await;
    let bundle = world.create("k", json!({"kty": "oct-HSM"})).await;
    let plain = b64(&[3; 100]);
    let request = json!({"alg": "A256GCM", "value": plain, "aad": b64(b"context")});
    let sealed = world.call("POST", "/keys/k/encrypt", request).await.json();
    assert_eq!(sealed["kid"], bundle["key"]["kid"]);
    assert_eq!(sealed["aad"], b64(b"context"));
    assert_eq!(sealed["iv"].as_str().unwrap().len(), 16);
    assert_eq!(sealed["tag"].as_str().unwrap().len(), 22);
    let opened = world.call("POST", "/keys/k/decrypt", sealed.clone()).await.json();
    let expected = json!({"kid": bundle["key"]["kid"], "alg": "A256GCM", "value": plain});
    assert_eq!(opened, expected);
    let mut texts = Vec::new();
    for (member, value) in [
        ("aad", b64(b"other")),
        ("tag", b64(&[0; 16])),
        ("iv", b64(&[0; 12])),
        ("value", b64(&[0; 100])),
    ] {
        let mut changed = sealed.clone();
        changed[member] = json!(value);
        let reply = world.call("POST", "/keys/k/decrypt", changed).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{member}");
        texts.push(reply.message().split(" (Activity").next().unwrap().to_owned());
    }
    texts.dedup();
    assert_eq!(texts, ["The value could not be decrypted."]);
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused() {
    let world = World::new().await;
    world.create("oct", json!({"kty": "oct-HSM"})).await;
    world.create("ec", json!({"kty": "EC"})).await;
    let value = b64(&[1; 16]);
    for (path, body) in [
        ("/keys/oct/encrypt", json!({"alg": "A128GCM", "value": value})),
        ("/keys/oct/encrypt", json!({"alg": "A256GCM", "value": value, "iv": b64(&[0; 12])})),
        ("/keys/oct/encrypt", json!({"alg": "A256GCM", "value": value, "tag": b64(&[0; 16])})),
        ("/keys/oct/encrypt", json!({"alg": "A256CBC", "value": value})),
        ("/keys/oct/encrypt", json!({"alg": "A256CBC", "value": b64(&[1; 15]), "iv": value})),
        ("/keys/oct/encrypt", json!({"alg": "A256KW", "value": value})),
        ("/keys/oct/encrypt", json!({"alg": "RSA-OAEP", "value": value})),
        ("/keys/oct/encrypt", json!({"alg": "a256gcm", "value": value})),
        ("/keys/oct/wrapkey", json!({"alg": "A256GCM", "value": value})),
        ("/keys/oct/wrapkey", json!({"alg": "A256KW", "value": b64(&[1; 7])})),
        ("/keys/oct/decrypt", json!({"alg": "A256GCM", "value": value})),
        ("/keys/oct/unwrapkey", json!({"alg": "A256KW", "value": b64(&[1; 24])})),
        ("/keys/ec/sign", json!({"alg": "ES256", "value": b64(&[1; 31])})),
        ("/keys/ec/sign", json!({"alg": "ES384", "value": b64(&[1; 48])})),
        ("/keys/ec/sign", json!({"alg": "RS256", "value": b64(&[1; 32])})),
        ("/keys/ec/verify", json!({"alg": "ES256", "digest": value, "value": value})),
    ] {
        let reply = world.call("POST", path, body.clone()).await;
        assert_eq!(reply.code(), (400, "BadParameter".to_owned()), "{path} {body}");
    }
}

#[tokio::test]
async fn keys_are_used_only_as_and_while_they_may_be() {
    let world = World::new().await;
    let sign = json!({"alg": "ES256", "value": b64(&[1; 32])});
    let forbidden = (403, "Forbidden".to_owned());
    world.create("verify-only", json!({"kty": "EC", "key_ops": ["verify"]})).await;
    let reply = world.call("POST", "/keys/verify-only/sign", sign.clone()).await;
    assert_eq!(reply.code(), forbidden);
    world.create("off", json!({"kty": "EC", "attributes": {"enabled": false}})).await;
    assert_eq!(world.call("POST", "/keys/off/sign", sign.clone()).await.code(), forbidden);
    world.create("soon", json!({"kty": "EC", "attributes": {"nbf": START + 60}})).await;
    assert_eq!(world.call("POST", "/keys/soon/sign", sign.clone()).await.code(), forbidden);
    world.create("late", json!({"kty": "EC", "attributes": {"exp": START + 60}})).await;
    let signed = world.call("POST", "/keys/late/sign", sign.clone()).await.json();
    world.clock.advance(60);
    let reply = world.call("POST", "/keys/late/sign", sign.clone()).await;
    assert_eq!(reply.code(), forbidden);
    assert!(reply.message().contains("expired"), "{}", reply.message());
    // What undoes an earlier use works on.
    let verify = json!({"alg": "ES256", "digest": b64(&[1; 32]), "value": signed["value"]});
    let reply = world.call("POST", "/keys/late/verify", verify).await;
    assert_eq!(reply.json(), json!({"value": true}));
    assert_eq!(world.call("POST", "/keys/soon/sign", sign.clone()).await.status, 200);
    world.call("DELETE", "/keys/soon", Value::Null).await;
    let reply = world.call("POST", "/keys/soon/sign", sign).await;
    assert_eq!(reply.code(), (404, "KeyNotFound".to_owned()));
}
