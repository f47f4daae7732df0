//! The commands of `az` that make at the other HSM what can be made there, and what has to be done
//! by hand since no command says it safely or truly.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::legible::{ascii, legible};
use crate::plan::{Kind, PlannedKey, Way};
use crate::read::{Found, FoundKey};
use crate::words::{option, tags};

/// The operations that `az` and the other HSM know (Key Vault REST API, `JsonWebKeyOperation`),
/// without `export`, which needs a release policy.
pub(crate) const OPERATIONS: [&str; 7] =
    ["decrypt", "encrypt", "import", "sign", "unwrapKey", "verify", "wrapKey"];
/// How `az` knows a role's whole id: a role of such a name it would never look up by its name.
const ROLE_ID_BEGIN: &str = "microsoft.keyvault/providers/";

/// What a plan has its reader do.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) commands: Vec<String>,
    pub(crate) by_hand: Vec<ByHand>,
}

/// What has no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ByHand {
    /// A key.
    #[error(
        "key {key}: {why}, so there is no command for it; make it through the REST API (POST \
         /keys/{key}/create)"
    )]
    Key { key: String, why: KeyReason },
    /// A role that somebody wrote.
    #[error(
        "role definition {role:?}: {why}; write the role anew (`az keyvault role definition \
         create`)"
    )]
    Role { role: String, why: RoleReason },
    /// Who has a role.
    #[error(
        "role assignment {id:?} of {principal:?} at {scope:?}: {why}; decide who shall have what, \
         and assign it (`az keyvault role assignment create`)"
    )]
    Assignment { id: String, principal: String, scope: String, why: AssignmentReason },
    /// A vault says nothing about who may use it.
    #[error(
        "the source has no roles of its own: who may use its keys stands in the access policies or \
         the Azure RBAC of the vault, which this API does not tell. Look with `az keyvault show \
         --name NAME` and `az role assignment list --scope ID`, and assign roles at the new HSM"
    )]
    Access,
}

/// Why a key has no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyReason {
    #[error("its tag {0:?} is nothing that az can be given safely")]
    Tag(String),
    #[error("its {0} is no time of the calendar")]
    Time(&'static str),
}

/// Why a role has no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RoleReason {
    #[error("it has no name")]
    NoName,
    #[error("it has other than one set of permissions, and az takes one")]
    Sets,
    #[error("its permissions are not as the API has them")]
    Permissions,
    #[error("it is not for the scope `/` alone, and az makes roles for that alone")]
    Scopes,
}

/// Why an assignment has no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AssignmentReason {
    #[error("its principal is no GUID")]
    Principal,
    #[error("its scope is none of a managed HSM")]
    Scope,
    #[error("its role was not told")]
    UnknownRole,
    #[error("its role has to be made by hand first")]
    RoleByHand,
    #[error("more than one role has the name of its role")]
    Ambiguous,
    #[error("the name of its role is nothing that az can be given safely")]
    RoleName,
    #[error("it has a condition, which no managed HSM knows")]
    Condition,
}

