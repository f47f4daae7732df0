//! The commands of `az` that make at the other HSM what can be made there.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::plan::{Kind, PlannedKey, Way};
use crate::read::{Found, FoundKey};

/// Definitions, then keys, then assignments: each can name only what is there already.
pub(crate) fn all(found: &Found, keys: &[PlannedKey]) -> Vec<String> {
    let mut all: Vec<String> = found.definitions.iter().map(definition).collect();
    for (key, planned) in found.keys.iter().zip(keys) {
        if matches!(planned.way, Way::Recreate | Way::Rewrap) {
            all.extend(create(key));
        }
    }
    all.extend(found.assignments.iter().filter_map(|one| assignment(one, found)));
    all
}

fn definition(item: &Value) -> String {
    let properties = &item["properties"];
    let permission = &properties["permissions"][0];
    let list = |member: &str| permission[member].as_array().cloned().unwrap_or_default();
    let role = serde_json::json!({
        "roleName": properties["roleName"],
        "description": properties["description"],
        "actions": list("actions"),
        "notActions": list("notActions"),
        "dataActions": list("dataActions"),
        "notDataActions": list("notDataActions"),
        "assignableScopes": ["/"],
    });
    let role = quoted(&role.to_string());
    format!("az keyvault role definition create --hsm-name HSM --role-definition {role}")
}

fn create(key: &FoundKey) -> Option<String> {
    let newest = key.versions.first()?;
    let jwk = &newest.bundle["key"];
    let kind = match Kind::of(jwk) {
        Kind::Rsa(bits) => format!("--kty RSA-HSM --size {bits}"),
        Kind::Ec(curve) => format!("--kty EC-HSM --curve {curve}"),
        Kind::Oct(size) => format!("--kty oct-HSM --size {}", size.unwrap_or(256)),
        Kind::Other(_) => return None,
    };
    let mut text = format!("az keyvault key create --hsm-name HSM --name {} {kind}", key.name);
    let ops = jwk["key_ops"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let ops: Vec<&str> = ops.filter(|op| is_word(op) && *op != "export").collect();
    if !ops.is_empty() {
        text.push_str(&format!(" --ops {}", ops.join(" ")));
    }
    let attributes = &newest.bundle["attributes"];
    if attributes["enabled"] == false {
        text.push_str(" --disabled true");
    }
    for (member, option) in [("nbf", "--not-before"), ("exp", "--expires")] {
        if let Some(at) = attributes[member].as_i64().and_then(utc) {
            text.push_str(&format!(" {option} {at}"));
        }
    }
    let tags = newest.bundle["tags"].as_object().into_iter().flatten();
    let tags = tags.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
    let tags: Vec<String> = tags.map(|tag| quoted(&tag)).collect();
    if !tags.is_empty() {
        text.push_str(&format!(" --tags {}", tags.join(" ")));
    }
    Some(text)
}

/// Nothing for a principal or scope that is no such thing: a command is never made of what a source
/// could have written into one.
fn assignment(item: &Value, found: &Found) -> Option<String> {
    let properties = &item["properties"];
    let principal = properties["principalId"].as_str().filter(|id| is_guid(id))?;
    let scope = properties["scope"].as_str().filter(|scope| scope.starts_with('/'))?;
    let id = properties["roleDefinitionId"].as_str()?.rsplit('/').next()?;
    let role = found.roles.get(id).map_or(id, String::as_str);
    Some(format!(
        "az keyvault role assignment create --hsm-name HSM --assignee-object-id {principal} --role \
         {} --scope {}",
        quoted(role),
        quoted(scope)
    ))
}

/// As one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Unix seconds as `az` takes them: `YYYY-MM-DDTHH:MM:SSZ`.
fn utc(at: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(at).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(at).as_deref(), Some(text));
        }
        assert_eq!(utc(i64::MAX), None);
    }

    #[test]
    fn what_a_source_says_is_a_word_and_no_command() {
        assert_eq!(quoted("it's $(x) `y`"), r"'it'\''s $(x) `y`'");
        let of = |principal: &str, scope: &str| {
            let item = json!({"properties": {"principalId": principal, "scope": scope,
                "roleDefinitionId": "a/b/'; rm -rf /"}});
            assignment(&item, &Found::default())
        };
        let id = "00000000-0000-4000-8000-000000000001";
        let command = of(id, "/keys/pay'; x").unwrap();
        assert!(command.contains(r"--scope '/keys/pay'\''; x'"), "{command}");
        assert_eq!(of("$(x)", "/"), None);
        assert_eq!(of(id, "keys"), None);
    }
}
