//! Settings: read, change. A change is sealed, durable, and in force when it has answered.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Path, Write};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Settings;
use super::table::{self, SETTINGS, Setting};
use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::records;
use crate::state::{Applied, State};
use crate::{Hsm, UnixSeconds};

/// The turnstile of everything that rests on rights: a change of a setting passes it too.
const TURNSTILE: &str = "rbac";

/// A setting with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value.
    pub value: &'static str,
}

/// A setting that was changed, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingRecord {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) changed: UnixSeconds,
    pub(crate) by: Uuid,
}

/// Why a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeSettingRefusal {
    /// A value that this setting cannot have.
    #[error("the value of {} is one of: {}", .0.name, .0.kind.values().join(", "))]
    Value(&'static Setting),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// All settings of the table with their values.
    pub fn shown_settings(&self, _permit: &Permit<act::SettingsRead>) -> Vec<Shown> {
        let settings = self.settings();
        SETTINGS.iter().map(|setting| shown(setting, &settings)).collect()
    }

    /// One setting with its value.
    pub fn shown_setting(
        &self,
        _permit: &Permit<act::SettingsRead>,
        setting: &'static Setting,
    ) -> Shown {
        shown(setting, &self.settings())
    }

    /// The value of a setting that is to be changed.
    pub fn setting_to_change(
        &self,
        _permit: &Permit<act::SettingsWrite>,
        setting: &'static Setting,
    ) -> &'static str {
        shown(setting, &self.settings()).value
    }

    /// Changes a setting. When this has answered, nothing is decided under the old value any more.
    pub async fn change_setting(
        self: &Arc<Self>,
        permit: &Permit<act::SettingsWrite>,
        _intent: &Recorded,
        setting: &'static Setting,
        value: &str,
    ) -> Result<Shown, ChangeSettingRefusal> {
        let now = self.clock.now();
        self.attempt_by(permit, TURNSTILE, || {
            let state = self.state.read();
            let (shown, is_new) = decide(&self.settings(), setting, value)?;
            let (path, condition) = condition(&state, setting);
            let record = Arc::new(SettingRecord {
                name: setting.name.to_owned(),
                value: shown.value.to_owned(),
                changed: now,
                by: permit.principal().id,
            });
            let write = || Write::Put(path.clone(), records::encode(record.as_ref()));
            Ok(Attempt {
                change: Change {
                    writes: is_new.then(write).into_iter().collect(),
                    expect: vec![(path, condition)],
                },
                applied: vec![Applied::Setting(setting, record)],
                result: shown,
            })
        })
        .await
    }

    /// What must hold in the store for a decision that rests on a setting of this name to stand:
    /// that nobody has changed it meanwhile.
    pub(crate) fn setting_stands(&self, state: &State, name: &str) -> (Path, Condition) {
        let setting =
            table::setting(name).expect("the table holds the settings that rules rest on");
        condition(state, setting)
    }
}

impl Settings {
    /// These settings, with what was changed since the HSM was created. None if a stored value is
    /// none that this release knows.
    pub(crate) fn with_changes<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'static Setting, &'a SettingRecord)>,
    ) -> Option<Self> {
        let mut settings = self.clone();
        for (setting, record) in changes {
            settings = setting.with(&settings, &record.value)?;
        }
        Some(settings)
    }
}

fn shown(setting: &'static Setting, settings: &Settings) -> Shown {
    Shown { setting, value: (setting.show)(settings) }
}

/// The setting as it shall be, and whether that is something new.
fn decide(
    now: &Settings,
    setting: &'static Setting,
    value: &str,
) -> Result<(Shown, bool), ChangeSettingRefusal> {
    let changed = setting.with(now, value).ok_or(ChangeSettingRefusal::Value(setting))?;
    let shown = shown(setting, &changed);
    Ok((shown, changed != *now))
}

fn condition(state: &State, setting: &Setting) -> (Path, Condition) {
    let held = state.settings.get(setting.name);
    let condition = held.map_or(Condition::Absent, |held| Condition::At(held.generation));
    (records::setting_path(setting), condition)
}
