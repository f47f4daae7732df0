//! The settings that an Administrator may read and change through the data plane, as one table:
//! name, type, what it does, and where its value stands in [`Settings`].
//!
//! To add one: a field of [`Settings`] with a serde default, a line here, and a line in
//! `docs/operate/settings.md`. Everything else (list, show, change, record, start) follows.

use super::{Escalation, OctKeyOps, Separation, Settings};

/// One setting that can be changed.
pub struct Setting {
    /// Its name. Compared without case, shown as here.
    pub name: &'static str,
    /// What its value may be.
    pub kind: SettingKind,
    /// Whether decisions about rights rest on it: then its change ends the revision of the rights
    /// under which permits were given.
    pub(crate) is_of_rights: bool,
    pub(crate) show: fn(&Settings) -> &'static str,
    /// Puts the value; false if it is none. The value is in lower case.
    pub(crate) put: fn(&mut Settings, &str) -> bool,
}

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The name of the setting that decides who may grant the highest roles.
pub(crate) const ESCALATION: &str = "CasemateEscalation";

/// The name of the setting that says what is done about duties that should be kept apart.
pub(crate) const SEPARATION: &str = "CasemateSeparation";

/// The name of the setting by which an Administrator accepts that an audit log was lost.
pub const AUDIT_LOSS_ACCEPTED: &str = "CasemateAuditLossAccepted";

/// All that can be changed, in the order of the list.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "AllowKeyManagementOperationsThroughARM",
        kind: SettingKind::Boolean,
        is_of_rights: false,
        show: |settings| boolean(settings.arm_key_operations),
        put: |settings, value| put_boolean(&mut settings.arm_key_operations, value),
    },
    Setting {
        name: ESCALATION,
        kind: SettingKind::Choice(&["strict", "azure"]),
        is_of_rights: true,
        show: |settings| match settings.escalation {
            Escalation::Strict => "strict",
            Escalation::Azure => "azure",
        },
        put: |settings, value| {
            put(
                &mut settings.escalation,
                match value {
                    "strict" => Some(Escalation::Strict),
                    "azure" => Some(Escalation::Azure),
                    _ => None,
                },
            )
        },
    },
    Setting {
        name: SEPARATION,
        kind: SettingKind::Choice(&["warn", "refuse"]),
        is_of_rights: true,
        show: |settings| match settings.separation {
            Separation::Warn => "warn",
            Separation::Refuse => "refuse",
        },
        put: |settings, value| {
            put(
                &mut settings.separation,
                match value {
                    "warn" => Some(Separation::Warn),
                    "refuse" => Some(Separation::Refuse),
                    _ => None,
                },
            )
        },
    },
    Setting {
        name: "CasemateOctKeyOps",
        kind: SettingKind::Choice(&["omit", "azure"]),
        is_of_rights: false,
        show: |settings| match settings.oct_key_ops {
            OctKeyOps::Omit => "omit",
            OctKeyOps::Azure => "azure",
        },
        put: |settings, value| {
            put(
                &mut settings.oct_key_ops,
                match value {
                    "omit" => Some(OctKeyOps::Omit),
                    "azure" => Some(OctKeyOps::Azure),
                    _ => None,
                },
            )
        },
    },
    Setting {
        name: AUDIT_LOSS_ACCEPTED,
        kind: SettingKind::Boolean,
        is_of_rights: false,
        show: |settings| boolean(settings.audit_loss_accepted),
        put: |settings, value| put_boolean(&mut settings.audit_loss_accepted, value),
    },
];

/// The setting of this name, compared without case.
pub fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

impl Setting {
    /// The name in lower case: the last part of its record's path.
    pub(crate) fn folded(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// These settings with another value of this one. The value is compared without case.
    pub(crate) fn with(&self, settings: &Settings, value: &str) -> Option<Settings> {
        let mut changed = settings.clone();
        (self.put)(&mut changed, &value.to_ascii_lowercase()).then_some(changed)
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Setting {}

impl SettingKind {
    /// The type as the API names it.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Choice(_) => "string",
        }
    }

    /// The values that there are.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Boolean => &["true", "false"],
            Self::Choice(words) => words,
        }
    }
}

fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn put_boolean(place: &mut bool, value: &str) -> bool {
    put(place, value.parse().ok())
}

fn put<T>(place: &mut T, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    *place = value;
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::RetentionDays;

    fn settings() -> Settings {
        Settings {
            tenant: uuid::Uuid::nil(),
            authority: String::new(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            outbound: Vec::new(),
            retention_days: RetentionDays::new(7).unwrap(),
            purge_protection: false,
            oct_key_ops: OctKeyOps::Omit,
            escalation: Escalation::Strict,
            separation: Separation::default(),
            arm_key_operations: false,
            audit_loss_accepted: false,
            development: false,
        }
    }

    #[test]
    fn each_takes_its_own_values_and_no_others() {
        for setting in SETTINGS {
            for value in setting.kind.values() {
                let changed = setting.with(&settings(), value).unwrap();
                assert_eq!((setting.show)(&changed), *value, "{setting:?}");
                let shouted = setting.with(&settings(), &value.to_uppercase()).unwrap();
                assert_eq!(shouted, changed, "{setting:?}");
            }
            for bad in ["", " true", "true ", "yes", "1", "null", "strict,azure", "tru\u{17f}"] {
                assert_eq!(setting.with(&settings(), bad), None, "{setting:?} {bad:?}");
            }
        }
    }

    #[test]
    fn a_change_touches_nothing_else() {
        for setting in SETTINGS {
            for value in setting.kind.values() {
                let changed = setting.with(&settings(), value).unwrap();
                for other in SETTINGS.iter().filter(|other| *other != setting) {
                    let (before, after) = ((other.show)(&settings()), (other.show)(&changed));
                    assert_eq!(before, after, "{setting:?} changed {other:?}");
                }
                let undone = setting.with(&changed, (setting.show)(&settings())).unwrap();
                assert_eq!(undone, settings());
            }
        }
    }

    #[test]
    fn names_differ_without_case_and_fit_a_path() {
        let names: BTreeSet<_> = SETTINGS.iter().map(Setting::folded).collect();
        assert_eq!(names.len(), SETTINGS.len());
        for name in names {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
        }
    }

    #[test]
    fn what_nobody_changed_is_safe() {
        let safe = ["false", "strict", "warn", "omit", "false"];
        let shown: Vec<_> = SETTINGS.iter().map(|setting| (setting.show)(&settings())).collect();
        assert_eq!(shown.into_iter().take(safe.len()).collect::<Vec<_>>(), safe);
        assert!(setting("allowkeymanagementoperationsthrougharm").is_some());
        assert!(setting("AllowKeyManagementOperationsThroughARM ").is_none());
        assert!(setting("tenant").is_none(), "whom the HSM believes is not in the table");
    }
}
