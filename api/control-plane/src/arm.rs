//! The bodies of resources, and which path names which of them. Pure.

use serde_json::{Value, json};

use crate::answer::{Refusal, list};
use crate::settings::{ControlPlaneSettings, ManagedHsm};

const HSM_TYPE: &str = "Microsoft.KeyVault/managedHSMs";

/// What is asked, and of what.
pub(crate) struct Reader<'a> {
    pub(crate) settings: &'a ControlPlaneSettings,
    pub(crate) hsms: &'a [ManagedHsm],
    /// What subscriptions carry as `tenantId`: the name under which the caller logged in.
    pub(crate) tenant_as_asked: String,
    /// `$filter` of the request.
    pub(crate) filter: Option<String>,
}

impl Reader<'_> {
    /// The body for a path, given as its segments in lower case and as they were sent.
    pub(crate) fn read(&self, lower: &[&str], sent: &[&str]) -> Result<Value, Refusal> {
        match lower {
            ["tenants"] => Ok(list(vec![self.tenant()])),
            ["subscriptions"] => Ok(list(vec![self.subscription()])),
            ["subscriptions", id, rest @ ..] => {
                self.check_subscription(id, sent[1])?;
                self.in_subscription(rest, &sent[2..])
            }
            _ => Err(Refusal::PathNotOffered),
        }
    }

    fn in_subscription(&self, lower: &[&str], sent: &[&str]) -> Result<Value, Refusal> {
        match lower {
            [] => Ok(self.subscription()),
            ["resources"] => Ok(list(self.resources())),
            ["resourcegroups"] => Ok(list(vec![self.resource_group()])),
            ["resourcegroups", group, rest @ ..] => {
                self.check_group(group, sent[1])?;
                match rest {
                    [] => Ok(self.resource_group()),
                    ["resources"] => Ok(list(self.resources())),
                    ["providers", "microsoft.keyvault", "managedhsms", name] => {
                        self.hsm_called(name, sent[sent.len() - 1])
                    }
                    ["providers", "microsoft.keyvault", kind] => self.listed(kind),
                    _ => Err(Refusal::PathNotOffered),
                }
            }
            ["providers", "microsoft.keyvault", "locations", _, "deletedmanagedhsms", _] => {
                Err(Refusal::NothingDeleted { name: sent[sent.len() - 1].to_owned() })
            }
            ["providers", "microsoft.keyvault", "deletedmanagedhsms" | "deletedvaults"] => {
                Ok(list(Vec::new()))
            }
            ["providers", "microsoft.keyvault", kind] => self.listed(kind),
            _ => Err(Refusal::PathNotOffered),
        }
    }

    fn listed(&self, kind: &str) -> Result<Value, Refusal> {
        match kind {
            "managedhsms" => Ok(list(self.hsms.iter().map(|hsm| self.hsm(hsm)).collect())),
            "vaults" => Ok(list(Vec::new())),
            _ => Err(Refusal::PathNotOffered),
        }
    }

    /// The generic list. Of the filter language only the type matters here: a filter that names
    /// another type finds nothing.
    fn resources(&self) -> Vec<Value> {
        let filter = self.filter.as_deref().unwrap_or_default().to_ascii_lowercase();
        if filter.contains("resourcetype") && !filter.contains(&HSM_TYPE.to_ascii_lowercase()) {
            return Vec::new();
        }
        let resource = |hsm: &ManagedHsm| {
            let (id, location) = (self.hsm_id(&hsm.name), &self.settings.location);
            json!({ "id": id, "name": hsm.name, "type": HSM_TYPE, "location": location })
        };
        self.hsms.iter().map(resource).collect()
    }

    fn hsm_called(&self, lower: &str, sent: &str) -> Result<Value, Refusal> {
        let found = self.hsms.iter().find(|hsm| hsm.name.to_ascii_lowercase() == lower);
        let found = found.ok_or_else(|| Refusal::ManagedHsmNotFound { name: sent.to_owned() })?;
        Ok(self.hsm(found))
    }

    fn check_subscription(&self, lower: &str, sent: &str) -> Result<(), Refusal> {
        if lower == self.settings.subscription.to_string() {
            return Ok(());
        }
        Err(Refusal::SubscriptionNotFound { subscription: sent.to_owned() })
    }

    fn check_group(&self, lower: &str, sent: &str) -> Result<(), Refusal> {
        if lower == self.settings.resource_group.to_ascii_lowercase() {
            return Ok(());
        }
        Err(Refusal::ResourceGroupNotFound { resource_group: sent.to_owned() })
    }

    fn tenant(&self) -> Value {
        let tenant = self.settings.tenant;
        json!({
            "id": format!("/tenants/{tenant}"),
            "tenantId": self.tenant_as_asked,
            "displayName": self.settings.cloud_name,
            "tenantCategory": "Home",
        })
    }

    fn subscription(&self) -> Value {
        let id = self.settings.subscription;
        json!({
            "id": format!("/subscriptions/{id}"),
            "subscriptionId": id,
            "displayName": self.settings.subscription_name,
            "state": "Enabled",
            "tenantId": self.tenant_as_asked,
            "authorizationSource": "RoleBased",
            "managedByTenants": [],
        })
    }

    fn group_id(&self) -> String {
        let ControlPlaneSettings { subscription, resource_group, .. } = self.settings;
        format!("/subscriptions/{subscription}/resourceGroups/{resource_group}")
    }

    fn resource_group(&self) -> Value {
        json!({
            "id": self.group_id(),
            "name": self.settings.resource_group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.settings.location,
            "properties": { "provisioningState": "Succeeded" },
        })
    }

    fn hsm_id(&self, name: &str) -> String {
        format!("{}/providers/{HSM_TYPE}/{name}", self.group_id())
    }

    fn hsm(&self, hsm: &ManagedHsm) -> Value {
        let (status, message) = if hsm.activation.is_active() {
            ("Active", "Your HSM has been activated and can be used for cryptographic operations.")
        } else {
            ("NotActivated", "Your HSM has been provisioned, but not activated.")
        };
        json!({
            "id": self.hsm_id(&hsm.name),
            "name": hsm.name,
            "type": HSM_TYPE,
            "location": self.settings.location,
            "sku": { "family": "B", "name": "Standard_B1" },
            "tags": {},
            "properties": {
                "tenantId": self.settings.tenant,
                "initialAdminObjectIds": hsm.initial_admins,
                // Azure's ends with a slash.
                "hsmUri": format!("{}/", hsm.uri),
                "enableSoftDelete": true,
                "softDeleteRetentionInDays": hsm.retention_days,
                "enablePurgeProtection": hsm.purge_protection,
                "provisioningState": "Succeeded",
                "statusMessage": "The Managed HSM is provisioned and ready to use.",
                "publicNetworkAccess": "Enabled",
                "networkAcls": { "bypass": "None", "defaultAction": "Allow", "ipRules": [] },
                "privateEndpointConnections": [],
                "regions": [],
                "securityDomainProperties": {
                    "activationStatus": status,
                    "activationStatusMessage": message,
                },
            },
        })
    }
}
