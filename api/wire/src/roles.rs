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
    pub permissions: Vec<Permission<'a>>,
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

/// Body of a role definition's `PUT`.
#[derive(Debug, Deserialize)]
pub struct RoleDefinitionCreateParameters<'a> {
    /// The one member.
    #[serde(borrow)]
    pub properties: RoleDefinitionRequest<'a>,
}

/// The role definition that is asked for. What is left out is empty, as in the original.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleDefinitionRequest<'a> {
    /// The name that people use.
    #[serde(borrow, default)]
    pub role_name: Option<Cow<'a, str>>,
    /// What it is for.
    #[serde(borrow, default)]
    pub description: Option<Cow<'a, str>>,
    /// What it allows.
    #[serde(borrow, default)]
    pub permissions: Option<Vec<PermissionRequest<'a>>>,
    /// Where it can be assigned: `/` and nothing else.
    #[serde(borrow, default)]
    pub assignable_scopes: Option<Vec<Cow<'a, str>>>,
}

/// What is to be allowed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionRequest<'a> {
    /// Control actions.
    #[serde(borrow, default)]
    pub actions: Option<Vec<Cow<'a, str>>>,
    /// Control actions that are taken away.
    #[serde(borrow, default)]
    pub not_actions: Option<Vec<Cow<'a, str>>>,
    /// Data actions.
    #[serde(borrow, default)]
    pub data_actions: Option<Vec<Cow<'a, str>>>,
    /// Data actions that are taken away.
    #[serde(borrow, default)]
    pub not_data_actions: Option<Vec<Cow<'a, str>>>,
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

/// Whether somebody may do something. A call of our own: Azure has none like it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who was asked about.
    pub principal_id: String,
    /// The data action's full name.
    pub data_action: String,
    /// Where.
    pub scope: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// The assignments that allow it.
    pub allowed_by: Vec<ExplainedAssignment>,
    /// Assignments that allow the action at other scopes only.
    pub elsewhere: Vec<ExplainedAssignment>,
    /// The nearest role that would allow it, if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingRole>,
}

/// An assignment with the name of its role.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedAssignment {
    /// The assignment's id.
    pub id: String,
    /// The role definition's id.
    pub role_definition_id: String,
    /// The role's name.
    pub role_name: String,
    /// Where it holds.
    pub scope: String,
    /// Who holds it: the principal or one of its groups.
    pub principal_id: String,
}

/// A role that is missing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRole {
    /// The role definition's id.
    pub role_definition_id: String,
    /// The role's name.
    pub role_name: String,
    /// Where it is missing.
    pub scope: String,
    /// Whether only an Administrator grants it, in mode `strict`.
    pub granted_by_administrators_only: bool,
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

    #[test]
    fn of_a_definition_everything_may_be_left_out_but_not_be_something_else() {
        for good in [
            r#"{"properties":{}}"#,
            r#"{"properties":{"roleName":null,"permissions":null}}"#,
            r#"{"properties":{"permissions":[{}],"type":"CustomRole","assignableScopes":["/"]}}"#,
        ] {
            let read = serde_json::from_str::<RoleDefinitionCreateParameters<'_>>(good);
            assert!(read.is_ok(), "{good}");
        }
        for bad in [
            r#"{}"#,
            r#"{"properties":null}"#,
            r#"{"properties":{"roleName":7}}"#,
            r#"{"properties":{"permissions":{}}}"#,
            r#"{"properties":{"permissions":[{"dataActions":"a"}]}}"#,
            r#"{"properties":{"permissions":[{"dataActions":[null]}]}}"#,
            r#"{"properties":{"assignableScopes":"/"}}"#,
        ] {
            let read = serde_json::from_str::<RoleDefinitionCreateParameters<'_>>(bad);
            assert!(read.is_err(), "{bad}");
        }
    }
}
