//! The keys behind the audit trail, and what is remembered of it outside its folder.
//!
//! The HSM's identity key is a sealed record, made with the HSM. The audit key is this partition's
//! own: random, sealed in `audit.key`, and certified by the identity key. The trail's size and root
//! are a sealed record too. `docs/design/audit.md` specifies all of it.

use std::sync::Arc;

use casemate_audit::{
    Anchor, Certificate, Ledger, Loss, Reader, Signer, Trail, VerifierKey, certify,
};
use casemate_channel::Start;
use casemate_engine_port::Secret;
use casemate_engine_soft::domain::RecordCipher;
use casemate_engine_soft::sha256;
use casemate_engine_soft::signing::{SEED_BYTES, SigningKey, new_seed};
use casemate_hsm::{Door, Hsm, OpenFailure, UnixSeconds};
use casemate_store_port::Record;

use crate::failure::{Failure, chain};
use crate::files;
use crate::open::AUDIT_FOLDER;

/// The audit key's file in the HSM's folder.
pub(crate) const KEY_FILE: &str = "audit.key";
/// What the sealed audit key is bound to.
const KEY_LABEL: &[u8] = b"casemate audit key v1";
/// Largest such file, in bytes.
const KEY_BYTES_MAX: u64 = 256;
/// The record of the identity key.
const IDENTITY: &str = "identity";
/// The record of the trail's size and root.
pub(crate) const ANCHOR: &str = "audit";
/// The record of the trails that were lost.
pub(crate) const LOSSES: &str = "audit-losses";
/// Version of the identity key's record.
const IDENTITY_VERSION: u8 = 1;

/// What the store keeps for this room.
#[derive(Default)]
pub(crate) struct Kept {
    identity: Option<Secret>,
    anchor: Option<Anchor>,
    losses: Vec<Loss>,
}

/// What is remembered of trails outside their folder.
#[derive(Clone, Default)]
pub(crate) struct Remembered {
    pub(crate) anchor: Option<Anchor>,
    pub(crate) losses: Vec<Loss>,
}

/// The keys, ready to sign.
pub(crate) struct Keys {
    audit: Arc<NoteKey>,
    audit_name: String,
    identity: NoteKey,
    identity_name: String,
    hsm_line: String,
}

struct NoteKey(SigningKey);

impl Signer for NoteKey {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message)
    }
}

impl Kept {
    /// Takes from the verified records what belongs here.
    pub(crate) fn from_records(records: &[Record]) -> Result<Self, OpenFailure> {
        let find = |name| {
            let path = Hsm::kept_path(name);
            records.iter().find(|record| record.path == path).map(|record| &record.value)
        };
        let unreadable = |name| OpenFailure::Unreadable(Hsm::kept_path(name).to_string());
        let identity = match find(IDENTITY).map(Vec::as_slice) {
            Some([IDENTITY_VERSION, seed @ ..]) if seed.len() == SEED_BYTES => {
                Some(Secret::new(seed.to_vec()))
            }
            Some(_) => return Err(unreadable(IDENTITY)),
            None => None,
        };
        let anchor = match find(ANCHOR) {
            Some(value) => Some(Anchor::decode(value).ok_or_else(|| unreadable(ANCHOR))?),
            None => None,
        };
        let losses = match find(LOSSES) {
            Some(value) => Loss::decode(value).ok_or_else(|| unreadable(LOSSES))?,
            None => Vec::new(),
        };
        Ok(Self { identity, anchor, losses })
    }

    /// What is remembered of the trail, and of those before it that were lost.
    pub(crate) fn remembered(&self) -> Remembered {
        Remembered { anchor: self.anchor, losses: self.losses.clone() }
    }

    /// Makes the identity key of an HSM that has none yet, and stores it.
    pub(crate) async fn complete(&mut self, hsm: &Hsm) -> Result<(), Failure> {
        if self.identity.is_none() {
            let seed = new_seed();
            let mut record = vec![IDENTITY_VERSION];
            record.extend_from_slice(seed.expose());
            hsm.keep(IDENTITY, record).await.map_err(OpenFailure::Store)?;
            self.identity = Some(seed);
        }
        Ok(())
    }

