//! The keys of one issuer, fetched through the port and kept current.
//!
//! The way is the discovery document, which must name the issuer itself, and then its `jwks_uri`.
//! Keys are asked for again when they are older than an hour and when a token names an unknown
//! one, at most once per [`REFRESH_INTERVAL_S`] and by one caller at a time, so that nobody can
//! make us flood an issuer by inventing key ids. While the issuer is down, its last good keys serve
//! for [`KEYS_KEPT_S`]; after that its tokens cannot be checked and are refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use futures_util::lock::{Mutex, MutexGuard};
use serde_json::Value;

use crate::fetch::{FETCHED_BODY_BYTES_MAX, FetchError, KeyFetch, KeySourceError};
use crate::jwk::{Entry, KeySet, VerifyingKey};
use crate::refusal::TokenRefusal;
use crate::settings::TrustedIssuer;

/// Keys older than this are asked for again, in seconds.
pub const KEYS_FRESH_S: i64 = 3600;
/// Keys older than this are no longer used when the issuer is down, in seconds.
pub const KEYS_KEPT_S: i64 = 24 * 3600;
/// An issuer whose keys we have is asked at most once in this time, in seconds.
pub const REFRESH_INTERVAL_S: i64 = 30;
/// An issuer whose keys we do not have is asked at most once in this time, in seconds.
pub const RETRY_WITHOUT_KEYS_S: i64 = 2;

/// The keys of one issuer.
pub struct KeyRing {
    issuer: TrustedIssuer,
    fetch: Arc<dyn KeyFetch>,
    held: ArcSwap<Held>,
    single_flight: Mutex<()>,
    /// Results checked with these keys may be remembered until then, in Unix seconds.
    recheck_at: AtomicI64,
}

/// What is known at a moment.
#[derive(Clone, Default)]
struct Held {
    keys: Arc<KeySet>,
    /// When `keys` were fetched; `None` if there are none.
    fetched_at: Option<i64>,
    attempted_at: Option<i64>,
    failure: Option<KeySourceError>,
}

// === impl KeyRing ===

impl KeyRing {
    /// A ring that holds nothing yet; the first question fetches.
    #[must_use]
    pub fn new(issuer: TrustedIssuer, fetch: Arc<dyn KeyFetch>) -> Self {
        Self {
            issuer,
            fetch,
            held: ArcSwap::default(),
            single_flight: Mutex::new(()),
            recheck_at: AtomicI64::new(i64::MIN),
        }
    }

    /// The issuer's key with this `kid`.
    ///
    /// # Errors
    ///
    /// Refuses an unknown key, a key of an unaccepted size, and says when there are no keys.
    pub async fn key(&self, kid: &str, now: i64) -> Result<Arc<VerifyingKey>, TokenRefusal> {
        let held = self.held.load_full();
        if let Some(found) = held.find(kid, now) {
            if held.age(now).is_some_and(|age| age <= KEYS_FRESH_S) {
                return found;
            }
            // Old but usable: one caller asks the issuer, the others go on with what there is.
            let Some(flight) = self.single_flight.try_lock() else { return found };
            self.refresh_if_due(flight, now).await;
        } else {
            let flight = self.single_flight.lock().await;
            if let Some(found) = self.held.load().find(kid, now) {
                return found;
            }
            self.refresh_if_due(flight, now).await;
        }
        let held = self.held.load_full();
        held.find(kid, now).unwrap_or_else(|| Err(held.refusal(now)))
    }

    /// True while a result that was checked earlier may be used without asking the ring.
    pub(crate) fn is_current(&self, now: i64) -> bool {
        now < self.recheck_at.load(Ordering::Acquire)
    }

    pub(crate) fn issuer(&self) -> &TrustedIssuer {
        &self.issuer
    }

    async fn refresh_if_due(&self, _flight: MutexGuard<'_, ()>, now: i64) {
        let held = self.held.load_full();
        if !held.attempt_is_due(now) {
            return;
        }
        // Written first: if our caller goes away in the midst of the fetch, this counts as well.
        self.held.store(Arc::new(Held { attempted_at: Some(now), ..Held::clone(&held) }));
        match self.fetch_keys().await {
            Ok(keys) => {
                let keys = Arc::new(keys.succeed(&held.keys));
                self.held.store(Arc::new(Held {
                    keys,
                    fetched_at: Some(now),
                    attempted_at: Some(now),
                    failure: None,
                }));
                self.recheck_at.store(now.saturating_add(KEYS_FRESH_S), Ordering::Release);
            }
            Err(failure) => self.keep_or_drop(&held, failure, now),
        }
    }

