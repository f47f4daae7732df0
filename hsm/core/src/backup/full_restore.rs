//! A full restore: the HSM is made ready anew beside the present one, whole and checked, and then
//! takes its place in one step.
//!
//! From its beginning nothing is changed and nothing is answered but the restore's own status. What
//! the backup does not hold stays as it is: settings, sinks, the keys of the audit log, and, unless
//! an Administrator restores, role assignments and definitions.
//!
//! Invariants:
//! - The present store is not written to. A restore that fails, or dies, leaves it as it was.
//! - What purge protection keeps is never lost by a restore.

use std::collections::HashSet;
use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Path, SealedStore, Write};
use uuid::Uuid;

use super::aside::AsideError;
use super::content::KeyContent;
use super::jobs::{Begun, Done, JobFailure, JobKind, StartRefusal};
use super::parts::Item;
use super::reading::Reader;
use super::{Aside, Objects, Target};
use crate::commit::Quiet;
use crate::rbac::{Assignment, Definition, Permit, Principal, act, administers, kept_together};
use crate::records::{self, GcmRecord, Kind};
use crate::settings::Separation;
use crate::{Hsm, VersionId};

/// Writes of one transaction.
const WRITES_PER_BATCH: usize = 60;

/// Bytes of one transaction, with room for one key version more.
const BYTES_PER_BATCH: usize = 768 * 1024;

/// What a sealed value takes beside its plaintext and its path, at most.
const OVERHEAD_BYTES: usize = 160;

/// A restored HSM that is ready to take the place of the present one.
pub struct Prepared {
    _quiet: Quiet,
    done: Done,
    /// Assignments of the backup that the HSM does not have now.
    pub revived: Vec<Assignment>,
    /// Assignments of the HSM that the backup does not have: they end with it.
    pub ended: Vec<Assignment>,
}

impl Prepared {
    /// What will have come of it.
    pub fn done(&self) -> &Done {
        &self.done
    }
}

impl Hsm {
    /// Whether a full restore is under way: then nothing else is answered.
    pub fn is_restoring(&self) -> bool {
        self.quiet.is_set()
    }

    /// Begins a full restore.
    pub async fn begin_restore(
        &self,
        _permit: &Permit<act::RestoreStart>,
        _intent: &Recorded,
        target: &Target,
        folder: &str,
    ) -> Result<Begun, StartRefusal> {
        self.begin_job(JobKind::Restore, target.existing(folder)?, None).await
    }

    /// Begins to look whether a backup could be restored.
    pub async fn begin_restore_check(
        &self,
        _permit: &Permit<act::RestoreStart>,
        _intent: &Recorded,
        target: &Target,
        folder: &str,
    ) -> Result<Begun, StartRefusal> {
        self.begin_job(JobKind::RestoreCheck, target.existing(folder)?, None).await
    }

    /// Makes the restored HSM ready aside. Nothing of the present one is changed.
    pub async fn prepare_restore(
        &self,
        permit: &Permit<act::RestoreStart>,
        begun: &Begun,
        objects: &dyn Objects,
        aside: &dyn Aside,
    ) -> Result<Prepared, JobFailure> {
        let quiet = self.quiet().await;
        let made = self.build_aside(permit, begun, objects, aside).await;
        match made {
            Ok((done, revived, ended)) => Ok(Prepared { _quiet: quiet, done, revived, ended }),
            Err(failure) => {
                self.give_up(aside).await;
                Err(failure)
            }
        }
    }

    /// Decides, durably, for the restored HSM; it is then opened anew. Its assignments are recorded
    /// before. If the decision cannot be made durable, everything stays as it was.
    pub async fn switch(
        &self,
        prepared: Prepared,
        _recorded: &Recorded,
        aside: &dyn Aside,
    ) -> Result<(), JobFailure> {
        if let Err(error) = aside.take_over().await {
            self.give_up(aside).await;
            return Err(JobFailure::store(error));
        }
        // Nothing is answered any more until it is opened anew.
        std::mem::forget(prepared);
        Ok(())
    }

    /// Gives up what was made ready. The present store goes on beyond it, so that nobody who kept a
    /// copy can ever put it in its place.
    pub async fn give_up(&self, aside: &dyn Aside) {
        self.store.outrun();
        aside.discard().await;
    }

