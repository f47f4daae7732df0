//! Key material on its way into a set of backups, or out of one.
//!
//! The engine is asked on the pool: a token takes its time, and may be away.

use std::sync::Arc;

use uuid::Uuid;

use super::content::KeyContent;
use super::jobs::JobFailure;
use crate::Hsm;
use crate::security_domain::under_present_key;

impl Hsm {
    /// The same key with its material under the present key.
    pub(super) async fn carried(&self, content: KeyContent) -> Result<KeyContent, JobFailure> {
        let (engine, key) = (Arc::clone(&self.engine), content.key.name.clone());
        // As the HSM's own work: a job of an hour does not end because others ask for much.
        let done = self.on_pool(Uuid::nil(), move || under_present_key(&*engine, &content)).await?;
        done.map_err(|cause| JobFailure::Material { key, cause })
    }

    /// The same, of a key that a backup brings: one that the engine could not use is refused.
    pub(super) async fn taken_in(&self, content: KeyContent) -> Result<KeyContent, JobFailure> {
        let mut specs = content.versions.iter().map(|version| version.spec);
        if let Some(spec) = specs.find(|spec| !self.engine.supports(*spec)) {
            let (engine, why) = (self.engine.name(), self.engine.why_not(spec));
            return Err(JobFailure::Unsupported { key: content.key.name, engine, why });
        }
        self.carried(content).await
    }
}
