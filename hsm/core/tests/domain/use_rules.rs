//! When a key may be used, and with what.

use casemate_engine_port::{
    CipherAlgorithm, Curve, KeySpec, OctSize, RsaSize, Secret, SignAlgorithm,
};
use casemate_hsm::UnixSeconds;
use casemate_hsm::keys::{
    CreateKey, DecryptRequest, EncryptRequest, KeyOp, NewAttributes, Selector, SignRequest, Tags,
    UpdateKey, UseRefusal, VerifyRequest, WindowEdge,
};
use casemate_hsm::rbac::act;

use crate::bench::{Bench, ROOT, oct};

const EC: KeySpec = KeySpec::Ec(Curve::P256);

async fn sign(bench: &Bench, name: &str, alg: SignAlgorithm, n: usize) -> Result<(), UseRefusal> {
    let permit = bench.permit::<act::KeysSign>(ROOT, &format!("/keys/{name}"));
    let request = SignRequest { version: Selector::Latest, algorithm: alg, input: vec![7; n] };
    bench.hsm.sign(&permit, request, |_| {}).await.map(drop)
}

async fn verify(bench: &Bench, name: &str) -> Result<bool, UseRefusal> {
    let permit = bench.permit::<act::KeysVerify>(ROOT, &format!("/keys/{name}"));
    let request = VerifyRequest {
        version: Selector::Latest,
        algorithm: SignAlgorithm::Es256,
        input: vec![7; 32],
        signature: vec![0; 64],
    };
    bench.hsm.verify(&permit, request, |_| {}).await.map(|verified| verified.valid)
}

fn plain(algorithm: CipherAlgorithm, bytes: usize) -> EncryptRequest {
    EncryptRequest {
        version: Selector::Latest,
        algorithm,
        plaintext: Secret::new(vec![5; bytes]),
        iv: None,
        aad: None,
        tag_given: false,
    }
}

async fn set(bench: &Bench, name: &str, attributes: NewAttributes, ops: Option<Vec<KeyOp>>) {
    let permit = bench.permit::<act::KeysWrite>(ROOT, &format!("/keys/{name}"));
    let request = UpdateKey { version: Selector::Latest, key_ops: ops, attributes, tags: None };
    bench.hsm.update_key(&permit, &bench.intent().await, request).await.unwrap();
}

#[tokio::test]
async fn a_disabled_version_does_nothing() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    let off = NewAttributes { enabled: Some(false), ..NewAttributes::default() };
    set(&bench, "a", off, None).await;
    let refused = sign(&bench, "a", SignAlgorithm::Es256, 32).await;
    assert!(matches!(refused, Err(UseRefusal::Disabled)));
    assert!(matches!(verify(&bench, "a").await, Err(UseRefusal::Disabled)));
    let on = NewAttributes { enabled: Some(true), ..NewAttributes::default() };
    set(&bench, "a", on, None).await;
    sign(&bench, "a", SignAlgorithm::Es256, 32).await.unwrap();
}

#[tokio::test]
async fn outside_its_window_a_version_only_undoes() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    let now = bench.hsm.now().0;
    let window = NewAttributes {
        enabled: None,
        not_before: Some(UnixSeconds(now + 10)),
        expires: Some(UnixSeconds(now + 20)),
    };
    set(&bench, "a", window, None).await;
    let early = sign(&bench, "a", SignAlgorithm::Es256, 32).await;
    assert!(matches!(early, Err(UseRefusal::OutsideWindow(WindowEdge::NotYet(_)))));
    assert!(!verify(&bench, "a").await.unwrap());
    bench.wait(10);
    sign(&bench, "a", SignAlgorithm::Es256, 32).await.unwrap();
    bench.wait(10);
    let late = sign(&bench, "a", SignAlgorithm::Es256, 32).await;
    assert!(matches!(late, Err(UseRefusal::OutsideWindow(WindowEdge::Expired(_)))));
    assert!(!verify(&bench, "a").await.unwrap());
}

#[tokio::test]
async fn only_permitted_operations_work() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    set(&bench, "a", NewAttributes::default(), Some(vec![KeyOp::Verify])).await;
    let refused = sign(&bench, "a", SignAlgorithm::Es256, 32).await;
    assert!(matches!(refused, Err(UseRefusal::OperationNotPermitted(KeyOp::Sign))));
    assert!(verify(&bench, "a").await.is_ok());
    set(&bench, "a", NewAttributes::default(), Some(vec![])).await;
    assert!(verify(&bench, "a").await.is_err());
}

#[tokio::test]
async fn an_import_key_does_nothing_else() {
    let bench = Bench::new().await;
    let request = CreateKey {
        spec: KeySpec::Rsa(RsaSize::B2048),
        key_ops: Some(vec![KeyOp::Import]),
        attributes: NewAttributes::default(),
        tags: Tags::default(),
    };
    let permit = bench.permit(ROOT, "/keys/kek");
    bench.hsm.create_key(&permit, &bench.intent().await, request).await.unwrap();
    let refused = sign(&bench, "kek", SignAlgorithm::Rs256, 32).await;
    assert!(matches!(refused, Err(UseRefusal::OperationNotPermitted(_))));
}

