//! The server's TLS: which versions and protocols, and a certificate that is renewed or exchanged
//! while it runs. `docs/design/tls.md` says which one is used.
//!
//! Invariants: one change at a time, also of those that are made without an order; while there is
//! an own certificate that cannot be used, no other is shown in its place, and no connection is
//! accepted.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use casemate_audit::{Call, Detail, DetailValue, Phase, Record, Trail, TrailError, Verdict};
use casemate_channel::TlsOrder;
use casemate_engine_soft::ceremony::SoftPrimitives;
use casemate_engine_soft::domain::RecordCipher;
use casemate_hsm::{Clock, UnixSeconds};
use casemate_quorum::Primitives;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::agent::Agent;
use crate::certificate::{CertificateError, Maker, names_of};
use crate::failure::chain;
use crate::own_certificate::{Brought, Own, OwnPlace, OwnRefusal, StoredError};

/// How often the certificate's age is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// From so many seconds before its end an own certificate is warned of,
const WARN_BEFORE_S: i64 = 30 * 86_400;
/// once in so many seconds.
const WARN_EVERY_S: i64 = 86_400;

/// HTTP/2 as it is named in the TLS hello.
pub(crate) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The TLS of one HSM.
pub(crate) struct Tls {
    agent: Arc<Agent>,
    cipher: Arc<RecordCipher>,
    folder: PathBuf,
    names: BTreeSet<String>,
    clock: Arc<dyn Clock>,
    config: ArcSwap<ServerConfig>,
    shown: Mutex<Shown>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

/// Where the certificate in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The node's own authority.
    Node,
    /// The operator.
    Own,
}

/// The certificate in force.
#[derive(Clone, Debug)]
struct Shown {
    source: Source,
    facts: Facts,
    /// Names and addresses of the HSM that it does not name.
    not_named: Vec<String>,
    /// When the node's is renewed.
    renew_at: UnixSeconds,
    /// Why there is none, and no connection is accepted.
    problem: Option<String>,
}

/// What a certificate says.
#[derive(Clone, Debug, Default)]
struct Facts {
    sha256: String,
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error(transparent)]
    Own(#[from] OwnRefusal),
    #[error("the HSM's certificate could not be exchanged")]
    Certificate(#[from] CertificateError),
    #[error("it could not be recorded, so nothing was changed")]
    NotRecorded(#[from] TrailError),
    #[error("the key's file did not come along")]
    NoKey,
}

impl Source {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Own => "own",
        }
    }
}

impl Tls {
    /// Takes up the stored certificate, or has one signed.
    pub(crate) async fn open(
        agent: Arc<Agent>,
        cipher: Arc<RecordCipher>,
        folder: PathBuf,
        names: BTreeSet<String>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, CertificateError> {
        let own = OwnPlace { cipher: &cipher, folder: &folder, names: &names }.stored();
        let (config, shown) = match own {
            Ok(Some(own)) => {
                let (key, shown) = shown_own(own);
                (config(key)?, shown)
            }
            Ok(None) => {
                let maker =
                    Maker { agent: &agent, cipher: &cipher, folder: &folder, names: &names };
                let certified = maker.stored_or_new(clock.now()).await?;
                let (key, shown) = shown_node(certified.key, certified.renew_at);
                (config(key)?, shown)
            }
            // Another one in its place would be another identity, unnoticed by whoever chose it.
            Err(error) => {
                let shown = shown_problem(&error);
                tracing::error!("{}", shown.problem.as_deref().unwrap_or_default());
                (config_of(Arc::new(Nothing))?, shown)
            }
        };
        let (config, shown) = (ArcSwap::new(config), Mutex::new(shown));
        let turn = tokio::sync::Mutex::default();
        Ok(Arc::new(Self { agent, cipher, folder, names, clock, config, shown, turn }))
    }

    /// What a new connection is accepted with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Where the certificate in force comes from, and its end in Unix seconds.
    pub(crate) fn in_force(&self) -> (Source, i64) {
        let shown = self.shown.lock();
        (shown.source, shown.facts.not_after)
    }

    /// Renews the node's certificate whenever it is time, reads an own one again that could not be
    /// read, and warns of the end of an own one. Never ends.
    pub(crate) async fn keep_fresh(self: Arc<Self>) {
        let mut warned_at = i64::MIN;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let now = self.clock.now();
            let Some(says) = self.look(now).await else { continue };
            if now.0 >= warned_at.saturating_add(WARN_EVERY_S) {
                warned_at = now.0;
                tracing::warn!("{says}");
            }
        }
    }

