//! Every way in which a token is refused, and the few in which it is not.

#[expect(dead_code, reason = "shared with the tests of the memory, which use other parts of it")]
mod support;

use casemate_token::{Algorithm, RefusalKind, TOKEN_BYTES_MAX, TokenRefusal, parse};
use serde_json::{Value, json};
use support::{
    AUDIENCE, ISSUER, KEYS_URL, NOW, OBJECT, TENANT, b64, claims, key_set, p256, p384, raw_token,
    rsa, settings, token, world,
};
use uuid::Uuid;

/// The refusal of a token in a fresh world. It must also be silent about the token.
async fn refusal(token: &str) -> TokenRefusal {
    let (_, validator) = world();
    let refusal = validator.validate(token, NOW).await.expect_err("the token is refused");
    assert!(validator.cached(token, NOW).is_none(), "a refusal is not remembered");
    let told = format!("{refusal} {refusal:?}");
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!told.contains(part), "a refusal does not repeat the token");
    }
    refusal
}

/// The refusal of a well-signed token with one claim changed; null removes it.
async fn with_claim(name: &str, value: Value) -> TokenRefusal {
    refusal(&changed(name, value)).await
}

async fn accepted_with(name: &str, value: Value) -> bool {
    let (_, validator) = world();
    validator.validate(&changed(name, value), NOW).await.is_ok()
}

fn changed(name: &str, value: Value) -> String {
    let mut claims = claims();
    let object = claims.as_object_mut().expect("claims are an object");
    match value {
        Value::Null => object.remove(name),
        value => object.insert(name.to_owned(), value),
    };
    token(rsa(0), "RS256", "r", &claims)
}

fn malformed(claim: &'static str) -> TokenRefusal {
    TokenRefusal::MalformedClaim { claim }
}

fn missing(claim: &'static str) -> TokenRefusal {
    TokenRefusal::MissingClaim { claim }
}

#[tokio::test]
async fn each_accepted_algorithm_is_accepted_with_its_own_key() {
    let (_, validator) = world();
    for (signer, kid, names) in [
        (rsa(0), "r", &["RS256", "RS384", "RS512", "PS256"][..]),
        (p256(), "e", &["ES256"]),
        (p384(), "f", &["ES384"]),
    ] {
        for alg in Algorithm::ALL.map(Algorithm::name) {
            let token = token(signer, alg, kid, &claims());
            let outcome = validator.validate(&token, NOW).await;
            if names.contains(&alg) {
                assert!(outcome.is_ok(), "{alg} with {kid}: {outcome:?}");
            } else {
                assert_eq!(outcome, Err(TokenRefusal::KeyNotForAlgorithm), "{alg} with {kid}");
            }
        }
    }
}

#[tokio::test]
async fn a_good_token_tells_all_of_its_caller() {
    let (_, validator) = world();
    let token = token(rsa(0), "RS256", "r", &claims());
    let caller = validator.validate(&token, NOW).await.unwrap();
    assert_eq!((&*caller.issuer, caller.object_id, caller.tenant), (ISSUER, OBJECT, TENANT));
    assert_eq!(caller.app_id.as_deref(), Some("app"));
    assert_eq!(caller.upn.as_deref(), Some("u@example"));
    assert_eq!((&caller.groups[..], caller.groups_overage), (&[Uuid::from_u128(5)][..], false));
    let times = (caller.not_before, caller.issued_at, caller.expires_at);
    assert_eq!(times, (NOW - 10, NOW - 10, NOW + 3600));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(caller.token_id, hex);
    assert_eq!(validator.cached(&token, NOW), Some(caller));
}

#[tokio::test]
async fn the_audience_must_be_ours() {
    for aud in [
        json!("https://vault.azure.net"),
        json!("https://managedhsm.example"),
        json!("https://managedhsm.example:8443.evil"),
        json!("https://x.managedhsm.example:8443"),
        json!(["https://vault.azure.net", "https://management.example"]),
        json!([]),
        json!(""),
    ] {
        assert_eq!(with_claim("aud", aud.clone()).await, TokenRefusal::WrongAudience, "{aud}");
    }
    for aud in [json!(7), json!([AUDIENCE, 7]), json!({ "a": AUDIENCE })] {
        assert_eq!(with_claim("aud", aud).await, malformed("aud"));
    }
    assert_eq!(with_claim("aud", Value::Null).await, missing("aud"));
    for aud in [
        json!(format!("{AUDIENCE}/")),
        json!(["https://other", AUDIENCE]),
        json!("https://managedhsm.azure.net"),
    ] {
        assert!(accepted_with("aud", aud).await);
    }
}

