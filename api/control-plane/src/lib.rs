//! The Azure Resource Manager reads that `az login`, `az keyvault list` and the SDKs need.
//!
//! It answers plain HTTP values from facts that were handed in. It believes tokens for the control
//! plane's own audience only, holds no key, reaches no partition, and changes nothing: who owns
//! everything here has no way into the data plane.

mod answer;
mod arm;
mod cloud_metadata;
mod control_plane;
mod settings;

pub use control_plane::ControlPlane;
pub use settings::{Activation, ControlPlaneSettings, ManagedHsm};
