//! Whose records these are: what every line of a trail says alike.

use uuid::Uuid;

use crate::json;

/// The HSM that the records belong to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// The HSM's resource id.
    pub resource_id: &'a str,
    /// The HSM's name.
    pub pool_name: &'a str,
    /// The resource group it was created in; empty if there is none.
    pub resource_group: &'a str,
    /// Its tenant, once it is known.
    pub tenant: Option<Uuid>,
    /// Whether it carries the permanent development mark.
    pub development: bool,
}

impl Origin<'_> {
    /// The end of every line, from the comma on, with the closing brace and the newline.
    pub(crate) fn line_end(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        json::text(&mut out, "resourceId", self.resource_id, json::ORIGIN_BYTES_MAX);
        json::text(&mut out, "PoolName", self.pool_name, json::ORIGIN_BYTES_MAX);
        json::text(&mut out, "resource", self.pool_name, json::ORIGIN_BYTES_MAX);
        json::text(&mut out, "resourceGroup", self.resource_group, json::ORIGIN_BYTES_MAX);
        if let Some(tenant) = self.tenant {
            json::uuid(&mut out, "tenantId", tenant);
        }
        if self.development {
            out.extend_from_slice(b",\"development\":true");
        }
        out.extend_from_slice(
            b",\"resourceProvider\":\"MICROSOFT.KEYVAULT\",\"resourceType\":\"managedHSMs\",\
            \"subnetId\":\"(unknown)\",\"category\":\"AuditEvent\",\
            \"properties\":{\"PoolType\":\"M-HSM\"}}\n",
        );
        out
    }
}