#[tokio::test]
async fn digests_have_exactly_their_length_and_algorithms_their_keys() {
    let bench = Bench::new().await;
    bench.make("a", EC).await;
    for length in [0, 20, 31, 33, 64] {
        let refused = sign(&bench, "a", SignAlgorithm::Es256, length).await;
        assert!(matches!(refused, Err(UseRefusal::DigestLength { expected: 32, .. })), "{length}");
    }
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|alg| !alg.fits(EC)) {
        let refused = sign(&bench, "a", algorithm, 32).await;
        assert!(matches!(refused, Err(UseRefusal::AlgorithmDoesNotFit { .. })), "{algorithm:?}");
    }
    bench.make("r", KeySpec::Rsa(RsaSize::B2048)).await;
    let refused = sign(&bench, "r", SignAlgorithm::RsNull, 246).await;
    assert!(matches!(refused, Err(UseRefusal::InputTooLong { most: 245, .. })));
    sign(&bench, "r", SignAlgorithm::RsNull, 245).await.unwrap();
}

#[tokio::test]
async fn parameters_that_an_algorithm_does_not_take_are_refused() {
    let bench = Bench::new().await;
    bench.make("o", oct()).await;
    let gcm = CipherAlgorithm::AesGcm(OctSize::B256);
    let cbc = CipherAlgorithm::AesCbc(OctSize::B256);
    let kw = CipherAlgorithm::AesKw(OctSize::B256);
    let encrypt = bench.permit::<act::KeysEncrypt>(ROOT, "/keys/o");
    let wrap = bench.permit::<act::KeysWrap>(ROOT, "/keys/o");
    let bad = [
        EncryptRequest { iv: Some(vec![0; 12]), ..plain(gcm, 16) },
        EncryptRequest { tag_given: true, ..plain(gcm, 16) },
        plain(cbc, 16),
        EncryptRequest { iv: Some(vec![0; 15]), ..plain(cbc, 16) },
        EncryptRequest { iv: Some(vec![0; 16]), aad: Some(vec![1]), ..plain(cbc, 16) },
        EncryptRequest { iv: Some(vec![0; 16]), ..plain(cbc, 15) },
    ];
    for request in bad {
        let text = format!("{request:?}");
        let refused = bench.hsm.encrypt(&encrypt, request, |_| {}).await;
        assert!(matches!(refused, Err(UseRefusal::BadInput(_))), "{text}: {refused:?}");
    }
    let small = CipherAlgorithm::AesGcm(OctSize::B128);
    for wrong in [kw, CipherAlgorithm::CkmAesKeyWrap, small, CipherAlgorithm::RsaOaep] {
        let refused = bench.hsm.encrypt(&encrypt, plain(wrong, 16), |_| {}).await;
        assert!(matches!(refused, Err(UseRefusal::AlgorithmDoesNotFit { .. })), "{wrong:?}");
    }
    for bytes in [0, 8, 17] {
        let refused = bench.hsm.wrap_key(&wrap, plain(kw, bytes), |_| {}).await;
        assert!(matches!(refused, Err(UseRefusal::BadInput(_))), "{bytes}");
    }
    let refused = bench.hsm.wrap_key(&wrap, plain(gcm, 16), |_| {}).await;
    assert!(matches!(refused, Err(UseRefusal::AlgorithmDoesNotFit { .. })));
}

#[tokio::test]
async fn what_was_encrypted_decrypts_and_nothing_else_does() {
    let bench = Bench::new().await;
    bench.make("o", oct()).await;
    let gcm = CipherAlgorithm::AesGcm(OctSize::B256);
    let encrypt = bench.permit::<act::KeysEncrypt>(ROOT, "/keys/o");
    let decrypt = bench.permit::<act::KeysDecrypt>(ROOT, "/keys/o");
    let request = EncryptRequest { aad: Some(vec![1, 2]), ..plain(gcm, 40) };
    let made = bench.hsm.encrypt(&encrypt, request, |_| {}).await.unwrap();
    let back = |change: fn(&mut DecryptRequest)| {
        let mut request = DecryptRequest {
            version: Selector::Exactly(made.used.key().version),
            algorithm: gcm,
            ciphertext: made.ciphertext.clone(),
            iv: made.iv.clone(),
            aad: made.aad.clone(),
            tag: made.tag.clone(),
        };
        change(&mut request);
        bench.hsm.decrypt(&decrypt, request, |_| {})
    };
    let whole = back(|_| ()).await.unwrap();
    assert_eq!(whole.plaintext.expose(), [5; 40]);
    let changes: [fn(&mut DecryptRequest); 4] = [
        |request| request.ciphertext[0] ^= 1,
        |request| request.iv.as_mut().unwrap()[0] ^= 1,
        |request| request.aad = None,
        |request| request.tag.as_mut().unwrap()[15] ^= 1,
    ];
    for change in changes {
        let refused = back(change).await;
        assert!(matches!(refused, Err(UseRefusal::DecryptionFailed)), "{refused:?}");
    }
    let short_tag = back(|request| request.tag.as_mut().unwrap().truncate(12)).await;
    assert!(matches!(short_tag, Err(UseRefusal::BadInput(_))));
}