    fn keep_or_drop(&self, held: &Held, failure: KeySourceError, now: i64) {
        let failed = Held { attempted_at: Some(now), failure: Some(failure), ..held.clone() };
        if held.usable(now) {
            let dropped_at = held.fetched_at.unwrap_or(now).saturating_add(KEYS_KEPT_S);
            let again_at = now.saturating_add(REFRESH_INTERVAL_S).min(dropped_at);
            self.held.store(Arc::new(failed));
            self.recheck_at.store(again_at, Ordering::Release);
            return;
        }
        held.keys.retire_all();
        let emptied = Held { keys: Arc::default(), fetched_at: None, ..failed };
        self.held.store(Arc::new(emptied));
    }

    async fn fetch_keys(&self) -> Result<KeySet, KeySourceError> {
        let metadata = self.get(&self.issuer.metadata_url, "discovery document").await?;
        let keys_url = keys_address(&metadata, &self.issuer.issuer)?;
        let keys = self.get(&keys_url, "key set").await?;
        KeySet::parse(&keys).map_err(|cause| KeySourceError::Keys { cause })
    }

    async fn get(&self, url: &str, document: &'static str) -> Result<Vec<u8>, KeySourceError> {
        if !url::Url::parse(url).is_ok_and(|url| url.scheme() == "https" && url.has_host()) {
            return Err(KeySourceError::NotHttps { document });
        }
        let body = self
            .fetch
            .fetch(url, &self.issuer.trust_anchors_pem)
            .await
            .map_err(|cause| KeySourceError::Fetch { document, cause })?;
        if body.len() > FETCHED_BODY_BYTES_MAX {
            let cause = FetchError::BodyTooLarge { limit: FETCHED_BODY_BYTES_MAX };
            return Err(KeySourceError::Fetch { document, cause });
        }
        Ok(body)
    }
}

// === impl Held ===

impl Held {
    fn age(&self, now: i64) -> Option<i64> {
        self.fetched_at.map(|fetched_at| now.saturating_sub(fetched_at).max(0))
    }

    fn usable(&self, now: i64) -> bool {
        self.age(now).is_some_and(|age| age < KEYS_KEPT_S)
    }

    /// The answer for a known `kid`; `None` means that the issuer should be asked.
    fn find(&self, kid: &str, now: i64) -> Option<Result<Arc<VerifyingKey>, TokenRefusal>> {
        if !self.usable(now) {
            return None;
        }
        Some(match self.keys.entry(kid)? {
            Entry::Usable(key) => Ok(Arc::clone(key)),
            Entry::WrongSize { bits } => Err(TokenRefusal::KeyTooWeak { bits: *bits }),
        })
    }

    fn attempt_is_due(&self, now: i64) -> bool {
        let interval = if self.usable(now) { REFRESH_INTERVAL_S } else { RETRY_WITHOUT_KEYS_S };
        match self.attempted_at {
            None => true,
            // A clock that was put back must not silence us for long.
            Some(at) => now < at || now.saturating_sub(at) >= interval,
        }
    }

    fn refusal(&self, now: i64) -> TokenRefusal {
        if self.usable(now) {
            return TokenRefusal::UnknownKey;
        }
        let cause = self.failure.clone().unwrap_or(KeySourceError::AskedJustNow);
        TokenRefusal::KeysUnavailable { cause }
    }
}

/// Reads `jwks_uri` from a discovery document that speaks for `issuer`.
fn keys_address(metadata: &[u8], issuer: &str) -> Result<String, KeySourceError> {
    let malformed = |what| KeySourceError::MalformedMetadata { what };
    let document: Value =
        serde_json::from_slice(metadata).map_err(|_| malformed("it is not JSON"))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let named = text("issuer").ok_or(malformed("it names no issuer"))?;
    if named != issuer {
        return Err(KeySourceError::OtherIssuer);
    }
    text("jwks_uri").map(str::to_owned).ok_or(malformed("it names no jwks_uri"))
}
