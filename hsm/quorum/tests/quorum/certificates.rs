//! Certificates and quorums: what holds a share, and what does not.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_quorum::{
    APPROVALS_MAX, CertificateError, DownloadRequest, Holder, Quorum, QuorumRefusal, RequestError,
    Rotation,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::kit::{certificate, officers};

fn body(holders: usize, required: Value) -> Value {
    let officers = &officers()[..holders];
    let jwks: Vec<_> = officers.iter().map(|one| one.holder.jwk(&SoftPrimitives)).collect();
    json!({ "certificates": jwks, "required": required })
}

fn parse(body: &Value) -> Result<DownloadRequest, RequestError> {
    DownloadRequest::parse(body.to_string().as_bytes(), &SoftPrimitives)
}

/// The refusal of the first certificate after this change.
fn refused(change: impl FnOnce(&mut Value)) -> CertificateError {
    let mut body = body(3, json!(2));
    change(&mut body["certificates"][0]);
    let refusal = parse(&body).unwrap_err();
    let RequestError::Certificate { place: 1, cause } = refusal else {
        unreachable!("another refusal: {refusal}")
    };
    cause
}

#[test]
fn what_az_sends_is_taken() {
    let request = parse(&body(3, json!(2))).unwrap();
    assert_eq!((request.quorum.required(), request.quorum.holders().len()), (2, 3));
    assert_eq!(request.quorum.holders()[0], officers()[0].holder);
    assert_eq!(request.quorum.holders()[0].bits(), 2048);
    assert!(request.quorum.holders()[0].subject().contains("officer 0"));
    // Members that clients leave out or add, and base64 without padding.
    let mut bare = body(3, json!(2));
    for jwk in bare["certificates"].as_array_mut().unwrap() {
        let jwk = jwk.as_object_mut().unwrap();
        for gone in ["alg", "key_ops", "x5t"] {
            jwk.remove(gone);
        }
        let der = STANDARD.decode(jwk["x5c"][0].as_str().unwrap()).unwrap();
        jwk["x5c"][0] = json!(STANDARD_NO_PAD.encode(der));
        jwk.insert("kid".to_owned(), json!("https://x/keys/1"));
        jwk.insert("use".to_owned(), json!("enc"));
    }
    assert!(parse(&bare).is_ok());
    let written = request.body(&SoftPrimitives);
    let again = DownloadRequest::parse(written.as_bytes(), &SoftPrimitives).unwrap();
    assert_eq!((&again.quorum, again.rotation), (&request.quorum, None));
}

#[test]
fn a_new_epoch_is_asked_for_by_its_number_and_nothing_else() {
    let with = |rotation: Value| {
        let mut body = body(3, json!(2));
        body["rotation"] = rotation;
        body
    };
    for (asked, forget_before) in
        [(json!({"epoch": 2}), None), (json!({"epoch": 2, "forgetBefore": 1}), Some(1))]
    {
        let request = parse(&with(asked)).unwrap();
        assert_eq!(request.rotation, Some(Rotation { epoch: 2, forget_before }));
        let written = request.body(&SoftPrimitives);
        let again = DownloadRequest::parse(written.as_bytes(), &SoftPrimitives).unwrap();
        assert_eq!(again.rotation, request.rotation);
    }
    for bad in [
        json!({}),
        json!(2),
        json!({"epoch": "2"}),
        json!({"epoch": -1}),
        json!({"epoch": 4_294_967_296_u64}),
        json!({"epoch": 2, "forget_before": 1}),
        json!({"epoch": 2, "forgetBefore": "1"}),
    ] {
        let refusal = parse(&with(bad.clone())).unwrap_err();
        assert!(matches!(refusal, RequestError::Form { .. }), "{bad}: {refusal}");
    }
}

#[test]
fn every_number_of_holders_and_every_quorum_is_judged() {
    for holders in 0..=11 {
        for required in 0..=12_u64 {
            let done = parse(&body(holders, json!(required)));
            let refusal = done.as_ref().err();
            let allowed = (3..=10).contains(&holders)
                && (2..=10).contains(&required)
                && required <= u64::try_from(holders).unwrap();
            assert_eq!(done.is_ok(), allowed, "{required} of {holders}: {refusal:?}");
        }
    }
    let refused = |body: &Value| match parse(body).unwrap_err() {
        RequestError::Quorum(refusal) => refusal,
        other => panic!("{other}"),
    };
    assert_eq!(refused(&body(2, json!(2))), QuorumRefusal::Holders { found: 2 });
    assert_eq!(refused(&body(11, json!(2))), QuorumRefusal::Holders { found: 11 });
    assert_eq!(refused(&body(3, Value::Null)), QuorumRefusal::RequiredMissing);
    assert_eq!(refused(&body(3, json!(1))), QuorumRefusal::Required { found: 1 });
    assert_eq!(refused(&body(3, json!(11))), QuorumRefusal::Required { found: 11 });
    let beyond = QuorumRefusal::Beyond { required: 4, holders: 3 };
    assert_eq!(refused(&body(3, json!(4))), beyond);
    for form in [json!("2"), json!(-1), json!(2.5), json!([2])] {
        assert!(matches!(parse(&body(3, form)).unwrap_err(), RequestError::Form { .. }));
    }
}

