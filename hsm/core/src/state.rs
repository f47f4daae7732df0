//! What the HSM holds, in memory: kept equal to the store by [`State::apply`] alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use casemate_audit_sinks::Sinks;
use casemate_store_port::Generation;
use uuid::Uuid;

use crate::CutOff;
use crate::VersionId;
use crate::backup::ScheduleRecord;
use crate::keys::GcmBudget;
use crate::rbac::{ActionSet, Assignment, Definition, Role};
use crate::records::{KeyRecord, VersionRecord};
use crate::security_domain::{ExchangeRecord, HeldRecord, Known};
use crate::settings::{Setting, SettingRecord};

/// Everything that requests are answered from.
#[derive(Default)]
pub(crate) struct State {
    /// By name in lower case, so that lists have an order.
    pub(crate) keys: BTreeMap<String, KeyEntry>,
    pub(crate) assignments: HashMap<Uuid, (Arc<Assignment>, Generation)>,
    pub(crate) assignments_by_principal: HashMap<Uuid, Vec<Held>>,
    /// Where copies of the audit log go, once that was set.
    pub(crate) audit_sinks: (Arc<Sinks>, Option<Generation>),
    /// Who holds the security domain.
    pub(crate) security_domain: Known,
    /// Backups that the HSM makes by itself, by their schedules' names.
    pub(crate) schedules: BTreeMap<String, (Arc<ScheduleRecord>, Generation)>,
    /// From when on principals' tokens must have been issued.
    pub(crate) cut_offs: (Arc<Vec<CutOff>>, Option<Generation>),
    /// Those that somebody wrote.
    pub(crate) definitions: HashMap<Uuid, (Arc<Definition>, Generation)>,
    /// Grows with every change of rights; a permit carries the one it was given at.
    pub(crate) rights_revision: u64,
    /// What was changed since the HSM was created, by the setting's name.
    pub(crate) settings: BTreeMap<&'static str, HeldSetting>,
    /// The last change that is seen here. Changes are applied in their order, so all before it are.
    pub(crate) last_applied: u64,
}

/// A setting that was changed.
pub(crate) struct HeldSetting {
    pub(crate) setting: &'static Setting,
    pub(crate) record: Arc<SettingRecord>,
    pub(crate) generation: Generation,
}

/// A key with its versions.
pub(crate) struct KeyEntry {
    pub(crate) record: Arc<KeyRecord>,
    pub(crate) generation: Generation,
    /// In the record's order.
    pub(crate) versions: Vec<Arc<VersionEntry>>,
}

impl KeyEntry {
    /// The last change of anything of the key: of its record, of a version, of a count.
    pub(crate) fn last_change(&self) -> u64 {
        let of_version = |version: &Arc<VersionEntry>| {
            version.gcm.generation().map_or(0, |generation| generation.0).max(version.generation.0)
        };
        self.versions.iter().map(of_version).fold(self.generation.0, u64::max)
    }
}

/// A version. Replaced as a whole when it changes, so that holders see whether theirs is current.
pub(crate) struct VersionEntry {
    pub(crate) record: VersionRecord,
    pub(crate) generation: Generation,
    pub(crate) gcm: Arc<GcmBudget>,
}

/// A role that a principal holds.
pub(crate) struct Held {
    pub(crate) role: Role,
    /// What the role allows now.
    pub(crate) actions: ActionSet,
    pub(crate) assignment: Arc<Assignment>,
}