/// Definitions, then keys, then assignments: each can name only what is there already.
pub(crate) fn all(found: &Found, keys: &[PlannedKey]) -> Steps {
    let mut steps = Steps::default();
    let mut roles_by_hand = BTreeSet::new();
    for item in &found.definitions {
        match definition(item) {
            Ok(command) => steps.commands.push(command),
            Err(why) => {
                let properties = &item["properties"];
                roles_by_hand.insert(text(&item["name"]));
                steps
                    .by_hand
                    .push(ByHand::Role { role: legible(text(&properties["roleName"])), why });
            }
        }
    }
    for (key, planned) in found.keys.iter().zip(keys) {
        if !matches!(planned.way, Way::Recreate | Way::Rewrap) {
            continue;
        }
        match create(key) {
            Ok(command) => steps.commands.extend(command),
            Err(why) => steps.by_hand.push(ByHand::Key { key: key.name.clone(), why }),
        }
    }
    for item in &found.assignments {
        match assignment(item, found, &roles_by_hand) {
            Ok(command) => steps.commands.push(command),
            Err(why) => steps.by_hand.push(told(item, why)),
        }
    }
    if !found.has_roles {
        steps.by_hand.push(ByHand::Access);
    }
    steps
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn definition(item: &Value) -> Result<String, RoleReason> {
    let properties = &item["properties"];
    if text(&properties["roleName"]).is_empty() {
        return Err(RoleReason::NoName);
    }
    let Some([Value::Object(permission)]) = properties["permissions"].as_array().map(Vec::as_slice)
    else {
        return Err(RoleReason::Sets);
    };
    let mut role = json!({
        "roleName": properties["roleName"],
        "description": text(&properties["description"]),
        "assignableScopes": ["/"],
    });
    for member in ["actions", "notActions", "dataActions", "notDataActions"] {
        role[member] = list(permission.get(member)).ok_or(RoleReason::Permissions)?;
    }
    let is_known = |member: &str| role.get(member).is_some();
    if permission.iter().any(|(member, value)| !is_known(member) && !value.is_null()) {
        return Err(RoleReason::Permissions);
    }
    match &properties["assignableScopes"] {
        Value::Null => {}
        scopes if *scopes == json!(["/"]) => {}
        _ => return Err(RoleReason::Scopes),
    }
    // What begins with a brace is neither an option nor a file.
    let role =
        option("--role-definition", &ascii(&role.to_string())).ok_or(RoleReason::Permissions)?;
    Ok(format!("az keyvault role definition create --hsm-name HSM {role}"))
}

/// A list of words; one that is not told is empty.
fn list(value: Option<&Value>) -> Option<Value> {
    match value {
        None | Some(Value::Null) => Some(json!([])),
        Some(Value::Array(words)) if words.iter().all(Value::is_string) => Some(json!(words)),
        Some(_) => None,
    }
}

fn create(key: &FoundKey) -> Result<Option<String>, KeyReason> {
    let Some(newest) = key.versions.first() else { return Ok(None) };
    let jwk = &newest.bundle["key"];
    let kind = match Kind::of(jwk) {
        Kind::Rsa(bits) => format!("--kty RSA-HSM --size {bits}"),
        Kind::Ec(curve) => format!("--kty EC-HSM --curve {curve}"),
        Kind::Oct(size) => format!("--kty oct-HSM --size {}", size.unwrap_or(256)),
        Kind::Other(_) => return Ok(None),
    };
    // Letters, digits and hyphens, of which the first may be a hyphen.
    let mut command = format!("az keyvault key create --hsm-name HSM --name={} {kind}", key.name);
    let ops = jwk["key_ops"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ops: Vec<&str> = ops.filter(|op| OPERATIONS.contains(op)).collect();
    if !ops.is_empty() {
        command.push_str(&format!(" --ops {}", ops.join(" ")));
    }
    let attributes = &newest.bundle["attributes"];
    if attributes["enabled"] == false {
        command.push_str(" --disabled true");
    }
    for (member, option) in [("nbf", "--not-before"), ("exp", "--expires")] {
        if !attributes[member].is_null() {
            let at = attributes[member].as_i64().and_then(utc).ok_or(KeyReason::Time(member))?;
            command.push_str(&format!(" {option} {at}"));
        }
    }
    match &newest.bundle["tags"] {
        Value::Null => {}
        Value::Object(map) => {
            let words = tags(map).map_err(|name| KeyReason::Tag(legible(name)))?;
            command.extend(words.map(|words| format!(" {words}")));
        }
        _ => return Err(KeyReason::Tag(String::new())),
    }
    Ok(Some(command))
}

fn assignment(
    item: &Value,
    found: &Found,
    roles_by_hand: &BTreeSet<&str>,
) -> Result<String, AssignmentReason> {
    let properties = &item["properties"];
    let principal = text(&properties["principalId"]);
    let scope = text(&properties["scope"]);
    if !is_guid(principal) {
        return Err(AssignmentReason::Principal);
    }
    if !is_scope(scope) {
        return Err(AssignmentReason::Scope);
    }
    if !properties["condition"].is_null() {
        return Err(AssignmentReason::Condition);
    }
    let id = text(&properties["roleDefinitionId"]).rsplit('/').next().unwrap_or_default();
    let role = found.roles.get(id).ok_or(AssignmentReason::UnknownRole)?;
    if roles_by_hand.contains(id) {
        return Err(AssignmentReason::RoleByHand);
    }
    let folded = |name: &str| name.trim().to_lowercase();
    let alike = found.roles.values().filter(|name| folded(name) == folded(role));
    if alike.count() != 1 {
        return Err(AssignmentReason::Ambiguous);
    }
    if role.is_empty() || is_guid(role) || role.to_lowercase().starts_with(ROLE_ID_BEGIN) {
        return Err(AssignmentReason::RoleName);
    }
    let role = option("--role", role).ok_or(AssignmentReason::RoleName)?;
    Ok(format!(
        "az keyvault role assignment create --hsm-name HSM --assignee-object-id={principal} {role} \
         --scope={scope}"
    ))
}

fn told(item: &Value, why: AssignmentReason) -> ByHand {
    let of = |member: &str| legible(text(&item["properties"][member]));
    let id = text(&item["name"]);
    let id = if id.is_empty() { text(&item["id"]) } else { id };
    ByHand::Assignment { id: legible(id), principal: of("principalId"), scope: of("scope"), why }
}

/// `/`, `/keys` or `/keys/NAME`.
fn is_scope(scope: &str) -> bool {
    matches!(scope, "/" | "/keys")
        || scope.strip_prefix("/keys/").is_some_and(crate::names::is_name)
}

fn is_guid(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.into_iter().all(is_hex)
}

/// Unix seconds as `az` takes them: `YYYY-MM-DDTHH:MM:SSZ`.
pub(crate) fn utc(at: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(at).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests;
