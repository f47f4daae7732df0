//! `casemate migrate …`: what can be typed. It is carried out where a server can be asked.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands about moving from another vault or HSM.
#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Read a vault or managed HSM through its API, and write down what is to be done with each
    /// key: a new one, wrapping anew, or the same one, brought by its owner. Nothing is changed.
    Plan(Box<MigratePlan>),
}

/// What is read, and where the plan goes.
#[derive(Debug, Args)]
pub struct MigratePlan {
    /// The source, such as https://NAME.managedhsm.azure.net or https://NAME.vault.azure.net.
    pub url: String,
    /// A file with a token for it: `az account get-access-token --query accessToken -o tsv
    /// --resource https://managedhsm.azure.net` (or https://vault.azure.net).
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Where the plan goes, as JSON; there is no such file yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The CAs that the source's certificate may come from, PEM.
    #[arg(long, value_name = "PEM", default_value = "/etc/ssl/certs/ca-certificates.crt")]
    pub ca: PathBuf,
    /// A key that must stay the same one, since others hold on to its public part; may be given
    /// many times.
    #[arg(long, value_name = "NAME")]
    pub keep: Vec<String>,
}