    async fn build_aside(
        &self,
        permit: &Permit<act::RestoreStart>,
        begun: &Begun,
        objects: &dyn Objects,
        aside: &dyn Aside,
    ) -> Result<(Done, Vec<Assignment>, Vec<Assignment>), JobFailure> {
        self.still_authorized(permit)?;
        let mut reader = Reader::open(self, &begun.folder, objects).await?;
        let beside = aside
            .create()
            .await
            .map_err(|AsideError(cause)| JobFailure::Store(Arc::from(cause)))?;
        let store = self.store.beside(beside).await.map_err(JobFailure::store)?;
        let mut building = Building::new(self, permit.principal(), store);
        building.keep().await?;
        while let Some(item) = reader.next().await? {
            building.take(item).await?;
        }
        building.finish(begun).await
    }
}

/// The store aside, as it fills.
struct Building<'a> {
    hsm: &'a Hsm,
    principal: &'a Principal,
    /// Whether an Administrator restores: then roles come from the backup.
    with_rights: bool,
    store: SealedStore,
    writes: Vec<Write>,
    bytes: usize,
    keys: usize,
    definitions: Vec<Definition>,
    assignments: Vec<Assignment>,
    /// Present versions that the backup has not shown yet, where they may not be lost.
    protected: HashSet<VersionId>,
}

impl<'a> Building<'a> {
    fn new(hsm: &'a Hsm, principal: &'a Principal, store: SealedStore) -> Self {
        let state = hsm.state.read();
        let mut held = state.assignments.values().map(|(one, _)| one);
        let with_rights = held.any(|one| administers(one) && principal.is_or_is_in(one.principal));
        let protected = match hsm.settings().purge_protection {
            true => state.keys.values().flat_map(|key| key.record.versions.clone()).collect(),
            false => HashSet::new(),
        };
        Self {
            hsm,
            principal,
            with_rights,
            store,
            writes: Vec::new(),
            bytes: 0,
            keys: 0,
            definitions: Vec::new(),
            assignments: Vec::new(),
            protected,
        }
    }