    /// Does what is due; what a person has to know or to do. It takes its turn as an order does:
    /// one that came first has changed what is due, and one that comes now is carried out after it.
    async fn look(&self, now: UnixSeconds) -> Option<String> {
        let _turn = self.turn.lock().await;
        let Shown { source, facts, renew_at, problem, .. } = self.shown.lock().clone();
        if problem.is_some() {
            return self.read_again();
        }
        match source {
            Source::Node if now >= renew_at => {
                let renewed = self.renew().await.err();
                renewed.map(|error| format!("{}; tried again later", chain(&error)))
            }
            Source::Own if now.0 >= facts.not_after - WARN_BEFORE_S => Some(format!(
                "the HSM's own TLS certificate ends at {} (Unix seconds): run `casemate tls \
                 request`, have it signed, and `casemate tls install` it",
                facts.not_after
            )),
            Source::Node | Source::Own => None,
        }
    }

    /// An own certificate that could not be read, once more; why not, if it still cannot.
    fn read_again(&self) -> Option<String> {
        let own = match self.place().stored() {
            Ok(Some(own)) => own,
            // Not even when the file is gone does it fall back by itself: a start does, or a reset.
            Ok(None) => return self.shown.lock().problem.clone(),
            Err(error) => {
                let shown = shown_problem(&error);
                let says = shown.problem.clone();
                *self.shown.lock() = shown;
                return says;
            }
        };
        let (key, shown) = shown_own(own);
        match config(key) {
            Ok(config) => {
                self.put_in_force(config, shown);
                tracing::info!("the HSM's own TLS certificate can be read again, and is in force");
                None
            }
            Err(error) => Some(chain(&error)),
        }
    }

    /// Carries out an order; what came of it, for whoever ordered it.
    pub(crate) async fn order(
        &self,
        order: TlsOrder,
        key: Option<OwnedFd>,
        trail: &Trail,
    ) -> Value {
        // What is in force is said whatever is being changed.
        if matches!(order, TlsOrder::Show) {
            return json!({ "result": self.show(None) });
        }
        let _turn = self.turn.lock().await;
        match self.carry_out(order, key, trail).await {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": chain(&error) }),
        }
    }

    /// An error means that what is in force, now and after a start, is what it was.
    async fn carry_out(
        &self,
        order: TlsOrder,
        key: Option<OwnedFd>,
        trail: &Trail,
    ) -> Result<Value, OrderError> {
        let left = match order {
            TlsOrder::Show => None,
            TlsOrder::Request => {
                record(trail, "TlsKeyRequested", &[]).await?;
                return Ok(json!({ "request": self.place().request()? }));
            }
            TlsOrder::Install { chain_pem } => {
                let brought = self.place().requested(&chain_pem, self.clock.now())?;
                self.use_own(brought, trail).await?
            }
            TlsOrder::Import { chain_pem } => {
                let key = key.ok_or(OrderError::NoKey)?;
                let brought = self.place().brought(&chain_pem, key, self.clock.now())?;
                self.use_own(brought, trail).await?
            }
            TlsOrder::Reset => {
                record(trail, "TlsCertificateReset", &[]).await?;
                // The new one is there before the other is forgotten, and in force only afterwards.
                let (config, shown) = self.new_of_node().await?;
                let left = self.place().forget()?;
                self.put_in_force(config, shown);
                left
            }
        };
        Ok(self.show(left.as_ref()))
    }

    async fn use_own(
        &self,
        brought: Brought,
        trail: &Trail,
    ) -> Result<Option<OwnRefusal>, OrderError> {
        let (key, shown) = shown_own(brought.own.clone());
        let config = config(key)?;
        record(trail, "TlsCertificateSet", &shown.facts.details()).await?;
        let left = self.place().keep(&brought)?;
        self.put_in_force(config, shown);
        Ok(left)
    }

    async fn renew(&self) -> Result<(), CertificateError> {
        let (config, shown) = self.new_of_node().await?;
        self.put_in_force(config, shown);
        Ok(())
    }

    /// A new certificate of the node's authority, stored and not in force yet.
    async fn new_of_node(&self) -> Result<(Arc<ServerConfig>, Shown), CertificateError> {
        let Self { agent, cipher, folder, names, .. } = self;
        let certified = Maker { agent, cipher, folder, names }.new_one().await?;
        let (key, shown) = shown_node(certified.key, certified.renew_at);
        Ok((config(key)?, shown))
    }

