//! What an HSM answers in every state: its settings, who may do what, and what was last written.
//!
//! No key can be reached through it: those are methods of the active [`Hsm`] alone.

use std::sync::Arc;

use arc_swap::Guard;
use casemate_audit_sinks::Sinks;
use casemate_store_port::CommitError;
use uuid::Uuid;

use crate::rbac::{AllowedBy, DataAction, NotAuthorized, Permit, Principal, Scope};
use crate::security_domain::{HeldBy, Left};
use crate::{CutOff, Hsm, KeyName, Settings, UnixSeconds};

/// The part of an HSM that is there in every state.
#[derive(Clone)]
pub struct Door(Arc<Hsm>);

impl From<&Arc<Hsm>> for Door {
    fn from(hsm: &Arc<Hsm>) -> Self {
        Self(Arc::clone(hsm))
    }
}

impl Door {
    /// See [`Hsm::settings`].
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.0.settings()
    }

    /// See [`Hsm::now`].
    pub fn now(&self) -> UnixSeconds {
        self.0.now()
    }

    /// See [`Hsm::engine_name`].
    pub fn engine_name(&self) -> &'static str {
        self.0.engine_name()
    }

    /// See [`Hsm::held_by`].
    pub fn held_by(&self) -> Option<HeldBy> {
        self.0.held_by()
    }

    /// See [`Hsm::left_behind`].
    pub fn left_behind(&self) -> Left {
        self.0.left_behind()
    }

    /// Whether a recovery has begun that is not at its end.
    pub fn is_recovering(&self) -> bool {
        self.0.has_exchange_key()
    }

    /// See [`Hsm::sequence`].
    pub fn sequence(&self) -> u64 {
        self.0.sequence()
    }

    /// See [`Hsm::audit_sinks`].
    pub fn audit_sinks(&self) -> Arc<Sinks> {
        self.0.audit_sinks()
    }

    /// See [`Hsm::cut_offs`].
    pub fn cut_offs(&self) -> Arc<Vec<CutOff>> {
        self.0.cut_offs()
    }

    /// See [`Hsm::authorize`].
    pub fn authorize<A: DataAction>(
        &self,
        principal: &Arc<Principal>,
        scope: Scope,
    ) -> Result<Permit<A>, NotAuthorized> {
        self.0.authorize(principal, scope)
    }

    /// See [`Hsm::still_authorized`].
    pub fn still_authorized<A: DataAction>(&self, permit: &Permit<A>) -> Result<(), NotAuthorized> {
        self.0.still_authorized(permit)
    }

    /// See [`Hsm::while_authorized`].
    pub fn while_authorized<A: DataAction, T>(
        &self,
        permit: &Permit<A>,
        act: impl FnOnce(&AllowedBy) -> T,
    ) -> Result<T, NotAuthorized> {
        self.0.while_authorized(permit, act)
    }

    /// See [`Hsm::still_allowed_by`].
    pub fn still_allowed_by<A: DataAction>(&self, permit: &Permit<A>, by: &AllowedBy) -> bool {
        self.0.still_allowed_by(permit, by)
    }

    /// See [`Hsm::keep`].
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn keep(&self, name: &'static str, value: Vec<u8>) -> Result<(), CommitError> {
        self.0.keep(name, value).await
    }

    /// The same for a key that was to be restored.
    #[must_use]
    pub fn restored_key_written(&self, name: &KeyName) -> Option<u64> {
        self.0.restored_key_written(name)
    }

    /// Whether a full restore is under way: then nothing else is answered.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.0.is_restoring()
    }

    /// See [`Hsm::key_written`].
    pub fn key_written(&self, name: &KeyName) -> Option<u64> {
        self.0.key_written(name)
    }

    /// See [`Hsm::assignment_written`].
    pub fn assignment_written(&self, name: Uuid) -> Option<u64> {
        self.0.assignment_written(name)
    }

    /// See [`Hsm::definition_written`].
    pub fn definition_written(&self, id: Uuid) -> Option<u64> {
        self.0.definition_written(id)
    }

    /// See [`Hsm::setting_written`].
    pub fn setting_written(&self, name: &str) -> Option<u64> {
        self.0.setting_written(name)
    }

    /// The change that last wrote this schedule of backups, its progress included; `None` if there
    /// is none.
    pub fn schedule_written(&self, name: &str) -> Option<u64> {
        self.0.state.read().schedules.get(name).map(|(_, generation)| generation.0)
    }

    /// The change that last wrote who holds the security domain, or its exchange key.
    pub fn security_domain_written(&self) -> Option<u64> {
        let state = self.0.state.read();
        let held = state.security_domain.held.as_ref().map(|(_, generation)| generation.0);
        let exchange = state.security_domain.exchange.as_ref().map(|(_, at)| at.0);
        held.max(exchange)
    }
}
