//! What the domain answers, as JSON. Ids begin with the URL of the name that was asked.

use std::sync::Arc;

use casemate_engine_port::{KeySpec, PublicPart};
use casemate_hsm::keys::{KeyItem, KeyRef, KeyView, PageOf};
use casemate_hsm::rbac::{self, Assignment, BuiltInRole, Role, Scope};
use casemate_hsm::{KeyName, OctKeyOps, VersionId};
use casemate_wire::{
    ApiVersion, BinaryRef, DeletedKeyBundle, DeletionMembers, ExplainedAssignment, Explanation,
    KeyAttributes, KeyBundle, List, MissingRole, Permission, PublicJsonWebKey, RoleAssignment,
    RoleAssignmentProperties, RoleDefinition, RoleDefinitionProperties,
};
use serde::Serialize;
use uuid::Uuid;

use crate::paging::{ListOf, skip_token};

/// Bytes that a usual key bundle takes: what the buffer is made for, not a limit.
const BUNDLE_BYTES: usize = 1536;

/// How one request's answers are written.
#[derive(Clone, Copy)]
pub(crate) struct Style<'a> {
    /// What ids begin with.
    pub(crate) url: &'a str,
    /// For attributes that only newer versions have.
    pub(crate) version: Option<ApiVersion>,
    /// Whether `oct-HSM` bundles list their operations.
    pub(crate) oct_key_ops: OctKeyOps,
}

/// A version's id.
pub(crate) fn kid(url: &str, key: &KeyRef) -> String {
    id(url, "keys", &key.name, Some(key.version))
}

fn id(url: &str, collection: &str, name: &KeyName, version: Option<VersionId>) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut id = String::with_capacity(url.len() + collection.len() + name.as_str().len() + 35);
    for part in [url, "/", collection, "/", name.as_str()] {
        id.push_str(part);
    }
    if let Some(version) = version {
        id.push('/');
        for byte in version.as_bytes() {
            id.push(char::from(HEX[usize::from(byte >> 4)]));
            id.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    id
}

impl Style<'_> {
    /// A key bundle.
    pub(crate) fn bundle(&self, view: &KeyView) -> Vec<u8> {
        let kid = kid(self.url, &view.key);
        json(&self.key_bundle(view, &kid))
    }

    /// A deleted key's bundle.
    pub(crate) fn deleted_bundle(&self, view: &KeyView) -> Vec<u8> {
        let kid = kid(self.url, &view.key);
        let bundle = self.key_bundle(view, &kid);
        match self.deletion(&view.item) {
            Some(deletion) => json(&DeletedKeyBundle { bundle, deletion }),
            None => json(&bundle),
        }
    }

    /// A page of keys, deleted keys or versions; `path` is where the list is.
    pub(crate) fn page(
        &self,
        list: ListOf,
        path: &str,
        items_max: usize,
        page: &PageOf,
    ) -> Vec<u8> {
        let value = page.items.iter().map(|item| self.item(item)).collect();
        let next_link = page.next.as_ref().map(|place| {
            let token = skip_token(list, place);
            format!("{}{path}?maxresults={items_max}&$skiptoken={token}", self.url)
        });
        json(&List { value, next_link })
    }

    fn key_bundle<'a>(&self, view: &'a KeyView, kid: &'a str) -> KeyBundle<'a> {
        let is_oct = matches!(view.spec, KeySpec::Oct(_));
        let shows_ops = !is_oct || self.oct_key_ops == OctKeyOps::Azure;
        let mut key = PublicJsonWebKey {
            kid,
            kty: kty(view.spec),
            key_ops: shows_ops.then(|| view.key_ops.iter().map(|op| op.name()).collect()),
            ..PublicJsonWebKey::default()
        };
        match &view.public {
            PublicPart::Rsa { n, e } => (key.n, key.e) = (Some(BinaryRef(n)), Some(BinaryRef(e))),
            PublicPart::Ec { x, y } => (key.x, key.y) = (Some(BinaryRef(x)), Some(BinaryRef(y))),
            PublicPart::Oct => {}
        }
        if let KeySpec::Ec(curve) = view.spec {
            key.crv = Some(curve.name());
        }
        KeyBundle { key, attributes: self.attributes(&view.item), tags: &view.item.tags }
    }

    fn item<'a>(&self, item: &'a KeyItem) -> casemate_wire::KeyItem<'a> {
        casemate_wire::KeyItem {
            kid: id(self.url, "keys", &item.name, item.version),
            attributes: self.attributes(item),
            tags: &item.tags,
            deletion: self.deletion(item),
        }
    }

    fn attributes(&self, item: &KeyItem) -> KeyAttributes<'static> {
        let shows_size = self.version.is_some_and(ApiVersion::shows_key_size);
        KeyAttributes {
            enabled: item.enabled,
            nbf: item.not_before.map(|time| time.0),
            exp: item.expires.map(|time| time.0),
            created: item.created.0,
            updated: item.updated.0,
            recovery_level: item.recovery_level.name(),
            recoverable_days: item.recoverable_days,
            exportable: false,
            key_size: match item.spec {
                KeySpec::Oct(size) if shows_size => Some(size.bits()),
                KeySpec::Oct(_) | KeySpec::Rsa(_) | KeySpec::Ec(_) => None,
            },
        }
    }

    fn deletion(&self, item: &KeyItem) -> Option<DeletionMembers> {
        item.deletion.map(|deletion| DeletionMembers {
            recovery_id: id(self.url, "deletedkeys", &item.name, None),
            deleted_date: deletion.at.0,
            scheduled_purge_date: deletion.purge_at.0,
        })
    }
}

