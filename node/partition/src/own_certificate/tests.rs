//! What is taken as an own certificate and what is not; that it is kept whole or not at all.

use std::fs;
use std::os::fd::OwnedFd;

use casemate_engine_port::Secret;
use casemate_engine_soft::domain::DomainKeys;
use rcgen::{
    BasicConstraints, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, SignatureAlgorithm,
};

use super::*;

/// The second day of 2026, at one o'clock.
const NOW: UnixSeconds = UnixSeconds(1_767_225_600 + 86_400 + 3_600);

struct Place {
    dir: tempfile::TempDir,
    cipher: RecordCipher,
    names: BTreeSet<String>,
}

impl Place {
    fn new() -> Self {
        let names = ["alpha.hsm.example", "127.0.0.1"].map(str::to_owned).into();
        Self { dir: tempfile::tempdir().unwrap(), cipher: cipher(1), names }
    }

    fn own(&self) -> OwnPlace<'_> {
        OwnPlace { cipher: &self.cipher, folder: self.dir.path(), names: &self.names }
    }

    /// A descriptor of a file with this content.
    fn file(&self, content: &str) -> OwnedFd {
        let path = self.dir.path().join("brought.pem");
        fs::write(&path, content).unwrap();
        File::open(path).unwrap().into()
    }

    fn brought(&self, chain: &str, key: &str) -> Result<Own, OwnRefusal> {
        self.own().brought(chain, self.file(key), NOW).map(|brought| brought.own)
    }
}

fn cipher(byte: u8) -> RecordCipher {
    let (record, head, ..) = DomainKeys::derive(&Secret::new(vec![byte; 32])).into_parts();
    RecordCipher::new(record, head)
}

/// An authority below another one.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = match above {
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Authority { pem: certificate.pem(), issuer: Issuer::new(params, key) }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 1, 31);
    params
}

/// A chain of two, and its key.
fn signed(params: &CertificateParams, algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let ca = authority("ca", None);
    (params.signed_by(&key, &ca.issuer).unwrap().pem() + &ca.pem, key.serialize_pem())
}

fn good() -> (String, String) {
    signed(&params(&["alpha.hsm.example", "127.0.0.1"]), &PKCS_ECDSA_P256_SHA256)
}

#[test]
fn a_request_names_all_and_its_certificate_is_used_over_a_restart() {
    let place = Place::new();
    assert!(!place.own().is_requested().unwrap() && place.own().stored().unwrap().is_none());
    let request = place.own().request().unwrap();
    assert!(place.own().is_requested().unwrap());
    let asked = CertificateSigningRequestParams::from_pem(&request).unwrap();
    assert_eq!(asked.params.subject_alt_names.len(), 2);
    let ca = authority("ca", None);
    let mut parameters = params(&["alpha.hsm.example"]);
    parameters.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let leaf = parameters.signed_by(&asked.public_key, &ca.issuer).unwrap();
    let chain = leaf.pem() + &ca.pem;
    let brought = place.own().requested(&chain, NOW).unwrap();
    assert!(place.own().stored().unwrap().is_none(), "it is checked and not kept yet");
    assert_eq!(brought.own.not_named, ["127.0.0.1"]);
    assert!(place.own().keep(&brought).unwrap().is_none());
    assert!(!place.own().is_requested().unwrap(), "the request has its answer");
    assert_eq!(place.own().stored().unwrap().unwrap().key.cert, brought.own.key.cert);
    assert!(matches!(place.own().requested(&chain, NOW), Err(OwnRefusal::NoRequest)));
    assert!(place.own().forget().unwrap().is_none());
    assert!(place.own().stored().unwrap().is_none());
    assert!(place.own().forget().unwrap().is_none());
}

#[test]
fn a_certificate_of_an_earlier_request_is_none_of_the_last() {
    let place = Place::new();
    let first = place.own().request().unwrap();
    place.own().request().unwrap();
    let asked = CertificateSigningRequestParams::from_pem(&first).unwrap();
    let ca = authority("ca", None);
    let leaf = params(&["alpha.hsm.example"]).signed_by(&asked.public_key, &ca.issuer).unwrap();
    let refused = place.own().requested(&leaf.pem(), NOW).err().unwrap();
    assert!(refused.to_string().contains("last `casemate tls request`"), "{refused}");
    assert!(place.own().is_requested().unwrap(), "it is waited for on");
}

#[test]
fn keys_of_all_kinds_are_brought_and_their_bytes_lie_nowhere_in_clear() {
    let place = Place::new();
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let (chain, key) = signed(&params(&["*.hsm.example", "127.0.0.1"]), algorithm);
        let brought = place.own().brought(&chain, place.file(&key), NOW).unwrap();
        assert!(brought.own.not_named.is_empty());
        place.own().keep(&brought).unwrap();
        fs::remove_file(place.dir.path().join("brought.pem")).unwrap();
        assert!(place.own().stored().unwrap().is_some(), "{algorithm:?}");
        let secret = key.lines().nth(1).unwrap().as_bytes()[..40].to_vec();
        for file in fs::read_dir(place.dir.path()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret));
        }
    }
}