#[tokio::test]
async fn the_tenant_must_be_ours_in_its_one_spelling() {
    assert_eq!(with_claim("tid", json!(Uuid::nil())).await, TokenRefusal::WrongTenant);
    assert_eq!(with_claim("tid", Value::Null).await, missing("tid"));
    for tid in [json!("adfs"), json!(1), json!(TENANT.simple().to_string()), json!([TENANT])] {
        assert_eq!(with_claim("tid", tid).await, malformed("tid"));
    }
}

#[tokio::test]
async fn the_issuer_is_compared_character_by_character() {
    for iss in ["https://evil.example", "https://ISSUER.example/t/v2.0", &format!("{ISSUER}/")] {
        assert_eq!(with_claim("iss", json!(iss)).await, TokenRefusal::UnknownIssuer);
    }
    assert_eq!(with_claim("iss", Value::Null).await, missing("iss"));
    assert_eq!(with_claim("iss", json!([ISSUER])).await, malformed("iss"));
}

#[tokio::test]
async fn the_time_must_be_right() {
    let expired = |expired_at| TokenRefusal::Expired { expired_at };
    let early = |not_before| TokenRefusal::NotYetValid { not_before };
    assert_eq!(with_claim("exp", json!(NOW - 1)).await, expired(NOW - 1));
    assert_eq!(with_claim("exp", json!(NOW)).await, expired(NOW));
    assert_eq!(with_claim("exp", json!(1_800_000_000.9)).await, expired(NOW));
    assert_eq!(with_claim("exp", json!(0)).await, expired(0));
    assert_eq!(with_claim("nbf", json!(NOW + 61)).await, early(NOW + 61));
    assert_eq!(with_claim("iat", json!(NOW + 61)).await, early(NOW + 61));
    for claim in ["exp", "iat"] {
        assert_eq!(with_claim(claim, Value::Null).await, missing(claim));
    }
    for claim in ["exp", "iat", "nbf"] {
        for value in [json!("1900000000"), json!(-1), json!(1e300), json!(true), json!([1])] {
            assert_eq!(with_claim(claim, value).await, malformed(claim));
        }
    }
    assert!(accepted_with("nbf", json!(NOW + 60)).await, "clocks may differ by a minute");
    assert!(accepted_with("exp", json!(1_800_000_001.5)).await, "fractions are allowed");
    assert!(accepted_with("nbf", Value::Null).await, "not every issuer sends nbf");
}

#[tokio::test]
async fn the_principal_must_be_named_in_one_way() {
    for oid in [json!("me"), json!(7), json!(OBJECT.simple().to_string()), json!("")] {
        assert_eq!(with_claim("oid", oid).await, malformed("oid"));
    }
    for claim in ["appid", "upn"] {
        for value in [json!(7), json!(["x"]), json!(""), json!("x".repeat(1025))] {
            assert_eq!(with_claim(claim, value).await, malformed(claim));
        }
    }
    let mut nobody = claims();
    nobody["oid"].take();
    let nobody = nobody.as_object_mut().unwrap();
    nobody.remove("oid");
    nobody.remove("sub");
    let nobody = token(rsa(0), "RS256", "r", &json!(nobody));
    assert_eq!(refusal(&nobody).await, missing("sub"));
}

#[tokio::test]
async fn without_oid_issuer_and_subject_make_the_object_id() {
    let (_, validator) = world();
    let mut ids = Vec::new();
    for sub in ["a", "b", "a"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("oid");
        claims["sub"] = json!(sub);
        let token = token(rsa(0), "RS256", "r", &claims);
        ids.push(validator.validate(&token, NOW).await.unwrap().object_id);
    }
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0].get_version_num(), 5);
}