/// One durable change, to be seen by requests.
#[derive(Clone)]
pub(crate) enum Applied {
    Key(Arc<KeyRecord>),
    Version { key: String, record: Box<VersionRecord> },
    KeyGone(String),
    Gcm { key: String, version: VersionId, reserved: u64, granted: i64 },
    Assignment(Arc<Assignment>),
    AssignmentGone(Uuid),
    Setting(&'static Setting, Arc<SettingRecord>),
    AuditSinks(Arc<Sinks>),
    Schedule(Arc<ScheduleRecord>),
    ScheduleGone(String),
    CutOffs(Arc<Vec<CutOff>>),
    SecurityDomain(Arc<HeldRecord>),
    ExchangeKey(Arc<ExchangeRecord>),
    Definition(Arc<Definition>),
    DefinitionGone(Uuid),
}

impl State {
    /// Makes a durable change visible.
    pub(crate) fn apply(&mut self, applied: Applied, generation: Generation) {
        self.last_applied = self.last_applied.max(generation.0);
        match applied {
            Applied::Key(record) => self.apply_key(record, generation),
            Applied::Version { key, record } => self.apply_version(&key, *record, generation),
            Applied::KeyGone(key) => {
                self.keys.remove(&key);
            }
            Applied::Gcm { key, version, reserved, granted } => {
                if let Some(entry) = self.version(&key, version) {
                    entry.gcm.note_stored(reserved, granted, generation);
                }
            }
            Applied::Assignment(assignment) => self.apply_assignment(assignment, generation),
            Applied::AssignmentGone(name) => self.apply_assignment_gone(name),
            Applied::Setting(setting, record) => {
                self.rights_revision += u64::from(setting.is_of_rights);
                self.settings.insert(setting.name, HeldSetting { setting, record, generation });
            }
            Applied::AuditSinks(sinks) => self.audit_sinks = (sinks, Some(generation)),
            Applied::Schedule(record) => {
                let name = record.name().as_str().to_owned();
                self.schedules.insert(name, (record, generation));
            }
            Applied::ScheduleGone(name) => {
                self.schedules.remove(&name);
            }
            Applied::CutOffs(cut_offs) => self.cut_offs = (cut_offs, Some(generation)),
            Applied::SecurityDomain(held) => self.security_domain.held = Some((held, generation)),
            Applied::ExchangeKey(exchange) => {
                self.security_domain.exchange = Some((exchange, generation));
            }
            Applied::Definition(definition) => {
                let id = definition.id;
                self.definitions.insert(id, (definition, generation));
                self.role_changed(id);
            }
            Applied::DefinitionGone(id) => {
                self.definitions.remove(&id);
                self.role_changed(id);
            }
        }
    }

    /// The changed settings with what they belong to.
    pub(crate) fn changed_settings(
        &self,
    ) -> impl Iterator<Item = (&'static Setting, &SettingRecord)> {
        self.settings.values().map(|held| (held.setting, held.record.as_ref()))
    }

    /// The entry of a version, deleted keys included.
    pub(crate) fn version(&self, key: &str, id: VersionId) -> Option<&Arc<VersionEntry>> {
        self.keys.get(key)?.versions.iter().find(|version| version.record.id == id)
    }

    fn apply_key(&mut self, record: Arc<KeyRecord>, generation: Generation) {
        let name = record.name.folded().to_owned();
        match self.keys.get_mut(&name) {
            Some(entry) => {
                entry.record = record;
                entry.generation = generation;
            }
            None => {
                self.keys.insert(name, KeyEntry { record, generation, versions: Vec::new() });
            }
        }
    }

    fn apply_version(&mut self, key: &str, record: VersionRecord, generation: Generation) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        match entry.versions.iter_mut().find(|version| version.record.id == record.id) {
            Some(place) => {
                let gcm = Arc::clone(&place.gcm);
                *place = Arc::new(VersionEntry { record, generation, gcm });
            }
            None => {
                let gcm = Arc::new(GcmBudget::default());
                entry.versions.push(Arc::new(VersionEntry { record, generation, gcm }));
            }
        }
    }

    /// The role of this id, whatever became of it.
    pub(crate) fn role(&self, id: Uuid) -> Role {
        let custom = || self.definitions.get(&id).map(|(one, _)| Role::Custom(Arc::clone(one)));
        Role::built_in(id).or_else(custom).unwrap_or(Role::Gone(id))
    }

    fn apply_assignment(&mut self, assignment: Arc<Assignment>, generation: Generation) {
        self.rights_revision += 1;
        let role = self.role(assignment.role);
        let actions = role.actions();
        let held = Held { role, actions, assignment: Arc::clone(&assignment) };
        self.assignments_by_principal.entry(assignment.principal).or_default().push(held);
        self.assignments.insert(assignment.name, (assignment, generation));
    }

    /// What the role allows has changed for everybody who holds it.
    fn role_changed(&mut self, id: Uuid) {
        self.rights_revision += 1;
        let role = self.role(id);
        let all = self.assignments_by_principal.values_mut().flatten();
        for held in all.filter(|held| held.assignment.role == id) {
            held.role = role.clone();
            held.actions = role.actions();
        }
    }

    fn apply_assignment_gone(&mut self, name: Uuid) {
        self.rights_revision += 1;
        let Some((assignment, _)) = self.assignments.remove(&name) else { return };
        if let Some(held) = self.assignments_by_principal.get_mut(&assignment.principal) {
            held.retain(|held| held.assignment.name != name);
            if held.is_empty() {
                self.assignments_by_principal.remove(&assignment.principal);
            }
        }
    }
}
