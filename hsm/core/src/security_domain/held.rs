//! What is stored of the security domain: who holds it, and the exchange key of a recovery.

use casemate_engine_port::Secret;
use casemate_quorum::{Holder, Primitives, Quorum};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use uuid::Uuid;

use crate::UnixSeconds;

/// Who holds the domain that this HSM is active under.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HeldRecord {
    /// The domain.
    #[serde(with = "serde_bytes")]
    pub(crate) domain: Vec<u8>,
    /// The number of the last download.
    pub(crate) download: u64,
    /// How many holders are needed.
    pub(crate) required: u8,
    /// Their certificates, DER, in order.
    pub(crate) holders: Vec<ByteBuf>,
    /// The last download from this HSM.
    pub(crate) downloaded: Option<Done>,
    /// The upload that activated this HSM.
    pub(crate) uploaded: Option<Done>,
    /// Whether they were given it in mode `strict`: then the next download is theirs to approve,
    /// whatever the mode is by then.
    #[serde(default)]
    pub(crate) strict: bool,
    /// The changes of the secret in this HSM, oldest first.
    #[serde(default)]
    pub(crate) turns: Vec<Turn>,
}

/// A change of the secret: a new epoch began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Its number.
    pub(crate) epoch: u32,
    /// When.
    pub(crate) at: UnixSeconds,
    /// By whose call.
    pub(crate) by: Uuid,
    /// Backups of the epochs before this one are not opened any more.
    pub(crate) forget_before: Option<u32>,
}

/// Something that was done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// When.
    pub(crate) at: UnixSeconds,
    /// By whom.
    pub(crate) by: Uuid,
    /// Whether it has been confirmed since.
    pub(crate) confirmed: bool,
}

impl HeldRecord {
    /// The holders as a quorum; none if the certificates are none, which is never stored.
    pub(crate) fn quorum(&self, primitives: &dyn Primitives) -> Option<Quorum> {
        quorum(&self.holders, self.required, primitives)
    }
}

/// Stored certificates as a quorum, if they make one.
pub(crate) fn quorum(
    holders: &[ByteBuf],
    required: u8,
    primitives: &dyn Primitives,
) -> Option<Quorum> {
    let holders: Result<Vec<Holder>, _> =
        holders.iter().map(|der| Holder::from_der(der, primitives)).collect();
    Quorum::new(holders.ok()?, Some(u64::from(required))).ok()
}

/// A quorum's certificates, to be stored.
pub(crate) fn certificates(quorum: &Quorum) -> Vec<ByteBuf> {
    quorum.holders().iter().map(|holder| ByteBuf::from(holder.der().to_vec())).collect()
}

/// The exchange key of a recovery that has begun.
#[derive(Serialize, Deserialize)]
pub(crate) struct ExchangeRecord {
    /// PKCS #8.
    #[serde(with = "secret_bytes")]
    pub(crate) pkcs8: Secret,
    /// The certificate, DER.
    #[serde(with = "serde_bytes")]
    pub(crate) certificate: Vec<u8>,
    /// When it was made.
    pub(crate) at: UnixSeconds,
    /// By whom.
    pub(crate) by: Uuid,
}

mod secret_bytes {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Secret, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
        ByteBuf::deserialize(d).map(|bytes| Secret::new(bytes.into_vec()))
    }
}