#[tokio::test]
async fn an_issuer_outside_the_directory_speaks_for_nobody_in_it() {
    let (_, validator) = world();
    let group = Uuid::from_u128(7);
    let mut claims = claims();
    claims["groups"] = json!([group.to_string()]);
    let token = token(rsa(0), "RS256", "r", &claims);
    let inside = validator.validate(&token, NOW).await.unwrap();
    assert_eq!((inside.object_id, inside.groups.as_slice()), (OBJECT, &[group][..]));

    let mut outside = settings();
    outside.issuers[0].directory = false;
    validator.replace(outside);
    let outside = validator.validate(&token, NOW).await.unwrap();
    let ids = [outside.object_id, outside.groups[0]];
    assert!(ids.iter().all(|id| id.get_version_num() == 5 && *id != OBJECT && *id != group));
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn groups_are_a_list_of_texts_or_known_to_be_elsewhere() {
    for groups in [json!("g"), json!([7]), json!([""]), json!({ "g": 1 }), json!([["g"]])] {
        assert_eq!(with_claim("groups", groups).await, malformed("groups"));
    }
    let (_, validator) = world();
    for (name, value, overage) in [
        ("_claim_names", json!({ "groups": "src1" }), true),
        ("_claim_names", json!({ "other": "src1" }), false),
        ("hasgroups", json!(true), true),
        ("hasgroups", json!("true"), true),
        ("hasgroups", json!(false), false),
        ("hasgroups", json!("yes"), false),
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("groups");
        claims[name] = value;
        let token = token(rsa(0), "RS256", "r", &claims);
        let caller = validator.validate(&token, NOW).await.unwrap();
        assert_eq!((caller.groups.len(), caller.groups_overage), (0, overage));
    }
}

#[tokio::test]
async fn a_signature_by_another_key_or_over_other_claims_is_wrong() {
    let stranger = token(rsa(1), "RS256", "r", &claims());
    assert_eq!(refusal(&stranger).await, TokenRefusal::BadSignature);
    let good = token(rsa(0), "RS256", "r", &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let mut other = claims();
    other["oid"] = json!(Uuid::nil());
    let forged = format!("{header}.{}.{signature}", b64(other.to_string()));
    assert_eq!(refusal(&forged).await, TokenRefusal::BadSignature);
    let other_header = b64(r#"{"alg":"RS384","kid":"r"}"#);
    let (_, payload) = signed.split_once('.').unwrap();
    let swapped = format!("{other_header}.{payload}.{signature}");
    assert_eq!(refusal(&swapped).await, TokenRefusal::BadSignature);
    assert_eq!(refusal(&format!("{signed}.")).await, TokenRefusal::BadSignature);
    assert_eq!(refusal(&format!("{signed}.AAAA")).await, TokenRefusal::BadSignature);
    let zeros = b64([0; 64]);
    let ec = token(p256(), "ES256", "e", &claims());
    let (signed, _) = ec.rsplit_once('.').unwrap();
    assert_eq!(refusal(&format!("{signed}.{zeros}")).await, TokenRefusal::BadSignature);
}

#[tokio::test]
async fn no_signature_and_shared_secrets_are_not_algorithms() {
    for alg in ["none", "None", "NONE", "", "HS256", "HS512", "RS1", "ES512", "EdDSA", "rs256"] {
        let header = json!({ "alg": alg, "kid": "r" }).to_string();
        let signed = format!("{}.{}", b64(header), b64(claims().to_string()));
        for signature in [String::new(), b64(rsa(0).sign("RS256", signed.as_bytes()))] {
            let token = format!("{signed}.{signature}");
            assert_eq!(refusal(&token).await, TokenRefusal::AlgorithmNotAccepted, "{alg}");
        }
    }
    for header in [r#"{"kid":"r"}"#, r#"{"kid":"r","alg":7}"#, r#"{"kid":"r","alg":["RS256"]}"#] {
        let token = raw_token(rsa(0), header, &claims());
        assert_eq!(refusal(&token).await, TokenRefusal::AlgorithmNotAccepted);
    }
}

#[tokio::test]
async fn the_public_key_is_no_shared_secret() {
    let jwk = rsa(0).jwk("r");
    let header = json!({ "alg": "HS256", "kid": "r" }).to_string();
    let signed = format!("{}.{}", b64(header), b64(claims().to_string()));
    for secret in [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        let token = format!("{signed}.{}", b64(tag));
        assert_eq!(refusal(&token).await, TokenRefusal::AlgorithmNotAccepted);
    }
}

#[tokio::test]
async fn the_key_must_be_named_and_known() {
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"RS256","kid":7}"#] {
        let token = raw_token(rsa(0), header, &claims());
        assert_eq!(refusal(&token).await, TokenRefusal::MissingKeyId);
    }
    for kid in ["R", "x", "", "r "] {
        let token = token(rsa(0), "RS256", kid, &claims());
        assert_eq!(refusal(&token).await, TokenRefusal::UnknownKey);
    }
    // A key that the token brings along is not looked at.
    let header = json!({ "alg": "RS256", "kid": "x", "jwk": rsa(1).jwk("x"), "jku": KEYS_URL });
    let token = raw_token(rsa(1), &header.to_string(), &claims());
    assert_eq!(refusal(&token).await, TokenRefusal::UnknownKey);
}

#[tokio::test]
async fn keys_that_are_too_small_or_for_something_else_do_not_serve() {
    let (documents, validator) = world();
    let mut small = [0xff; 128];
    small[0] = 0x80;
    let mut for_encryption = rsa(0).jwk("enc");
    for_encryption["use"] = json!("enc");
    let mut for_ps256 = rsa(0).jwk("ps");
    for_ps256["alg"] = json!("PS256");
    let mut off_curve = p256().jwk("off");
    off_curve["y"] = off_curve["x"].clone();
    let small = json!({ "kty": "RSA", "kid": "small", "e": "AQAB", "n": b64(small) });
    let secret = json!({ "kty": "oct", "kid": "oct", "k": b64([7; 32]) });
    let keys = [small, for_encryption, for_ps256, off_curve, secret];
    documents.put(KEYS_URL, key_set(&keys));
    for (kid, alg, expected) in [
        ("small", "RS256", TokenRefusal::KeyTooWeak { bits: 1024 }),
        ("enc", "RS256", TokenRefusal::UnknownKey),
        ("ps", "RS256", TokenRefusal::KeyNotForAlgorithm),
        ("off", "ES256", TokenRefusal::UnknownKey),
        ("oct", "RS256", TokenRefusal::UnknownKey),
    ] {
        let token = token(rsa(0), alg, kid, &claims());
        assert_eq!(validator.validate(&token, NOW).await, Err(expected), "{kid}");
    }
    let good = token(rsa(0), "PS256", "ps", &claims());
    assert!(validator.validate(&good, NOW).await.is_ok());
}

#[tokio::test]
async fn members_that_stand_twice_are_refused() {
    let header = r#"{"alg":"RS256","kid":"x","kid":"r"}"#;
    let token = raw_token(rsa(0), header, &claims());
    assert_eq!(refusal(&token).await, TokenRefusal::RepeatedMember { part: "header" });
    let twice = claims().to_string().replacen('{', r#"{"oid":"x","#, 1);
    let signed = format!("{}.{}", b64(r#"{"alg":"RS256","kid":"r"}"#), b64(twice));
    let token = format!("{signed}.{}", b64(rsa(0).sign("RS256", signed.as_bytes())));
    assert_eq!(refusal(&token).await, TokenRefusal::RepeatedMember { part: "claims" });
}

#[tokio::test]
async fn extensions_and_other_types_are_refused() {
    let header = r#"{"alg":"RS256","kid":"r","crit":["b64"],"b64":false}"#;
    let token = raw_token(rsa(0), header, &claims());
    assert_eq!(refusal(&token).await, TokenRefusal::UnknownExtension);
    for typ in [r#""logout+jwt""#, r#""dpop+jwt""#, "7", "null"] {
        let header = format!(r#"{{"alg":"RS256","kid":"r","typ":{typ}}}"#);
        let token = raw_token(rsa(0), &header, &claims());
        assert_eq!(refusal(&token).await, TokenRefusal::NotAnAccessToken);
    }
    let (_, validator) = world();
    for header in [r#"{"alg":"RS256","kid":"r"}"#, r#"{"alg":"RS256","kid":"r","typ":"at+JWT"}"#] {
        let token = raw_token(rsa(0), header, &claims());
        assert!(validator.validate(&token, NOW).await.is_ok());
    }
}

#[tokio::test]
async fn what_is_cut_off_is_refused_at_every_length() {
    let (_, validator) = world();
    let good = token(p256(), "ES256", "e", &claims());
    assert!(validator.validate(&good, NOW).await.is_ok());
    for length in 0..good.len() {
        let outcome = validator.validate(&good[..length], NOW).await;
        assert!(outcome.is_err(), "the first {length} characters are not a token");
    }
}

#[tokio::test]
async fn one_changed_character_anywhere_is_refused() {
    let (_, validator) = world();
    let good = token(p256(), "ES256", "e", &claims());
    for place in 0..good.len() {
        let old = good.as_bytes()[place];
        let new = if old == b'A' { 'B' } else { 'A' };
        let changed = format!("{}{new}{}", &good[..place], &good[place + 1..]);
        let outcome = validator.validate(&changed, NOW).await;
        assert!(outcome.is_err(), "changed at {place}");
    }
}

#[tokio::test]
async fn the_form_is_strict() {
    assert_eq!(refusal("").await, TokenRefusal::NotAToken);
    assert_eq!(refusal("opaque").await, TokenRefusal::NotAToken);
    assert_eq!(refusal("a.b").await, TokenRefusal::NotAToken);
    assert_eq!(refusal("a.b.c.d.e").await, TokenRefusal::NotAToken);
    let good = token(rsa(0), "RS256", "r", &claims());
    let parts: Vec<&str> = good.split('.').collect();
    for (token, part) in [
        (format!("{}=.{}.{}", parts[0], parts[1], parts[2]), "header"),
        (format!("{}.{}=.{}", parts[0], parts[1], parts[2]), "claims"),
        (format!("{}.{}.{}==", parts[0], parts[1], parts[2]), "signature"),
        (format!("{}.{}.++++", parts[0], parts[1]), "signature"),
        (format!("{}. {}.{}", parts[0], parts[1], parts[2]), "claims"),
    ] {
        assert_eq!(refusal(&token).await, TokenRefusal::NotBase64 { part });
    }
    for (header, claims, part) in [
        ("[]", "{}", "header"),
        ("{}x", "{}", "header"),
        (r#"{"alg":"RS256"}"#, "7", "claims"),
        (r#"{"alg":"RS256"}"#, "", "claims"),
        (r#"{"alg":"RS256"}"#, "{\"a\":\"\u{0}\"}", "claims"),
    ] {
        let token = format!("{}.{}.", b64(header), b64(claims));
        assert_eq!(refusal(&token).await, TokenRefusal::NotJson { part });
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let deep = format!("{}.{}.", b64(r#"{"alg":"RS256"}"#), b64(format!("{{\"a\":{deep}}}")));
    assert_eq!(refusal(&deep).await, TokenRefusal::NotJson { part: "claims" });
}

#[tokio::test]
async fn a_large_token_is_refused_before_it_is_read() {
    let mut large = claims();
    large["filler"] = json!("x".repeat(TOKEN_BYTES_MAX));
    let token = token(rsa(0), "RS256", "r", &large);
    let expected = TokenRefusal::TooLarge { bytes: token.len(), limit: TOKEN_BYTES_MAX };
    assert_eq!(refusal(&token).await, expected);
    let many = ".".repeat(TOKEN_BYTES_MAX + 1);
    let expected = TokenRefusal::TooLarge { bytes: many.len(), limit: TOKEN_BYTES_MAX };
    assert_eq!(refusal(&many).await, expected);
}

/// The parser alone, over random changes of a real token: it answers, whatever comes.
#[test]
fn the_parser_answers_whatever_comes() {
    let good = token(p256(), "ES256", "e", &claims());
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let mut parsed = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=next(3) {
            match next(3) {
                0 => bytes.truncate(next(bytes.len()) + 1),
                1 => {
                    let place = next(bytes.len());
                    bytes[place] = b"ABCDabcd0123-_.=+/ {\"\n"[next(22)];
                }
                _ => {
                    let (from, to) = (next(bytes.len()), next(bytes.len()));
                    bytes.swap(from, to);
                }
            }
        }
        parsed += usize::from(parse(&String::from_utf8(bytes).unwrap()).is_ok());
    }
    assert!((1..20_000).contains(&parsed), "some are still readable, and not all: {parsed}");
}

#[test]
fn refusals_say_how_they_are_answered() {
    assert_eq!(TokenRefusal::BadSignature.kind(), RefusalKind::Token);
    assert_eq!(TokenRefusal::SettingsChanging.kind(), RefusalKind::Unavailable);
}
