//! Role definitions: the built-in ones and those that an HSM's own people wrote.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::look::is_plain;
use super::roles::{BuiltInRole, built_in_role};
use super::{Action, ActionSet};
use crate::UnixSeconds;

/// Longest name of a role, in characters.
const ROLE_NAME_CHARS_MAX: usize = 128;
/// Longest description of a role, in characters.
const DESCRIPTION_CHARS_MAX: usize = 1024;
/// Longest control action, in characters.
const CONTROL_ACTION_CHARS_MAX: usize = 256;
/// Most permissions of one role.
const PERMISSIONS_MAX: usize = 16;
/// Most control actions of one role.
const CONTROL_ACTIONS_MAX: usize = 256;

/// A role that somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name, a GUID, chosen by who made it.
    pub id: Uuid,
    /// The name that people use. Empty if it has none.
    pub role_name: RoleName,
    /// What it is for.
    pub description: Description,
    /// What it allows: all that any of these allows.
    pub permissions: Vec<Permission>,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it was last written.
    pub updated: UnixSeconds,
}

impl Definition {
    /// The data actions that it allows.
    pub fn actions(&self) -> ActionSet {
        let allowed = self.permissions.iter().map(Permission::allowed);
        allowed.fold(ActionSet::default(), ActionSet::and)
    }
}

/// A part of what a role allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Control actions: carried, and allow nothing here.
    pub actions: Vec<ControlAction>,
    /// Control actions that are taken away: carried.
    pub not_actions: Vec<ControlAction>,
    /// Data actions.
    #[serde(with = "names")]
    pub data_actions: Vec<Action>,
    /// Data actions that are taken away from those of this permission, not from those that
    /// another permission or another role allows.
    #[serde(with = "names")]
    pub not_data_actions: Vec<Action>,
}

impl Permission {
    /// The data actions that are left.
    pub fn allowed(&self) -> ActionSet {
        ActionSet::of(&self.data_actions).without(ActionSet::of(&self.not_data_actions))
    }
}

/// What is to be written as a role definition.
#[derive(Clone, Debug)]
pub struct NewDefinition {
    /// Its name.
    pub id: Uuid,
    /// The name that people use.
    pub role_name: RoleName,
    /// What it is for.
    pub description: Description,
    /// What it allows.
    pub permissions: Permissions,
    /// Whether all groups of the writer are known: a token can say that there are too many.
    pub groups_known: bool,
}

impl NewDefinition {
    /// The data actions that it would allow.
    pub fn actions(&self) -> ActionSet {
        let allowed = self.permissions.0.iter().map(Permission::allowed);
        allowed.fold(ActionSet::default(), ActionSet::and)
    }
}

/// Why a text or a list cannot be part of a role definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not a name.
    #[error(
        "a role's name has at most {ROLE_NAME_CHARS_MAX} characters, single spaces between its \
         words, letters of one script, composed (NFC), and no symbols but those of ASCII"
    )]
    RoleName,
    /// Not a description.
    #[error("a role's description has at most {DESCRIPTION_CHARS_MAX} characters")]
    Description,
    /// Not a control action.
    #[error("an action has 1 to {CONTROL_ACTION_CHARS_MAX} visible ASCII characters")]
    ControlAction,
    /// Too many permissions.
    #[error("a role has at most {PERMISSIONS_MAX} permissions, not {0}")]
    Permissions(usize),
    /// Too many control actions.
    #[error("a role has at most {CONTROL_ACTIONS_MAX} actions and notActions, not {0}")]
    ControlActions(usize),
}

/// The name of a role, as people write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

impl RoleName {
    /// Checks a text: no name may be taken for another's by the eye. The empty one is the name of a
    /// role that has none.
    pub fn new(text: &str) -> Result<Self, DefinitionError> {
        let text = text.trim();
        let name = Self::stored(text)?;
        if text.contains("  ") || !is_plain(text) {
            return Err(DefinitionError::RoleName);
        }
        Ok(name)
    }

