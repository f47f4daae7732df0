//! The server's TLS: which versions and protocols, and a certificate that is renewed while it runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use casemate_engine_soft::domain::RecordCipher;
use casemate_hsm::{Clock, UnixSeconds};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::sign::SingleCertAndKey;

use crate::agent::Agent;
use crate::certificate::{CertificateError, Certified, Maker};
use crate::failure::chain;

/// How often the certificate's age is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// HTTP/2 as it is named in the TLS hello.
pub(crate) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The TLS of one HSM.
pub(crate) struct Tls {
    agent: Arc<Agent>,
    cipher: Arc<RecordCipher>,
    folder: PathBuf,
    names: BTreeSet<String>,
    config: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Takes up the stored certificate, or has one signed.
    pub(crate) async fn open(
        agent: Arc<Agent>,
        cipher: Arc<RecordCipher>,
        folder: PathBuf,
        names: BTreeSet<String>,
        now: UnixSeconds,
    ) -> Result<(Arc<Self>, UnixSeconds), CertificateError> {
        let maker = Maker { agent: &agent, cipher: &cipher, folder: &folder, names: &names };
        let certified = maker.stored_or_new(now).await?;
        let config = ArcSwap::new(config(&certified)?);
        let tls = Self { agent, cipher, folder, names, config };
        Ok((Arc::new(tls), certified.renew_at))
    }

    /// What a new connection is accepted with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Renews the certificate whenever it is time. Never ends.
    pub(crate) async fn keep_fresh(
        self: Arc<Self>,
        mut renew_at: UnixSeconds,
        clock: Arc<dyn Clock>,
    ) {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if clock.now() < renew_at {
                continue;
            }
            match self.renew().await {
                Ok(at) => renew_at = at,
                Err(error) => tracing::warn!("{}; tried again later", chain(&error)),
            }
        }
    }

    async fn renew(&self) -> Result<UnixSeconds, CertificateError> {
        let Self { agent, cipher, folder, names, .. } = self;
        let certified = Maker { agent, cipher, folder, names }.new_one().await?;
        self.config.store(config(&certified)?);
        Ok(certified.renew_at)
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, tickets, no early data.
fn config(certified: &Certified) -> Result<Arc<ServerConfig>, CertificateError> {
    let resolver = SingleCertAndKey::from(certified.key.clone());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.max_early_data_size = 0;
    config.ticketer = Ticketer::new().map_err(CertificateError::Tls)?;
    Ok(Arc::new(config))
}
