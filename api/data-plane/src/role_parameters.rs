//! Bodies and queries about roles, turned into requests of the domain.

use std::borrow::Cow;

use casemate_hsm::rbac::{
    Action, ControlAction, DefinitionError, Description, NewAssignment, NewDefinition, Permission,
    Permissions, Principal, Question, RoleName, Scope,
};
use casemate_wire::{
    PermissionRequest, RoleAssignmentCreateParameters, RoleDefinitionCreateParameters,
};
use uuid::Uuid;

use crate::body::json;
use crate::parameters::{BadParameter, GROUPS_MAX, Given};
use crate::query::Query;
use crate::refusal::Refusal;

pub(crate) fn assignment(
    body: &[u8],
    name: Uuid,
    groups_known: bool,
) -> Result<NewAssignment, Refusal> {
    let wire: RoleAssignmentCreateParameters<'_> = json(body)?;
    let principal = Uuid::try_parse(wire.properties.principal_id.trim())
        .map_err(|_| BadParameter::PrincipalId)?;
    let role = role_definition_id(&wire.properties.role_definition_id)
        .ok_or(BadParameter::RoleDefinitionId)?;
    Ok(NewAssignment { name, role, principal, groups_known })
}

/// The GUID alone, or any path that ends with `roleDefinitions/GUID`.
fn role_definition_id(text: &str) -> Option<Uuid> {
    let text = text.trim_matches('/');
    let (before, last) = text.rsplit_once('/').unwrap_or(("roleDefinitions", text));
    let kind = before.rsplit('/').next()?;
    if !kind.eq_ignore_ascii_case("roleDefinitions") {
        return None;
    }
    Uuid::try_parse(last).ok()
}

pub(crate) fn definition(
    body: &[u8],
    id: Uuid,
    groups_known: bool,
) -> Result<NewDefinition, Refusal> {
    let wire: RoleDefinitionCreateParameters<'_> = json(body)?;
    let wire = wire.properties;
    let root = |scope: &Cow<'_, str>| scope.trim_matches('/').is_empty();
    if !wire.assignable_scopes.iter().flatten().all(root) {
        return Err(BadParameter::AssignableScopes.into());
    }
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
    let permissions = wire.permissions.iter().flatten().enumerate().map(permission);
    let permissions = permissions.collect::<Result<Vec<_>, BadParameter>>()?;
    let read = || {
        Ok::<_, DefinitionError>(NewDefinition {
            id,
            role_name: RoleName::new(&text(&wire.role_name))?,
            description: Description::new(&text(&wire.description))?,
            permissions: Permissions::new(permissions)?,
            groups_known,
        })
    };
    Ok(read().map_err(BadParameter::from)?)
}

type Texts<'a> = Option<Vec<Cow<'a, str>>>;