/// With a certificate that is kept, and its chain.
fn kept() -> (Place, String, Own) {
    let place = Place::new();
    let (chain, key) = good();
    let brought = place.own().brought(&chain, place.file(&key), NOW).unwrap();
    place.own().keep(&brought).unwrap();
    (place, chain, brought.own)
}

#[test]
fn what_another_hsm_sealed_is_never_taken_for_nothing() {
    let (place, chain, _) = kept();
    place.own().request().unwrap();
    let other = Place { cipher: cipher(2), ..Place::new() };
    for file in [OWN_FILE, REQUEST_FILE] {
        fs::copy(place.dir.path().join(file), other.dir.path().join(file)).unwrap();
    }
    assert!(matches!(other.own().stored(), Err(StoredError::Seal(OWN_FILE))));
    assert!(matches!(other.own().is_requested(), Err(StoredError::Seal(REQUEST_FILE))));
    let refused = other.own().requested(&chain, NOW).err().unwrap();
    assert!(matches!(refused, OwnRefusal::Stored(StoredError::Seal(REQUEST_FILE))), "{refused}");
}

#[test]
fn what_is_damaged_is_never_taken_for_nothing() {
    let (place, _, own) = kept();
    let path = place.dir.path().join(OWN_FILE);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    for bytes in [&bad[..], &good[..good.len() - 1], b""] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(place.own().stored(), Err(StoredError::Seal(OWN_FILE))));
    }
    fs::write(&path, vec![0; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
    assert!(matches!(place.own().stored(), Err(StoredError::Read { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(place.own().stored(), Err(StoredError::Read { .. })));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, &good).unwrap();
    assert_eq!(place.own().stored().unwrap().unwrap().key.cert, own.key.cert);
}

#[test]
fn what_opens_and_is_no_certificate_is_never_taken_for_nothing() {
    let (place, chain, _) = kept();
    place.own().write(OWN_FILE, OWN_LABEL, b"{}").unwrap();
    assert!(matches!(place.own().stored(), Err(StoredError::Form(OWN_FILE))));
    let kept = serde_json::json!({"chain": chain, "key": "none"}).to_string();
    place.own().write(OWN_FILE, OWN_LABEL, kept.as_bytes()).unwrap();
    assert!(matches!(place.own().stored(), Err(StoredError::Unfit { .. })));
}

#[test]
fn one_that_is_kept_stays_the_hsms_when_its_names_change() {
    let mut place = Place::new();
    let (chain, key) = good();
    let brought = place.own().brought(&chain, place.file(&key), NOW).unwrap();
    place.own().keep(&brought).unwrap();
    place.names = ["127.0.0.1", "beta.hsm.example"].map(str::to_owned).into();
    let stored = place.own().stored().unwrap().unwrap();
    assert_eq!(stored.not_named, ["beta.hsm.example"]);
    assert!(matches!(place.brought(&chain, &key), Err(OwnRefusal::Name(_))), "and is not taken");
}

#[test]
fn one_that_is_brought_leaves_a_request_alone() {
    let place = Place::new();
    let request = place.own().request().unwrap();
    let (chain, key) = good();
    let brought = place.own().brought(&chain, place.file(&key), NOW).unwrap();
    assert!(place.own().keep(&brought).unwrap().is_none());
    assert!(place.own().is_requested().unwrap(), "its certificate is still to come");
    let asked = CertificateSigningRequestParams::from_pem(&request).unwrap();
    let ca = authority("ca", None);
    let leaf = params(&["alpha.hsm.example"]).signed_by(&asked.public_key, &ca.issuer).unwrap();
    let answer = place.own().requested(&leaf.pem(), NOW).unwrap();
    assert!(place.own().keep(&answer).unwrap().is_none());
    assert!(!place.own().is_requested().unwrap());
    assert_eq!(place.own().stored().unwrap().unwrap().key.cert, answer.own.key.cert);
}

#[test]
fn what_was_done_is_told_as_done_and_what_was_not_is_not() {
    let place = Place::new();
    let request = place.own().request().unwrap();
    let asked = CertificateSigningRequestParams::from_pem(&request).unwrap();
    let ca = authority("ca", None);
    let leaf = params(&["alpha.hsm.example"]).signed_by(&asked.public_key, &ca.issuer).unwrap();
    let answer = place.own().requested(&leaf.pem(), NOW).unwrap();
    let (own, request) = (place.dir.path().join(OWN_FILE), place.dir.path().join(REQUEST_FILE));
    // What cannot be written is not kept, and the request goes on.
    let beside = place.dir.path().join(format!("{OWN_FILE}.new"));
    fs::create_dir(&beside).unwrap();
    assert!(matches!(place.own().keep(&answer), Err(OwnRefusal::Store(_))));
    assert!(!own.exists() && place.own().is_requested().unwrap());
    fs::remove_dir(&beside).unwrap();
    // A request that stays is no reason to call it not kept, or not forgotten.
    fs::remove_file(&request).unwrap();
    fs::create_dir(&request).unwrap();
    assert!(matches!(place.own().keep(&answer), Ok(Some(OwnRefusal::Remove(_)))));
    assert!(place.own().stored().unwrap().is_some());
    assert!(matches!(place.own().forget(), Ok(Some(OwnRefusal::Remove(_)))));
    assert!(place.own().stored().unwrap().is_none());
    // One that stays is not forgotten.
    fs::create_dir(&own).unwrap();
    assert!(matches!(place.own().forget(), Err(OwnRefusal::Store(_))));
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_wrong_and_changes_nothing() {
    let place = Place::new();
    let (chain, key) = good();
    let kept = place.own().brought(&chain, place.file(&key), NOW).unwrap();
    place.own().keep(&kept).unwrap();
    let before = fs::read(place.dir.path().join(OWN_FILE)).unwrap();
    let of = |change: fn(&mut CertificateParams)| {
        let mut params = params(&["alpha.hsm.example"]);
        change(&mut params);
        signed(&params, &PKCS_ECDSA_P256_SHA256)
    };
    let late = of(|params| params.not_after = rcgen::date_time_ymd(2026, 1, 2));
    let early = of(|params| params.not_before = rcgen::date_time_ymd(2026, 1, 3));
    let ca = of(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let usage = of(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let name = signed(&params(&["beta.hsm.example", "*.example"]), &PKCS_ECDSA_P256_SHA256);
    let (_, other_key) = good();
    let (leaf, rest) = chain.split_at(chain.rfind("-----BEGIN").unwrap());
    let (root, middle) = (authority("root", None), authority("unrelated", None));
    let deep = (0..CHAIN_MAX).fold(leaf.to_owned(), |all, _| all + rest);
    for ((chain, key), says) in [
        (late, "valid from"),
        (early, "valid from"),
        (ca, "that of an authority"),
        (usage, "serverAuth"),
        (name, "does not name alpha.hsm.example"),
        ((chain.clone(), other_key), "another key"),
        ((chain.clone(), String::new()), "one PEM key"),
        ((chain.clone(), "x".repeat(20_000)), "one PEM key"),
        ((chain.clone(), chain.clone()), "one PEM key"),
        ((String::new(), key.clone()), "must be PEM"),
        (("no chain".to_owned(), key.clone()), "must be PEM"),
        ((deep, key.clone()), "must be PEM"),
        ((chain.repeat(40), key.clone()), "must be PEM"),
        ((format!("{leaf}{}{}", middle.pem, root.pem), key.clone()), "certificate 2"),
        ((format!("{rest}{leaf}"), key.clone()), "certificate 2"),
    ] {
        let refused = place.brought(&chain, &key).err().unwrap_or_else(|| panic!("{says}"));
        assert!(refused.to_string().contains(says), "{says}: {refused}");
        assert_eq!(fs::read(place.dir.path().join(OWN_FILE)).unwrap(), before, "{says}");
    }
    // One that has ended is shown on: whoever looks after it must see why clients refuse it.
    assert!(place.own().stored().unwrap().is_some());
}

#[test]
fn a_p521_key_is_not_taken() {
    let place = Place::new();
    let params = params(&["alpha.hsm.example", "127.0.0.1"]);
    let (chain, key) = signed(&params, &PKCS_ECDSA_P521_SHA512);
    let refused = place.brought(&chain, &key).err().unwrap();
    assert!(matches!(refused, OwnRefusal::Key), "{refused}");
    // One that an earlier version took stays in use.
    let kept = serde_json::json!({"chain": chain, "key": key}).to_string();
    place.own().write(OWN_FILE, OWN_LABEL, kept.as_bytes()).unwrap();
    assert!(place.own().stored().unwrap().is_some());
}

#[test]
fn a_star_stands_for_one_whole_label() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let one: BTreeSet<String> = set(&["alpha.hsm.example"]);
    let check = |named: &[&str]| check_names(&not_named(&set(named), &one));
    assert!(check(&["*.hsm.example"]).is_ok());
    assert!(check(&["ALPHA.hsm.example".to_ascii_lowercase().as_str()]).is_ok());
    for named in ["*.example", "*", "alpha.*.example", "a*.hsm.example", "hsm.example", ""] {
        assert!(check(&[named]).is_err(), "{named}");
    }
}
