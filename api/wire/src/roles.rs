//! Role definitions and assignments. Missing texts are `""` and missing lists `[]`, as in the
//! original.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A role definition.
#[derive(Debug, Serialize)]
pub struct RoleDefinition<'a> {
    /// `Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/GUID`: without a
    /// leading slash, since `az` compares it as a text.
    pub id: String,
    /// The GUID.
    pub name: String,
    /// `Microsoft.Authorization/roleDefinitions`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The rest.
    pub properties: RoleDefinitionProperties<'a>,
}

/// What a role definition says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleDefinitionProperties<'a> {
    /// The name that people use.
    pub role_name: &'a str,
    /// What it is for.
    pub description: &'a str,
    /// `AKVBuiltInRole` or `CustomRole`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// What it allows.
    pub permissions: [Permission<'a>; 1],
    /// Where it can be assigned.
    pub assignable_scopes: [&'a str; 1],
}

/// What a role allows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission<'a> {
    /// Control actions.
    pub actions: Vec<&'a str>,
    /// Control actions that are taken away.
    pub not_actions: Vec<&'a str>,
    /// Data actions.
    pub data_actions: Vec<String>,
    /// Data actions that are taken away.
    pub not_data_actions: Vec<String>,
}

/// A role assignment.
#[derive(Debug, Serialize)]
pub struct RoleAssignment<'a> {
    /// Its scope's path, `/providers/Microsoft.Authorization/roleAssignments/GUID`.
    pub id: String,
    /// The GUID.
    pub name: String,
    /// `Microsoft.Authorization/roleAssignments`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The rest.
    pub properties: RoleAssignmentProperties,
}

/// What a role assignment says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignmentProperties {
    /// Where it holds.
    pub scope: String,
    /// The role definition's id.
    pub role_definition_id: String,
    /// Who holds it.
    pub principal_id: String,
}

/// Body of a role assignment's `PUT`.
#[derive(Debug, Deserialize)]
pub struct RoleAssignmentCreateParameters<'a> {
    /// The one member.
    #[serde(borrow)]
    pub properties: RoleAssignmentRequest<'a>,
}

/// The role assignment that is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignmentRequest<'a> {
    /// The role definition's id.
    #[serde(borrow)]
    pub role_definition_id: Cow<'a, str>,
    /// Who shall hold it.
    #[serde(borrow)]
    pub principal_id: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_both_members() {
        let good = r#"{"properties":{"roleDefinitionId":"a","principalId":"b","scope":"/"}}"#;
        let read: RoleAssignmentCreateParameters<'_> = serde_json::from_str(good).unwrap();
        assert_eq!(read.properties.principal_id, "b");
        for bad in [
            r#"{}"#,
            r#"{"properties":{}}"#,
            r#"{"properties":{"roleDefinitionId":"a"}}"#,
            r#"{"properties":{"roleDefinitionId":"a","principalId":7}}"#,
            r#"{"properties":[]}"#,
        ] {
            let read = serde_json::from_str::<RoleAssignmentCreateParameters<'_>>(bad);
            assert!(read.is_err(), "{bad}");
        }
    }
}