/// The type on the wire: every key here is an HSM's.
pub(crate) fn kty(spec: KeySpec) -> &'static str {
    match spec {
        KeySpec::Rsa(_) => "RSA-HSM",
        KeySpec::Ec(_) => "EC-HSM",
        KeySpec::Oct(_) => "oct-HSM",
    }
}

/// A scope as the beginning of a path: nothing for `/`.
pub(crate) fn scope_path(scope: &Scope) -> String {
    match scope {
        Scope::Root => String::new(),
        narrower @ (Scope::Keys | Scope::Prefix(_) | Scope::Key(_)) => narrower.to_string(),
    }
}

fn assignment_id(scope: &Scope, name: Uuid) -> String {
    let scope = scope_path(scope);
    format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}")
}

/// A role assignment. Names are the same in any case, but clients compare them letter by letter
/// (`az keyvault role assignment list --scope` does): at the scope that was asked for, it is
/// written as it was asked.
pub(crate) fn assignment(assignment: &Assignment, asked: &Scope) -> RoleAssignment<'static> {
    let scope = if assignment.scope == *asked { asked } else { &assignment.scope };
    RoleAssignment {
        id: assignment_id(scope, assignment.name),
        name: assignment.name.to_string(),
        kind: "Microsoft.Authorization/roleAssignments",
        properties: RoleAssignmentProperties {
            scope: scope.to_string(),
            role_definition_id: definition_id(assignment.role),
            principal_id: assignment.principal.to_string(),
        },
    }
}

/// A role definition.
pub(crate) fn definition(role: &Role) -> RoleDefinition<'_> {
    let (description, kind, permissions) = match role {
        Role::BuiltIn(role) => (role.description, "AKVBuiltInRole", vec![built_in(role)]),
        Role::Custom(own) => {
            let permissions = own.permissions.iter().map(permission).collect();
            (own.description.as_str(), "CustomRole", permissions)
        }
        Role::Gone(_) => ("", "CustomRole", Vec::new()),
    };
    RoleDefinition {
        id: definition_id(role.id()),
        name: role.id().to_string(),
        kind: "Microsoft.Authorization/roleDefinitions",
        properties: RoleDefinitionProperties {
            role_name: role.name(),
            description,
            kind,
            permissions,
            assignable_scopes: ["/"],
        },
    }
}

fn built_in(role: &'static BuiltInRole) -> Permission<'static> {
    Permission {
        actions: role.control_actions.to_vec(),
        data_actions: role.actions.iter().map(|action| action.name()).collect(),
        ..Permission::default()
    }
}

fn permission(own: &rbac::Permission) -> Permission<'_> {
    let data = |actions: &[rbac::Action]| actions.iter().map(|action| action.name()).collect();
    Permission {
        actions: texts(&own.actions),
        not_actions: texts(&own.not_actions),
        data_actions: data(&own.data_actions),
        not_data_actions: data(&own.not_data_actions),
    }
}

fn texts(actions: &[rbac::ControlAction]) -> Vec<&str> {
    actions.iter().map(rbac::ControlAction::as_str).collect()
}

/// An explanation.
pub(crate) fn explanation(
    question: &rbac::Question,
    scope: &Scope,
    told: &rbac::Explanation,
) -> Explanation {
    let one = |(assignment, role): &(Arc<Assignment>, Role)| ExplainedAssignment {
        id: assignment_id(&assignment.scope, assignment.name),
        role_definition_id: definition_id(assignment.role),
        role_name: role.name().to_owned(),
        scope: assignment.scope.to_string(),
        principal_id: assignment.principal.to_string(),
    };
    let missing = told.missing.as_ref().map(|missing| MissingRole {
        role_definition_id: definition_id(missing.role.id),
        role_name: missing.role.name.to_owned(),
        scope: missing.scope.to_string(),
        granted_by_administrators_only: missing.is_reserved,
    });
    Explanation {
        principal_id: question.principal.id.to_string(),
        data_action: question.action.name(),
        scope: scope.to_string(),
        allowed: !told.allowed_by.is_empty(),
        allowed_by: told.allowed_by.iter().map(one).collect(),
        elsewhere: told.elsewhere.iter().map(one).collect(),
        missing,
    }
}

/// In exactly this form, without a leading slash: `az` compares it as a text.
fn definition_id(role: Uuid) -> String {
    format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{role}")
}

/// Writes a shape into one buffer.
pub(crate) fn json(shape: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(BUNDLE_BYTES);
    serde_json::to_writer(&mut out, shape).expect("shapes of texts and numbers can be written");
    out
}