fn permission(
    (permission, wire): (usize, &PermissionRequest<'_>),
) -> Result<Permission, BadParameter> {
    Ok(Permission {
        actions: control_actions(&wire.actions)?,
        not_actions: control_actions(&wire.not_actions)?,
        data_actions: data_actions(permission, "dataActions", &wire.data_actions)?,
        not_data_actions: data_actions(permission, "notDataActions", &wire.not_data_actions)?,
    })
}

fn control_actions(texts: &Texts<'_>) -> Result<Vec<ControlAction>, BadParameter> {
    texts.iter().flatten().map(|text| Ok(ControlAction::new(text)?)).collect()
}

/// Whole names only: what is not known here would be allowed by whatever release knows it first.
fn data_actions(
    permission: usize,
    list: &'static str,
    texts: &Texts<'_>,
) -> Result<Vec<Action>, BadParameter> {
    let known = |(index, text): (usize, &Cow<'_, str>)| {
        let action = Action::parse(text).filter(|action| action.name().len() == text.len());
        let given = || Given::action(text);
        action.ok_or_else(|| BadParameter::DataAction { permission, list, index, given: given() })
    };
    texts.iter().flatten().enumerate().map(known).collect()
}

/// What is to be explained, and where.
pub(crate) fn question(query: &Query) -> Result<(Question, Scope), BadParameter> {
    let (Some(principal), Some(action), Some(scope)) =
        (&query.principal, &query.action, &query.scope)
    else {
        return Err(BadParameter::ExplanationLacks);
    };
    let id = Uuid::try_parse(principal.trim()).map_err(|_| BadParameter::ExplanationLacks)?;
    let listed = query.groups.as_deref().unwrap_or_default();
    let listed = listed.split(',').map(str::trim).filter(|text| !text.is_empty());
    let groups: Result<Vec<_>, _> = listed.take(GROUPS_MAX + 1).map(Uuid::try_parse).collect();
    let groups = groups.ok().filter(|groups| groups.len() <= GROUPS_MAX);
    let principal = Principal { id, groups: groups.ok_or(BadParameter::Groups)? };
    let named = Action::parse(action.trim());
    let action = named.ok_or_else(|| BadParameter::Action(Given::action(action)))?;
    let scope = Scope::parse(scope.trim()).map_err(|_| BadParameter::Scope)?;
    Ok((Question { principal, action }, scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_definitions_may_be_named_in_several_ways() {
        let guid = "a290e904-7015-4bba-90c8-60543313cdb4";
        let id = Uuid::parse_str(guid).ok();
        for text in [
            guid.to_owned(),
            format!("Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/{guid}"),
            format!("/Microsoft.KeyVault/providers/Microsoft.Authorization/roledefinitions/{guid}"),
            format!("/providers/Microsoft.Authorization/roleDefinitions/{guid}/"),
        ] {
            assert_eq!(role_definition_id(&text), id, "{text}");
        }
        for bad in ["", "roleDefinitions", "Managed HSM Crypto User", &format!("x/{guid}")] {
            assert_eq!(role_definition_id(bad), None, "{bad}");
        }
    }

    fn allowed(body: &str) -> Result<Vec<Action>, String> {
        let made = definition(body.as_bytes(), Uuid::nil(), true);
        let made = made.map_err(|refusal| refusal.to_string())?;
        let permissions = made.permissions.into_vec();
        Ok(permissions.iter().flat_map(|one| one.allowed().iter().collect::<Vec<_>>()).collect())
    }

    #[test]
    fn definitions_allow_what_they_list_by_whole_names() {
        let full = r#"{"properties":{"roleName":"a","permissions":[{"dataActions":
            ["Microsoft.KeyVault/managedHsm/rng/action",
             "microsoft.keyvault/managedhsm/KEYS/create"],
            "notDataActions":["Microsoft.KeyVault/managedHsm/rng/action"],
            "actions":["*"],"notActions":["a/b"]}],"assignableScopes":["/",""]}}"#;
        assert_eq!(allowed(full), Ok(vec![Action::KeysCreate]));
        assert_eq!(allowed(r#"{"properties":{}}"#), Ok(vec![]));
        for bad in ["*", "keys/create", "/keys/create", "Microsoft.KeyVault/managedHsm/keys/*", ""]
        {
            for list in ["dataActions", "notDataActions"] {
                let permission = format!(r#"{{"{list}":["{bad}"]}}"#);
                let body = format!(r#"{{"properties":{{"permissions":[{permission}]}}}}"#);
                assert!(allowed(&body).unwrap_err().contains("no wildcard"), "{body}");
            }
        }
        let wrong = r#"{"properties":{"permissions":[{},{"notDataActions":[
            "Microsoft.KeyVault/managedHsm/rng/action",
            "Microsoft.KeyVault/managedHsm/keys/sing"]}]}}"#;
        let said = allowed(wrong).unwrap_err();
        let place =
            "'Microsoft.KeyVault/managedHsm/keys/sing' at 'permissions[1].notDataActions[1]'";
        assert!(said.contains(place), "{said}");
        // What could be a key that was put there by mistake is not repeated.
        let key = "Zk9wYXNzd29yZC1vZi1zb21lYm9keQAAAAAAAAAAAAA";
        let body = format!(r#"{{"properties":{{"permissions":[{{"dataActions":["{key}"]}}]}}}}"#);
        let said = allowed(&body).unwrap_err();
        assert!(said.contains("'of 43 bytes' at 'permissions[0].dataActions[0]'"), "{said}");
        for scope in ["/keys", "/subscriptions/x", "/*"] {
            let body = format!(r#"{{"properties":{{"assignableScopes":["{scope}"]}}}}"#);
            assert!(allowed(&body).unwrap_err().contains("assignableScopes"), "{scope}");
        }
    }

    #[test]
    fn questions_need_a_principal_an_action_and_a_scope() {
        let of = |principal: &str, action: &str, scope: &str, groups: &str| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| text != "-");
            question(&Query {
                principal: text(principal),
                action: text(action),
                scope: text(scope),
                groups: text(groups),
                ..Query::default()
            })
        };
        let id = Uuid::from_u128(7).to_string();
        let (asked, scope) =
            of(&id, "keys/sign/action", "keys/a*", &format!("{id}, {id}")).unwrap();
        assert_eq!((asked.action, asked.principal.groups.len()), (Action::KeysSign, 2));
        assert_eq!(scope.to_string(), "/keys/a*");
        for (principal, action, scope, groups, refusal) in [
            ("-", "rng/action", "/", "-", BadParameter::ExplanationLacks),
            ("me", "rng/action", "/", "-", BadParameter::ExplanationLacks),
            (&id, "-", "/", "-", BadParameter::ExplanationLacks),
            (&id, "rng/action", "-", "-", BadParameter::ExplanationLacks),
            (&id, "rng", "/", "-", BadParameter::Action(Given::new("rng"))),
            (&id, "rng/action", "/secrets", "-", BadParameter::Scope),
            (&id, "rng/action", "/", "us", BadParameter::Groups),
        ] {
            assert_eq!(of(principal, action, scope, groups).unwrap_err(), refusal);
        }
        let many = vec![id.clone(); GROUPS_MAX + 1].join(",");
        assert_eq!(of(&id, "rng/action", "/", &many).unwrap_err(), BadParameter::Groups);
    }
}
