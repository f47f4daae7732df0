//! The count of GCM encryptions is over all restarts.

use casemate_engine_port::{CipherAlgorithm, OctSize, Secret};
use casemate_hsm::keys::{EncryptRequest, Selector, UseRefusal};
use casemate_hsm::rbac::act;

use crate::bench::{Bench, ROOT, oct};

async fn encrypt(bench: &Bench) -> Result<Vec<u8>, UseRefusal> {
    let permit = bench.permit::<act::KeysEncrypt>(ROOT, "/keys/o");
    let request = EncryptRequest {
        version: Selector::Latest,
        algorithm: CipherAlgorithm::AesGcm(OctSize::B256),
        plaintext: Secret::new(vec![1]),
        iv: None,
        aad: None,
        tag_given: false,
    };
    bench.hsm.encrypt(&permit, request, |_| {}).await.map(|made| made.iv.unwrap())
}

#[tokio::test]
async fn a_block_is_stored_before_its_first_use_and_lasts() {
    let bench = Bench::new().await;
    bench.make("o", oct()).await;
    let before = bench.hsm.sequence();
    let first = encrypt(&bench).await.unwrap();
    assert_eq!(bench.hsm.sequence(), before + 1);
    assert!(bench.store.paths().iter().any(|path| path.starts_with("keys/o/gcm/")));
    for _ in 0..100 {
        assert_ne!(encrypt(&bench).await.unwrap(), first);
    }
    assert_eq!(bench.hsm.sequence(), before + 1);
}

#[tokio::test]
async fn after_four_thousand_and_ninety_six_blocks_it_is_over() {
    let mut bench = Bench::new().await;
    bench.make("o", oct()).await;
    // Each restart gives up what was left of a block of 2^20: 4,096 of them are 2^32.
    for _ in 0..4096 {
        encrypt(&bench).await.unwrap();
        bench = bench.restart().await;
    }
    assert!(matches!(encrypt(&bench).await, Err(UseRefusal::GcmExhausted)));
    bench.make("o", oct()).await;
    encrypt(&bench).await.unwrap();
}
