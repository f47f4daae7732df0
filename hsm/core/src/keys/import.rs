//! Import a key, or a new version of one.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_engine_port::{EngineError, ImportedKey};

use super::attributes::{AttributesRefusal, NewAttributes, Tags};
use super::find::key_of;
use super::make_version::{NameRefusal, Wanted};
use super::{KeyOp, KeyView};
use crate::commit::CommitRefusal;
use crate::handles::place;
use crate::rbac::{Permit, act};
use crate::{Hsm, KeyName, PoolFailure};

/// What is to be imported.
#[derive(Debug)]
pub struct ImportKey {
    /// The material, not yet checked.
    pub material: ImportedKey,
    /// Permitted operations; all that fit when absent.
    pub key_ops: Option<Vec<KeyOp>>,
    /// Attributes.
    pub attributes: NewAttributes,
    /// Tags.
    pub tags: Tags,
}

/// Why a key was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportRefusal {
    /// The key is not one, or not one that is good enough.
    #[error("the key is not acceptable: {0}")]
    BadKey(&'static str),
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
    Engine(#[source] EngineError),
}

impl From<NameRefusal> for ImportRefusal {
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
    /// Imports material as the key of the permit's scope; under an existing name, as its newest
    /// version.
    pub async fn import_key(
        self: &Arc<Self>,
        permit: &Permit<act::KeysImport>,
        _intent: &Recorded,
        request: ImportKey,
    ) -> Result<KeyView, ImportRefusal> {
        let name = key_of(permit.scope());
        let ImportKey { material, key_ops, attributes, tags } = request;
        let wanted = Wanted { key_ops, attributes, tags };
        self.check_name(name)?;
        let refusal = |error| match error {
            EngineError::BadKey(reason) => ImportRefusal::BadKey(reason),
            EngineError::Unsupported(why) => {
                ImportRefusal::Unsupported { engine: self.engine.name(), why }
            }
            error @ (EngineError::NotAuthentic
            | EngineError::Unavailable(_)
            | EngineError::Failed(_)) => ImportRefusal::Engine(error),
        };
        let id = self.new_version_id().map_err(refusal)?;
        let engine = Arc::clone(&self.engine);
        let place = place(name, id);
        let caller = permit.principal().id;
        let imported = self.on_pool(caller, move || engine.import(material, &place)).await?;
        let material = imported.map_err(refusal)?;
        if !self.engine.supports(material.spec) {
            let (engine, why) = (self.engine.name(), self.engine.why_not(material.spec));
            return Err(ImportRefusal::Unsupported { engine, why });
        }
        wanted.check(material.spec)?;
        self.add_version(permit, id, material, wanted).await
    }
}