    /// The record of the identity key.
    pub(crate) fn identity_record(&self) -> Secret {
        let seed = self.identity.as_ref().map(Secret::expose).unwrap_or_default();
        let mut record = Vec::with_capacity(1 + SEED_BYTES);
        record.push(IDENTITY_VERSION);
        record.extend_from_slice(seed);
        Secret::new(record)
    }

    /// What a trail is opened with. A lost audit key is replaced: the identity key certifies the
    /// new one, and whoever trusted the old one notices.
    pub(crate) fn ledger(
        self,
        start: &Start,
        hsm_id: [u8; 16],
        cipher: &RecordCipher,
        now: UnixSeconds,
    ) -> Result<Ledger, Failure> {
        let identity = self.identity.unwrap_or_else(new_seed);
        let audit = audit_seed(start, cipher)?;
        let keys = Keys::new(&start.hsm, hsm_id, &audit, &identity)?;
        let names = |_| Failure::AuditName { hsm: start.hsm.clone() };
        let identity = VerifierKey::new(&keys.identity_name, keys.identity.public_key());
        let identity = identity.map_err(names)?;
        let log = VerifierKey::new(&keys.audit_name, keys.audit.public_key()).map_err(names)?;
        let stored = Reader::new(&start.folder.join(AUDIT_FOLDER)).certificate().ok().flatten();
        let ours = Certificate { log: log.clone(), identity: identity.clone() };
        let stored = stored.filter(|stored| Certificate::read(stored).as_ref() == Ok(&ours));
        let certificate = stored.unwrap_or_else(|| {
            certify(&log, &keys.hsm_line, &now.0.to_string(), &identity, &keys.identity)
        });
        tracing::info!(audit_key = %log, identity_key = %identity, "the audit trail is signed");
        Ledger::new(&keys.audit_name, keys.audit, certificate, self.anchor).map_err(names)
    }
}

/// Whether these bytes are the record of an identity key.
pub fn is_identity(record: &[u8]) -> bool {
    matches!(record, [IDENTITY_VERSION, seed @ ..] if seed.len() == SEED_BYTES)
}

impl Keys {
    fn new(
        hsm: &str,
        hsm_id: [u8; 16],
        audit: &Secret,
        identity: &Secret,
    ) -> Result<Self, Failure> {
        let audit = NoteKey(SigningKey::from_seed(audit)?);
        let identity = NoteKey(SigningKey::from_seed(identity)?);
        let id = hex(&hsm_id);
        let partition = hex(&sha256(&audit.public_key())[..4]);
        Ok(Self {
            audit: Arc::new(audit),
            audit_name: format!("casemate/audit/{hsm}/{id}/{partition}"),
            identity,
            identity_name: format!("casemate/hsm/{hsm}/{id}"),
            hsm_line: format!("{hsm} {id}"),
        })
    }
}

/// The audit key's seed: the sealed one, or a new one.
fn audit_seed(start: &Start, cipher: &RecordCipher) -> Result<Secret, Failure> {
    let path = start.folder.join(KEY_FILE);
    if let Some(sealed) = files::read(&path, KEY_BYTES_MAX).map_err(Failure::Folder)? {
        match cipher.open(KEY_LABEL, &sealed) {
            Ok(seed) if seed.len() == SEED_BYTES => return Ok(seed),
            Ok(_) | Err(_) => tracing::warn!("{} does not open; a new key is made", path.display()),
        }
    }
    let seed = new_seed();
    files::replace(&path, &cipher.seal(KEY_LABEL, seed.expose())?).map_err(Failure::Folder)?;
    Ok(seed)
}

/// Remembers the trail in the store, if it has grown since.
pub(crate) struct Remember {
    last: Option<Anchor>,
}

impl Remember {
    pub(crate) fn new() -> Self {
        Self { last: None }
    }

    /// That it fails costs nothing but a later try: the log itself is durable.
    pub(crate) async fn now(&mut self, trail: &Trail, hsm: &Door) {
        let Some(anchor) = trail.published() else { return };
        if self.last == Some(anchor) || anchor.head.size == 0 {
            return;
        }
        match hsm.keep(ANCHOR, anchor.encode()).await {
            Ok(()) => self.last = Some(anchor),
            Err(error) => {
                tracing::warn!("the trail's size was not remembered: {}", chain(&error));
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