    /// Copies what a backup does not hold.
    async fn keep(&mut self) -> Result<(), JobFailure> {
        for path in self.hsm.store.paths() {
            let stays = match records::kind(&path) {
                Kind::Key | Kind::Version { .. } | Kind::Gcm { .. } | Kind::Jobs => false,
                Kind::Assignment | Kind::Definition => !self.with_rights,
                Kind::Settings
                | Kind::Setting(_)
                | Kind::AuditSinks
                | Kind::Schedule
                | Kind::CutOffs
                | Kind::Held
                | Kind::Exchange => true,
                Kind::Other => !path.as_str().starts_with("keys/"),
            };
            if stays {
                let record = self.hsm.store.read(&path).await.map_err(JobFailure::store)?;
                let record = record.ok_or(JobFailure::Incomplete)?;
                self.put(record.path, record.value).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, item: Item) -> Result<(), JobFailure> {
        let limits = self.hsm.limits;
        match item {
            Item::Key(content) => {
                self.keys += 1;
                if self.keys > limits.keys_max {
                    return Err(JobFailure::TooMany("keys"));
                }
                self.take_key(*content).await
            }
            // The reader keeps it to itself.
            Item::Roll(_) => Ok(()),
            Item::Definition(definition) => {
                self.definitions.push(definition);
                match self.definitions.len() > limits.definitions_max {
                    true => Err(JobFailure::TooMany("role definitions")),
                    false => Ok(()),
                }
            }
            Item::Assignment(assignment) => {
                self.assignments.push(assignment);
                match self.assignments.len() > limits.assignments_max {
                    true => Err(JobFailure::TooMany("role assignments")),
                    false => Ok(()),
                }
            }
        }
    }

    async fn take_key(&mut self, content: KeyContent) -> Result<(), JobFailure> {
        let content = self.hsm.taken_in(content).await?;
        let name = content.key.name.clone();
        self.put(records::key_path(&name), records::encode(&content.key)).await?;
        let counts = content.counts_of_a_copy();
        for ((version, of_a_copy), counted) in
            content.versions.iter().zip(counts).zip(&content.reserved)
        {
            self.protected.remove(&version.id);
            self.put(records::version_path(&name, version.id), records::encode(version)).await?;
            // The version that is here goes on; elsewhere it would be a copy.
            let present = self.reserved_here(name.folded(), version.id);
            let reserved = present.map(|present| present.max(*counted)).or(of_a_copy);
            if let Some(reserved) = reserved.filter(|_| of_a_copy.is_some()) {
                let record = records::encode(&GcmRecord { reserved });
                self.put(records::gcm_path(&name, version.id), record).await?;
            }
        }
        Ok(())
    }

    fn reserved_here(&self, key: &str, version: VersionId) -> Option<u64> {
        let state = self.hsm.state.read();
        state.version(key, version).map(|version| version.gcm.reserved())
    }

    async fn finish(
        mut self,
        begun: &Begun,
    ) -> Result<(Done, Vec<Assignment>, Vec<Assignment>), JobFailure> {
        if !self.protected.is_empty() {
            return Err(JobFailure::WouldPurge(self.protected.len()));
        }
        let (revived, ended) = match self.with_rights {
            true => self.finish_rights().await?,
            false => (Vec::new(), Vec::new()),
        };
        let roles = match self.with_rights {
            true => format!(
                "{} role assignments, of which {} had not been there; {} ended",
                self.assignments.len(),
                revived.len(),
                ended.len()
            ),
            false => "role assignments and definitions are as they were".to_owned(),
        };
        let done = Done { details: format!("{} keys; {roles}", self.keys), folder: None };
        let jobs = self.hsm.jobs_with_ended(begun, &done);
        self.put(records::jobs_path(), jobs).await?;
        self.flush().await?;
        Ok((done, revived, ended))
    }

    /// The backup's roles, and the assignment that lets the restoring Administrator go on.
    async fn finish_rights(&mut self) -> Result<(Vec<Assignment>, Vec<Assignment>), JobFailure> {
        let present: Vec<Assignment> = {
            let state = self.hsm.state.read();
            state.assignments.values().map(|(one, _)| Assignment::clone(one)).collect()
        };
        let what = |one: &Assignment| (one.principal, one.role, one.scope.clone());
        let in_backup: HashSet<_> = self.assignments.iter().map(what).collect();
        let was_there: HashSet<_> = present.iter().map(what).collect();
        let own = |one: &Assignment| administers(one) && self.principal.is_or_is_in(one.principal);
        let lacking = present.into_iter().filter(|one| !in_backup.contains(&what(one)));
        let (kept, mut ended): (Vec<Assignment>, Vec<Assignment>) = lacking.partition(own);
        let new = self.assignments.iter().filter(|one| !was_there.contains(&what(one)));
        let mut revived: Vec<Assignment> = new.cloned().collect();
        let names: HashSet<Uuid> = self.assignments.iter().map(|one| one.name).collect();
        for mut one in kept {
            // The backup has another one of that name: who restores keeps its own under a new one.
            if names.contains(&one.name) {
                ended.push(one.clone());
                let mut name = [0; 16];
                self.hsm.engine.random(&mut name)?;
                one.name = uuid::Builder::from_random_bytes(name).into_uuid();
                revived.push(one.clone());
            }
            self.assignments.push(one);
        }
        if self.hsm.settings().separation == Separation::Refuse
            && let Some(duty) = kept_together(&self.definitions, &self.assignments)
        {
            return Err(JobFailure::KeptApart(duty));
        }
        for definition in std::mem::take(&mut self.definitions) {
            let path = records::definition_path(definition.id);
            self.put(path, records::encode(&definition)).await?;
        }
        for assignment in self.assignments.clone() {
            let path = records::assignment_path(assignment.name);
            self.put(path, records::encode(&assignment)).await?;
        }
        Ok((revived, ended))
    }

    async fn put(&mut self, path: Path, value: Vec<u8>) -> Result<(), JobFailure> {
        let cost = path.as_str().len() + value.len() + OVERHEAD_BYTES;
        if self.writes.len() >= WRITES_PER_BATCH || self.bytes + cost > BYTES_PER_BATCH {
            self.flush().await?;
        }
        self.bytes += cost;
        self.writes.push(Write::Put(path, value));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), JobFailure> {
        self.bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        if writes.is_empty() {
            return Ok(());
        }
        let change = Change { expect: Vec::new(), writes };
        self.store.commit(change).await.map(drop).map_err(JobFailure::store)
    }
}
