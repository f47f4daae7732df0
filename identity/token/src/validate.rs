//! The validator: the order of the checks, and the memory of good results.
//!
//! A remembered result is found by the SHA-256 of the token and counts only while everything it
//! was checked against still holds: the settings, the key that signed it, the cut-offs and `exp`.
//! Each of these is looked at on every use, so there is no moment between a change and the removal
//! of what it invalidates. Refusals are not remembered.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::{Mutex, RwLock};
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::caller::Caller;
use crate::claims;
use crate::fetch::KeyFetch;
use crate::jwk::{Verdict, VerifyingKey};
use crate::jws::{self, Parsed};
use crate::keyring::KeyRing;
use crate::refusal::TokenRefusal;
use crate::settings::TrustSettings;

/// How many good results are remembered.
pub const CACHED_RESULTS_MAX: usize = 10_000;
/// How many principals can have a cut-off of their own; beyond it the oldest one becomes a
/// cut-off for everybody, which refuses too much rather than too little.
pub const CUT_OFFS_MAX: usize = 10_000;
/// How far an issuer's clock may run ahead of ours for `nbf` and `iat`, in seconds. `exp` has no
/// leeway.
pub const NOT_BEFORE_LEEWAY_S: i64 = 60;
/// How often a check is begun anew because the settings changed under it.
const SETTINGS_RACES_MAX: usize = 4;
/// The values of `typ` that an access token may have (RFC 9068, section 2.1; RFC 7519, 5.1).
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Checks bearer tokens under the settings in force.
pub struct Validator {
    fetch: Arc<dyn KeyFetch>,
    trust: ArcSwap<Trust>,
    results: Cache<[u8; 32], Arc<Checked>>,
    cut_offs: RwLock<CutOffs>,
    cut_offs_changed: AtomicU64,
    replacing: Mutex<()>,
}

/// The settings with the key rings of their issuers.
struct Trust {
    settings: TrustSettings,
    generation: u64,
    rings: HashMap<String, Arc<KeyRing>>,
}

/// A good result and everything it rests on.
struct Checked {
    caller: Arc<Caller>,
    generation: u64,
    ring: Arc<KeyRing>,
    key: Arc<VerifyingKey>,
    /// The state of the cut-offs under which it was last found good.
    cut_offs_seen: AtomicU64,
}

// === impl Validator ===

impl Validator {
    /// A validator under these settings. Nothing is fetched before the first token.
    #[must_use]
    pub fn new(settings: TrustSettings, fetch: Arc<dyn KeyFetch>) -> Self {
        let trust = Trust::new(settings, 0, &fetch);
        Self {
            fetch,
            trust: ArcSwap::from_pointee(trust),
            results: Cache::new(CACHED_RESULTS_MAX),
            cut_offs: RwLock::default(),
            cut_offs_changed: AtomicU64::new(0),
            replacing: Mutex::new(()),
        }
    }

    /// The caller of a token that was validated before, if all that it rests on still holds.
    /// Never waits; `None` means "validate".
    #[must_use]
    pub fn cached(&self, token: &str, now: i64) -> Option<Arc<Caller>> {
        if token.len() > jws::TOKEN_BYTES_MAX {
            return None;
        }
        let checked = self.results.get(&hash(token))?;
        let holds = checked.generation == self.trust.load().generation
            && now < checked.caller.expires_at
            && checked.caller.starts_by(now)
            && checked.ring.is_current(now)
            && !checked.key.is_retired()
            && self.not_cut_off(&checked);
        holds.then(|| Arc::clone(&checked.caller))
    }

    /// Checks a token in full. May wait for the issuer's keys, for as long as the port's own
    /// deadline lets it.
    ///
    /// # Errors
    ///
    /// One [`TokenRefusal`] per reason.
    pub async fn validate(&self, token: &str, now: i64) -> Result<Arc<Caller>, TokenRefusal> {
        let parsed = jws::parse(token)?;
        for _ in 0..SETTINGS_RACES_MAX {
            let trust = self.trust.load_full();
            let verified = verify(&trust, &parsed, now).await;
            if self.trust.load().generation != trust.generation {
                continue;
            }
            return self.conclude(&trust, verified?, &parsed.claims, token, now);
        }
        Err(TokenRefusal::SettingsChanging)
    }

    /// Puts other settings in force. Every remembered result and every held key falls.
    pub fn replace(&self, settings: TrustSettings) {
        let _one_at_a_time = self.replacing.lock();
        let generation = self.trust.load().generation + 1;
        self.trust.store(Arc::new(Trust::new(settings, generation, &self.fetch)));
        self.results.clear();
    }

    /// Refuses the tokens of a principal that were issued before `not_before` (Unix seconds). A
    /// later call can only move the time forward.
    pub fn cut_off(&self, object_id: Uuid, not_before: i64) {
        let mut cut_offs = self.cut_offs.write();
        cut_offs.add(object_id, not_before);
        self.cut_offs_changed.fetch_add(1, Ordering::Release);
    }