    /// A name that was taken once is read as it is.
    fn stored(text: &str) -> Result<Self, DefinitionError> {
        let whole = text.chars().count() <= ROLE_NAME_CHARS_MAX && !text.contains(char::is_control);
        if whole { Ok(Self(text.to_owned())) } else { Err(DefinitionError::RoleName) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that name: roles are named without regard to case. No role is named by the
    /// empty text.
    pub fn is(&self, name: &str) -> bool {
        !self.0.is_empty() && is_named(&self.0, name)
    }
}

/// What a role is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(String);

impl Description {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, DefinitionError> {
        let whole = text.chars().count() <= DESCRIPTION_CHARS_MAX;
        if whole { Ok(Self(text.to_owned())) } else { Err(DefinitionError::Description) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A control action, which allows nothing here: it is kept for those who read the definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ControlAction(String);

impl ControlAction {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, DefinitionError> {
        let whole = (1..=CONTROL_ACTION_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if whole { Ok(Self(text.to_owned())) } else { Err(DefinitionError::ControlAction) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The permissions of a role, within their limits. An action that stands twice counts once.
#[derive(Clone, Debug, Default)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    /// Checks a list.
    pub fn new(mut permissions: Vec<Permission>) -> Result<Self, DefinitionError> {
        if permissions.len() > PERMISSIONS_MAX {
            return Err(DefinitionError::Permissions(permissions.len()));
        }
        let control = |one: &Permission| one.actions.len() + one.not_actions.len();
        let controls: usize = permissions.iter().map(control).sum();
        if controls > CONTROL_ACTIONS_MAX {
            return Err(DefinitionError::ControlActions(controls));
        }
        for permission in &mut permissions {
            for list in [&mut permission.data_actions, &mut permission.not_data_actions] {
                let mut seen = ActionSet::default();
                list.retain(|action| {
                    let is_new = !seen.contains(*action);
                    seen = seen.and(ActionSet::of(&[*action]));
                    is_new
                });
            }
        }
        Ok(Self(permissions))
    }

    /// The list.
    pub fn into_vec(self) -> Vec<Permission> {
        self.0
    }
}

macro_rules! texts {
    ($($text:ident,)+) => {
        $(
            impl TryFrom<String> for $text {
                type Error = DefinitionError;
                fn try_from(text: String) -> Result<Self, DefinitionError> {
                    Self::new(&text)
                }
            }

            impl From<$text> for String {
                fn from(text: $text) -> Self {
                    text.0
                }
            }
        )+
    };
}

texts! { Description, ControlAction, }

impl TryFrom<String> for RoleName {
    type Error = DefinitionError;
    fn try_from(text: String) -> Result<Self, DefinitionError> {
        Self::stored(&text)
    }
}

impl From<RoleName> for String {
    fn from(text: RoleName) -> Self {
        text.0
    }
}

/// Data actions by their names. One that a release does not know is left out when it is read: such
/// an action is never asked for there, and taking it away takes nothing.
mod names {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Action;

    pub(super) fn serialize<S: Serializer>(actions: &[Action], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(actions.iter().map(|action| action.name()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Action>, D::Error> {
        let names = Vec::<String>::deserialize(d)?;
        Ok(names.iter().filter_map(|name| Action::parse(name)).collect())
    }
}

/// A role, as an assignment finds it.
#[derive(Clone, Debug)]
pub enum Role {
    /// A built-in one.
    BuiltIn(&'static BuiltInRole),
    /// One that somebody wrote.
    Custom(Arc<Definition>),
    /// One that was deleted: it allows nothing.
    Gone(Uuid),
}

impl Role {
    pub(crate) fn built_in(id: Uuid) -> Option<Self> {
        built_in_role(id).map(Self::BuiltIn)
    }

    /// The role definition's name.
    pub fn id(&self) -> Uuid {
        match self {
            Self::BuiltIn(role) => role.id,
            Self::Custom(definition) => definition.id,
            Self::Gone(id) => *id,
        }
    }

    /// The name that people use; empty if there is none.
    pub fn name(&self) -> &str {
        match self {
            Self::BuiltIn(role) => role.name,
            Self::Custom(definition) => definition.role_name.as_str(),
            Self::Gone(_) => "",
        }
    }

    /// The data actions that it allows.
    pub fn actions(&self) -> ActionSet {
        match self {
            Self::BuiltIn(role) => role.actions,
            Self::Custom(definition) => definition.actions(),
            Self::Gone(_) => ActionSet::default(),
        }
    }

    /// Whether people name it so.
    pub fn is_named(&self, name: &str) -> bool {
        match self {
            Self::BuiltIn(role) => is_named(role.name, name),
            Self::Custom(definition) => definition.role_name.is(name),
            Self::Gone(_) => false,
        }
    }
}

/// Whether two names are the same without regard to case.
pub(super) fn is_named(own: &str, name: &str) -> bool {
    own.to_lowercase() == name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_is_taken_from_its_own_permission_alone() {
        let of = |data_actions: &[Action], not_data_actions: &[Action]| Permission {
            data_actions: data_actions.to_vec(),
            not_data_actions: not_data_actions.to_vec(),
            ..Permission::default()
        };
        let (read, sign) = (Action::KeysRead, Action::KeysSign);
        let both = of(&[read, sign], &[sign, Action::Rng]);
        assert_eq!(both.allowed(), ActionSet::of(&[read]));
        let definition = Definition {
            id: Uuid::nil(),
            role_name: RoleName::default(),
            description: Description::default(),
            permissions: vec![both, of(&[sign], &[])],
            created: UnixSeconds(0),
            updated: UnixSeconds(0),
        };
        assert_eq!(definition.actions(), ActionSet::of(&[read, sign]));
    }

    #[test]
    fn texts_and_lists_have_their_limits() {
        for bad in ["\n", "a\u{7f}b", &"x".repeat(129)] {
            let text = format!("a{bad}a");
            assert_eq!(RoleName::new(&text), Err(DefinitionError::RoleName), "{text:?}");
        }
        assert!(RoleName::new(&"ä".repeat(128)).is_ok());
        assert!(Description::new(&"x".repeat(1025)).is_err());
        for bad in ["", "a b", "ä", &"x".repeat(257)] {
            assert_eq!(ControlAction::new(bad), Err(DefinitionError::ControlAction), "{bad:?}");
        }
        let many = vec![Permission::default(); 17];
        assert_eq!(Permissions::new(many).unwrap_err(), DefinitionError::Permissions(17));
        let action = ControlAction::new("a").unwrap();
        let crowded = Permission { actions: vec![action; 257], ..Permission::default() };
        let refused = Permissions::new(vec![crowded]).unwrap_err();
        assert_eq!(refused, DefinitionError::ControlActions(257));
    }

    #[test]
    fn an_action_that_stands_twice_counts_once() {
        let twice = vec![Action::Rng, Action::KeysRead, Action::Rng];
        let one = Permission { data_actions: twice, ..Permission::default() };
        let kept = Permissions::new(vec![one]).unwrap().into_vec();
        assert_eq!(kept[0].data_actions, [Action::Rng, Action::KeysRead]);
    }

    #[test]
    fn a_name_that_was_taken_once_is_still_read() {
        for bad in ["Managed HSM Bac\u{212a}up User", "a\u{ad}b", "a  b"] {
            assert_eq!(RoleName::new(bad), Err(DefinitionError::RoleName), "{bad:?}");
            let stored = RoleName::try_from(bad.to_owned());
            assert_eq!(stored.unwrap().as_str(), bad);
        }
    }

    #[test]
    fn names_are_compared_alike_wherever_they_are() {
        use super::super::roles::built_in_role_named;
        for alike in ["managed hsm BACKUP user", " Managed HSM Bac\u{212a}up User"] {
            assert!(built_in_role_named(alike).is_some(), "{alike:?}");
            let role = Role::BuiltIn(built_in_role_named("Managed HSM Backup User").unwrap());
            assert!(role.is_named(alike), "{alike:?}");
        }
        assert!(built_in_role_named("Managed HSM Backup").is_none());
    }

    #[test]
    fn a_role_without_a_name_is_named_by_nothing() {
        assert!(!RoleName::default().is(""));
        assert!(RoleName::new(" Ärzte ").unwrap().is("ÄRZTE"));
        assert!(!Role::Gone(Uuid::nil()).is_named(""));
    }
}
