//! Create a key, or a new version of one.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_engine_port::{EngineError, KeySpec};

use super::attributes::{AttributesRefusal, NewAttributes, Tags};
use super::find::key_of;
use super::make_version::{NameRefusal, Wanted};
use super::{KeyOp, KeyView};
use crate::commit::CommitRefusal;
use crate::handles::place;
use crate::rbac::{Permit, act};
use crate::{Hsm, KeyName, PoolFailure};

/// What is to be created.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// Type and size.
    pub spec: KeySpec,
    /// Permitted operations; all that fit when absent.
    pub key_ops: Option<Vec<KeyOp>>,
    /// Attributes.
    pub attributes: NewAttributes,
    /// Tags.
    pub tags: Tags,
}

/// Why a key was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateRefusal {
    /// Attributes, operations or tags are wrong.
    #[error(transparent)]
    Attributes(#[from] AttributesRefusal),
    /// The engine cannot hold such keys.
    #[error("the engine '{engine}' does not hold keys of this type and size{why}")]
    Unsupported {
        /// The engine.
        engine: &'static str,
        /// Why, in words that go on after that; empty where there is nothing to add.
        why: &'static str,
    },
    /// The name belongs to a deleted key.
    #[error("the key '{0}' is deleted and can be recovered; recover or purge it first")]
    NameIsDeleted(KeyName),
    /// The name belongs to a key that is being purged.
    #[error("the key '{0}' is being purged; try again when that is done")]
    NameIsBeingPurged(KeyName),
    /// The key has as many versions as it can.
    #[error("the key '{0}' has {1} versions, the most a key can have")]
    TooManyVersions(KeyName, usize),
    /// The HSM holds as many keys as it can.
    #[error("the HSM holds as many keys as it can")]
    TooManyKeys,
    /// Too much costly work is waiting.
    #[error(transparent)]
    Pool(#[from] PoolFailure),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[from] EngineError),
}

impl From<NameRefusal> for CreateRefusal {
    fn from(refusal: NameRefusal) -> Self {
        match refusal {
            NameRefusal::Deleted(name) => Self::NameIsDeleted(name),
            NameRefusal::BeingPurged(name) => Self::NameIsBeingPurged(name),
            NameRefusal::TooManyVersions(name, most) => Self::TooManyVersions(name, most),
            NameRefusal::TooManyKeys => Self::TooManyKeys,
            NameRefusal::Commit(commit) => Self::Commit(commit),
        }
    }
}

impl Hsm {
    /// Creates the key of the permit's scope; under an existing name, its newest version.
    pub async fn create_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysCreate>,
        _intent: &Recorded,
        request: CreateKey,
    ) -> Result<KeyView, CreateRefusal> {
        let name = key_of(permit.scope());
        let CreateKey { spec, key_ops, attributes, tags } = request;
        let wanted = Wanted { key_ops, attributes, tags };
        wanted.check(spec)?;
        if !self.engine.supports(spec) {
            let (engine, why) = (self.engine.name(), self.engine.why_not(spec));
            return Err(CreateRefusal::Unsupported { engine, why });
        }
        self.check_name(name)?;
        let id = self.new_version_id()?;
        let engine = Arc::clone(&self.engine);
        let place = place(name, id);
        let caller = permit.principal().id;
        let material = self.on_pool(caller, move || engine.generate(spec, &place)).await??;
        self.add_version(permit, id, material, wanted).await
    }
}