#[test]
fn nobody_holds_two_shares() {
    let holder = |at: usize| officers()[at].holder.clone();
    let refused = |holders| Quorum::new(holders, Some(2)).unwrap_err();
    let same = QuorumRefusal::SameCertificate { first: 1, second: 3 };
    assert_eq!(refused(vec![holder(0), holder(1), holder(0)]), same);
    // Another certificate of the same key.
    let other = certificate(&officers()[1].pair, "the same again");
    let other = Holder::from_der(&other, &SoftPrimitives).unwrap();
    let same = QuorumRefusal::SameKey { first: 2, second: 4 };
    assert_eq!(refused(vec![holder(0), holder(1), holder(2), other]), same);
}

#[test]
fn keys_that_are_weak_or_not_rsa_are_refused() {
    let ec = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ec = certificate(&ec, "ec");
    assert_eq!(Holder::from_der(&ec, &SoftPrimitives), Err(CertificateError::NotRsa));
    assert_eq!(
        refused(|jwk| jwk["x5c"][0] = json!(STANDARD.encode(&ec))),
        CertificateError::NotRsa
    );
    assert_eq!(refused(|jwk| jwk["kty"] = json!("EC")), CertificateError::NotRsa);
    // Made by OpenSSL: our own libraries make no such key.
    let weak = STANDARD.decode(include_str!("weak-1024.b64").replace('\n', "")).unwrap();
    let size = CertificateError::Size { bits: 1024 };
    assert_eq!(Holder::from_der(&weak, &SoftPrimitives), Err(size));
    let large = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).unwrap();
    let large = Holder::from_der(&certificate(&large, "large"), &SoftPrimitives).unwrap();
    assert_eq!(large.bits(), 3072);
}

#[test]
fn numbers_and_thumbprints_must_be_those_of_the_certificate() {
    let other = || officers()[4].holder.jwk(&SoftPrimitives);
    assert_eq!(refused(|jwk| jwk["n"] = json!(other().n)), CertificateError::OtherKey);
    assert_eq!(refused(|jwk| jwk["e"] = json!("Aw")), CertificateError::OtherKey);
    assert_eq!(refused(|jwk| jwk["n"] = json!("?")), CertificateError::OtherKey);
    let thumbprint = CertificateError::OtherThumbprint;
    assert_eq!(refused(|jwk| jwk["x5t#S256"] = json!(other().x5t_s256)), thumbprint("x5t#S256"));
    assert_eq!(refused(|jwk| jwk["x5t#S256"] = json!("")), thumbprint("x5t#S256"));
    assert_eq!(refused(|jwk| jwk["x5t"] = json!(other().x5t)), thumbprint("x5t"));
    assert_eq!(refused(|jwk| jwk["x5c"] = json!(other().x5c)), CertificateError::OtherKey);
    assert_eq!(refused(|jwk| jwk["alg"] = json!("RSA1_5")), CertificateError::Algorithm);
}

#[test]
fn chains_and_what_is_no_certificate_are_refused() {
    let other = || officers()[4].holder.jwk(&SoftPrimitives).x5c[0].clone();
    assert_eq!(refused(|jwk| jwk["x5c"] = json!([])), CertificateError::NotOne);
    let chain = |jwk: &mut Value| jwk["x5c"].as_array_mut().unwrap().push(json!(other()));
    assert_eq!(refused(chain), CertificateError::NotOne);
    for text in ["", "AAAA", "MIIB", "not base64!", &"A".repeat(40_000)] {
        assert_eq!(refused(|jwk| jwk["x5c"][0] = json!(text)), CertificateError::Malformed);
    }
    let trailing = [officers()[0].holder.der(), &[0]].concat();
    assert_eq!(Holder::from_der(&trailing, &SoftPrimitives), Err(CertificateError::Malformed));
    let der = officers()[0].holder.der();
    for length in (0..der.len()).step_by(13) {
        assert!(Holder::from_der(&der[..length], &SoftPrimitives).is_err(), "{length}");
    }
}

#[test]
fn bodies_of_another_form_are_refused() {
    for text in ["", "[]", "{}", r#"{"certificates":{}}"#, r#"{"certificates":[1,2,3]}"#] {
        let refusal = DownloadRequest::parse(text.as_bytes(), &SoftPrimitives).unwrap_err();
        assert!(matches!(refusal, RequestError::Form { .. }), "{text}");
    }
    let mut many = body(3, json!(2));
    let one = json!({"x5t#S256": "a", "signature": "b"});
    let found = APPROVALS_MAX + 1;
    many["approvals"] = json!(vec![one; found]);
    assert_eq!(parse(&many).unwrap_err(), RequestError::Approvals { found });
    // Many certificates are refused before any of them is parsed.
    let jwk = json!({"kty": "RSA", "n": "", "e": "", "x5c": [""], "x5t#S256": ""});
    let crowd = json!({"certificates": vec![jwk; 500], "required": 2});
    let refusal = RequestError::Quorum(QuorumRefusal::Holders { found: 500 });
    assert_eq!(parse(&crowd).unwrap_err(), refusal);
}
