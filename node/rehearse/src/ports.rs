//! What a throw-away HSM works with.

use std::sync::Arc;

use casemate_engine_port::{Cost, KeySpec, PublicPart, SignAlgorithm};
use casemate_engine_soft::PublicKey;
use casemate_hsm::backup::PublicVerifier;
use casemate_hsm::{Pool, PoolBusy, Ports, Spawn, Turn};
use casemate_partition::{DomainPorts, SystemClock};
use casemate_store_port::{BoxFuture, SealedStore};
use uuid::Uuid;

/// Runs what is costly at once: nobody else waits.
struct AtOnce;

impl Pool for AtOnce {
    fn run(&self, _: Uuid, job: Box<dyn FnOnce() + Send>) -> Result<(), PoolBusy> {
        job();
        Ok(())
    }

    fn takes(&self, _: Uuid, _: Cost) -> bool {
        false
    }

    fn turn(&self, _: Uuid) -> BoxFuture<'_, Result<Turn, PoolBusy>> {
        Box::pin(async { Ok::<Turn, _>(Box::new(())) })
    }
}

struct Runtime;

impl Spawn for Runtime {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(tokio::spawn(future));
    }
}

/// Verification with public keys of the software engine.
pub(crate) struct SoftVerifier;

impl PublicVerifier for SoftVerifier {
    fn is_right(
        &self,
        spec: KeySpec,
        public: &PublicPart,
        algorithm: SignAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> bool {
        let key = PublicKey::from_part(spec, public);
        key.is_ok_and(|key| matches!(key.verify(algorithm, digest, signature), Ok(true)))
    }
}

/// The ports of an HSM over this store.
pub(crate) fn ports(of_domain: &DomainPorts, store: SealedStore) -> Ports {
    Ports {
        engine: Arc::clone(&of_domain.engine),
        store,
        backup: Arc::clone(&of_domain.backup),
        clock: Arc::new(SystemClock),
        pool: Arc::new(AtOnce),
        spawn: Arc::new(Runtime),
    }
}
