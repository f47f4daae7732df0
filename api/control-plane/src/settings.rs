//! The facts that the control plane tells. Plain data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

/// What the control plane says of itself and its one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlaneSettings {
    /// The name of the cloud in its metadata.
    pub cloud_name: String,
    /// The resource that tokens for the control plane are asked for, as in
    /// `https://management.localhost:8443`.
    pub audience: String,
    /// The address that a 401 sends clients to: the issuer's base address and the tenant.
    pub authorization: String,
    /// The tenant's GUID.
    pub tenant: Uuid,
    /// The subscription's id.
    pub subscription: Uuid,
    /// The subscription's name.
    pub subscription_name: String,
    /// The resource group that holds the managed HSMs.
    pub resource_group: String,
    /// The location of everything.
    pub location: String,
    /// What follows a managed HSM's name in its host, as in `.managedhsm.localhost:8443`.
    pub managed_hsm_suffix: String,
    /// What follows a vault's name in its host, as in `.vault.localhost:8443`.
    pub key_vault_suffix: String,
    /// What follows a storage account's name, as in `.storage.localhost:8443`.
    pub storage_suffix: String,
}

/// What is known of one managed HSM.
#[derive(Clone, Debug)]
pub struct ManagedHsm {
    /// Its name.
    pub name: String,
    /// Its address.
    pub uri: String,
    /// For how long a deleted key can be recovered, in days.
    pub retention_days: u32,
    /// Whether deleted keys cannot be purged early.
    pub purge_protection: bool,
    /// The object ids of its first administrators.
    pub initial_admins: Vec<Uuid>,
    /// Whether it is active.
    pub activation: Activation,
}

/// Whether an HSM is active, as its partition said last; shared by all copies.
#[derive(Clone, Debug, Default)]
pub struct Activation(Arc<AtomicBool>);

impl Activation {
    /// From now on it is, or it is not.
    pub fn set(&self, activated: bool) {
        self.0.store(activated, Ordering::Release);
    }

    /// Whether it is.
    pub fn is_active(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