    fn put_in_force(&self, config: Arc<ServerConfig>, shown: Shown) {
        self.config.store(config);
        *self.shown.lock() = shown;
    }

    fn place(&self) -> OwnPlace<'_> {
        OwnPlace { cipher: &self.cipher, folder: &self.folder, names: &self.names }
    }

    /// What is in force, and what an order that was carried out left undone.
    fn show(&self, left: Option<&OwnRefusal>) -> Value {
        let Shown { source, facts, not_named, renew_at, problem } = self.shown.lock().clone();
        let renewed = (source == Source::Node).then_some(renew_at.0);
        let requested = self.place().is_requested();
        let unreadable = requested
            .as_ref()
            .err()
            .map(|error| format!("{}: run `casemate tls request` again", chain(error)));
        let left = left.map(|left| format!("it was done, but {}", chain(left)));
        let problems: Vec<String> = [problem, left, unreadable].into_iter().flatten().collect();
        json!({
            "source": source.name(),
            "certificateSha256": facts.sha256,
            "subject": facts.subject,
            "issuer": facts.issuer,
            "names": facts.names,
            "addressesNotNamed": not_named,
            "notBefore": facts.not_before,
            "notAfter": facts.not_after,
            "renewedByItselfAt": renewed,
            "requested": requested.unwrap_or_default(),
            "problems": problems,
        })
    }
}

fn shown_own(own: Own) -> (CertifiedKey, Shown) {
    let Own { key, not_named } = own;
    let facts = Facts::of(&key);
    let renew_at = UnixSeconds(facts.not_after);
    (key, Shown { source: Source::Own, facts, not_named, renew_at, problem: None })
}

fn shown_node(key: CertifiedKey, renew_at: UnixSeconds) -> (CertifiedKey, Shown) {
    let facts = Facts::of(&key);
    let not_named = Vec::new();
    (key, Shown { source: Source::Node, facts, not_named, renew_at, problem: None })
}

/// An own certificate that cannot be used.
fn shown_problem(error: &StoredError) -> Shown {
    let says = format!(
        "the HSM's own TLS certificate cannot be used, so no connection is accepted: {}; mend it, \
         or run `casemate tls import` with another, or `casemate tls reset` to go back to the \
         node's CA",
        chain(error)
    );
    let (facts, not_named) = (Facts::default(), Vec::new());
    Shown { source: Source::Own, facts, not_named, renew_at: UnixSeconds(0), problem: Some(says) }
}

impl Facts {
    /// Of the first certificate; nothing of one that cannot be read, which is never used.
    fn of(key: &CertifiedKey) -> Self {
        let Some(leaf) = key.cert.first() else { return Self::default() };
        let Ok((_, facts)) = X509Certificate::from_der(leaf) else { return Self::default() };
        let digest = SoftPrimitives.sha256(leaf);
        Self {
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            subject: facts.subject().to_string(),
            issuer: facts.issuer().to_string(),
            names: names_of(&facts).into_iter().collect(),
            not_before: facts.validity().not_before.timestamp(),
            not_after: facts.validity().not_after.timestamp(),
        }
    }

    fn details(&self) -> [Detail; 3] {
        [
            detail("certificateSha256", DetailValue::Text(self.sha256.clone())),
            detail("notAfter", DetailValue::Number(self.not_after)),
            detail("names", DetailValue::Texts(self.names.clone())),
        ]
    }
}

fn detail(name: &'static str, value: DetailValue) -> Detail {
    Detail { name: name.into(), value }
}

/// Records an order before it is carried out.
async fn record(trail: &Trail, operation: &str, details: &[Detail]) -> Result<(), TrailError> {
    let call = Call { details, ..Call::default() };
    let appended = trail.append(&Record {
        phase: Phase::Service,
        operation,
        call: &call,
        verdict: Verdict::Success,
        permit: None,
        key: None,
        intent: None,
    });
    appended.await.map(drop)
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, tickets, no early data.
fn config(key: CertifiedKey) -> Result<Arc<ServerConfig>, CertificateError> {
    config_of(Arc::new(SingleCertAndKey::from(key)))
}

/// The answer to every hello is an alert.
#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn config_of(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.max_early_data_size = 0;
    config.ticketer = Ticketer::new().map_err(CertificateError::Tls)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
