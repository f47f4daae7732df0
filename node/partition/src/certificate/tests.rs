//! Only a certificate for our key and exactly our names is used.

use rcgen::Issuer;

use super::*;

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// A chain of one, signed by a throwaway CA, and its key.
fn signed(list: &[&str]) -> (String, Vec<u8>) {
    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(list).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 1, 31);
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_der())
}

#[test]
fn it_is_renewed_after_two_thirds_of_its_life() {
    let (chain, key) = signed(&["dev.managedhsm.localhost", "127.0.0.1", "::1"]);
    let expected = names(&["127.0.0.1", "::1", "dev.managedhsm.localhost"]);
    let certified = certified(&chain, &key, &expected).unwrap();
    assert_eq!(certified.renew_at, UnixSeconds(1_767_225_600 + 20 * 86_400));
}

#[test]
fn other_names_another_key_and_what_is_no_certificate_are_refused() {
    let (chain, key) = signed(&["a.example", "b.example"]);
    let (_, other_key) = signed(&["a.example"]);
    let both = names(&["a.example", "b.example"]);
    assert!(certified(&chain, &key, &both).is_ok());
    let refused = |chain: &str, key: &[u8], names: &BTreeSet<String>| {
        matches!(certified(chain, key, names), Err(CertificateError::NotOurs(_)))
    };
    assert!(refused(&chain, &key, &names(&["a.example"])));
    assert!(refused(&chain, &key, &names(&["a.example", "b.example", "c.example"])));
    assert!(refused(&chain, &other_key, &both));
    assert!(refused("", &key, &both));
    assert!(refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, &both));
    assert!(certified(&chain, b"no key", &both).is_err());
}
