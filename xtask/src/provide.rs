//! Brings what the tests need onto this machine: programs, Python clients, JavaScript clients.
//!
//! Each step first looks whether its result is there and does nothing if so; a second run asks
//! neither apt nor a registry. Everything but the apt packages goes into the user's cache.

mod apt;
mod kryoptic;
mod node;
mod python;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

pub(crate) use self::apt::{install_clang, install_programs};
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Where the tests find the clients.
#[derive(Debug)]
pub(crate) struct Provided {
    venv_sdk: PathBuf,
    venv_az: PathBuf,
    venv_sinks: PathBuf,
    venv_backup: PathBuf,
    venv_domain: PathBuf,
    node_modules: PathBuf,
    azurite_modules: PathBuf,
    kryoptic: PathBuf,
    /// The path to look for programs in; the right `node` comes first.
    path: OsString,
}

/// Provides everything, in the order in which one needs the other.
pub(crate) fn provide(workspace: &Workspace) -> Result<Provided, Failure> {
    apt::install_missing()?;
    let venv_sdk = python::venv(workspace, "sdk")?;
    let venv_az = python::venv(workspace, "az")?;
    let venv_sinks = python::venv(workspace, "sinks")?;
    let venv_backup = python::venv(workspace, "backup")?;
    let venv_domain = python::venv(workspace, "domain")?;
    let node = node::program(workspace)?;
    let node_modules = node::modules(workspace, &node, "js", "node")?;
    let azurite_modules = node::modules(workspace, &node, "azurite", "azurite")?;
    let kryoptic = kryoptic::module(workspace)?;
    let path = node::search_path(&node);
    Ok(Provided {
        venv_sdk,
        venv_az,
        venv_sinks,
        venv_backup,
        venv_domain,
        node_modules,
        azurite_modules,
        kryoptic,
        path,
    })
}

/// Provides the second token alone, and says where its module lies.
pub(crate) fn second_token(workspace: &Workspace) -> Result<PathBuf, Failure> {
    kryoptic::module(workspace)
}

impl Provided {
    /// Tells a command, through its environment, where everything is.
    pub(crate) fn tell(&self, command: &mut Command) {
        command
            .env("CASEMATE_VENV_SDK", &self.venv_sdk)
            .env("CASEMATE_VENV_AZ", &self.venv_az)
            .env("CASEMATE_VENV_SINKS", &self.venv_sinks)
            .env("CASEMATE_VENV_BACKUP", &self.venv_backup)
            .env("CASEMATE_VENV_DOMAIN", &self.venv_domain)
            .env("CASEMATE_AZURITE_MODULES", &self.azurite_modules)
            .env("CASEMATE_KRYOPTIC", &self.kryoptic)
            .env("CASEMATE_NODE_MODULES", &self.node_modules)
            .env("PATH", &self.path);
    }
}