    fn conclude(
        &self,
        trust: &Trust,
        verified: Verified,
        claims: &Map<String, Value>,
        token: &str,
        now: i64,
    ) -> Result<Arc<Caller>, TokenRefusal> {
        let digest = hash(token);
        let issuer = verified.ring.issuer();
        let caller = claims::read_caller(claims, &trust.settings, issuer, token_id(&digest), now)?;
        // Read before the table: a cut-off that comes between the two is seen on the next use.
        let cut_offs_seen = self.cut_offs_changed.load(Ordering::Acquire);
        if let Some(not_before) = self.cut_offs.read().refuses(&caller) {
            let caller = Arc::new(caller);
            return Err(TokenRefusal::CutOff { not_before, caller });
        }
        let caller = Arc::new(caller);
        let checked = Checked {
            caller: Arc::clone(&caller),
            generation: trust.generation,
            ring: verified.ring,
            key: verified.key,
            cut_offs_seen: AtomicU64::new(cut_offs_seen),
        };
        self.results.insert(digest, Arc::new(checked));
        Ok(caller)
    }

    fn not_cut_off(&self, checked: &Checked) -> bool {
        let changed = self.cut_offs_changed.load(Ordering::Acquire);
        if checked.cut_offs_seen.load(Ordering::Acquire) == changed {
            return true;
        }
        if self.cut_offs.read().refuses(&checked.caller).is_some() {
            return false;
        }
        checked.cut_offs_seen.store(changed, Ordering::Release);
        true
    }
}

// === impl Trust ===

impl Trust {
    fn new(settings: TrustSettings, generation: u64, fetch: &Arc<dyn KeyFetch>) -> Self {
        let mut rings = HashMap::new();
        for issuer in &settings.issuers {
            rings
                .entry(issuer.issuer.clone())
                .or_insert_with(|| Arc::new(KeyRing::new(issuer.clone(), Arc::clone(fetch))));
        }
        Self { settings, generation, rings }
    }
}

/// A signature found good, with the key and the ring it was found by.
struct Verified {
    ring: Arc<KeyRing>,
    key: Arc<VerifyingKey>,
}

/// Finds the issuer, the key, and checks the signature. `iss` is read before it is verified, only
/// to choose among the trusted issuers; the keys of that issuer then decide.
async fn verify(trust: &Trust, parsed: &Parsed<'_>, now: i64) -> Result<Verified, TokenRefusal> {
    let is_access_token = match parsed.header.get("typ") {
        None => true,
        Some(Value::String(typ)) => TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)),
        Some(_) => false,
    };
    if !is_access_token {
        return Err(TokenRefusal::NotAnAccessToken);
    }
    let issuer = claims::required_text(&parsed.claims, "iss")?;
    let ring = trust.rings.get(&issuer).ok_or(TokenRefusal::UnknownIssuer)?;
    let kid = parsed.key_id.as_deref().ok_or(TokenRefusal::MissingKeyId)?;
    let key = ring.key(kid, now).await?;
    match key.verdict(parsed.algorithm, parsed.signed.as_bytes(), &parsed.signature) {
        Verdict::Good => Ok(Verified { ring: Arc::clone(ring), key }),
        Verdict::Wrong => Err(TokenRefusal::BadSignature),
        Verdict::NotForAlgorithm => Err(TokenRefusal::KeyNotForAlgorithm),
    }
}

// === impl Caller ===

impl Caller {
    fn starts_by(&self, now: i64) -> bool {
        self.not_before.max(self.issued_at) <= now.saturating_add(NOT_BEFORE_LEEWAY_S)
    }
}

/// The cut-offs: bounded, in the order in which the principals came.
#[derive(Default)]
struct CutOffs {
    everybody: Option<i64>,
    by_principal: HashMap<Uuid, i64>,
    order: VecDeque<Uuid>,
}

impl CutOffs {
    fn add(&mut self, object_id: Uuid, not_before: i64) {
        if let Some(known) = self.by_principal.get_mut(&object_id) {
            *known = not_before.max(*known);
            return;
        }
        self.by_principal.insert(object_id, not_before);
        self.order.push_back(object_id);
        if self.order.len() <= CUT_OFFS_MAX {
            return;
        }
        let oldest = self.order.pop_front().and_then(|id| self.by_principal.remove(&id));
        self.everybody = self.everybody.max(oldest);
    }

    fn refuses(&self, caller: &Caller) -> Option<i64> {
        let own = self.by_principal.get(&caller.object_id).copied();
        let not_before = own.max(self.everybody)?;
        (caller.issued_at < not_before).then_some(not_before)
    }
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

fn token_id(digest: &[u8; 32]) -> String {
    digest[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
        write!(text, "{byte:02x}").expect("invariant: writing to a String cannot fail");
        text
    })
}
