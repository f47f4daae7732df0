//! `casemate hsm …`: asks the running node, prints its answer as JSON, and waits where that helps.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::ask::{AskError, Question, ask_node};
use super::creation::NewHsm;
use super::tls::TlsQuestion;
use crate::say::say;

/// How long a new HSM is waited for.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// Largest file of roots, in bytes: all of them are sealed in the HSM's settings.
const ROOTS_BYTES_MAX: u64 = 32 * 1024;

/// What is to be done.
#[derive(Debug, Clone)]
pub enum HsmCommand {
    /// Make an HSM and wait until it answers.
    Create {
        /// Which; its `issuer_ca_pem` is read from the file.
        hsm: Box<NewHsm>,
        /// The roots of the issuer's TLS certificate, PEM.
        issuer_ca: PathBuf,
    },
    /// Show all.
    List,
    /// Show one.
    Show {
        /// Which.
        name: String,
    },
    /// Show one, with what is sealed in it.
    Inspect {
        /// Which.
        name: String,
    },
    /// Stop one and move all that it has aside.
    Delete {
        /// Which.
        name: String,
    },
}

/// What is to be done with the seal of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealCommand {
    /// Bring all HSMs under the seal that the node's file names.
    Change,
    /// Show which one is in force.
    Show,
}

/// What is to be done with the TLS of an HSM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsCommand {
    /// Show the certificate in force.
    Show,
    /// Make a key and a request for a certificate.
    Request,
    /// Use the certificate of the request.
    Install {
        /// The file of the chain.
        chain: PathBuf,
    },
    /// Use a certificate and its key.
    Import {
        /// The file of the chain.
        chain: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Go back to the node's authority.
    Reset,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The node.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The file of roots.
    #[error("{path} cannot be read; give the PEM file of the CA of the issuer's certificate")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A file of certificates.
    #[error("{path} cannot be read; give the path of a PEM file", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The HSM does not answer.
    #[error(
        "the HSM {name} was made but does not answer ({state}): {why}; mend that and restart the \
         node, or `casemate hsm delete {name}` and create it anew"
    )]
    NotReady {
        /// The HSM.
        name: String,
        /// What the node says of it.
        state: String,
        /// How it last ended.
        why: String,
    },
    /// The output is closed.
    #[error("the answer could not be written")]
    Output(#[from] std::io::Error),
}

/// Does it, through the node of this file.
///
/// # Errors
/// When there is no node, it says no, or a new HSM does not answer.
pub async fn hsm(
    config: &Path,
    command: HsmCommand,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let answer = match command {
        HsmCommand::Create { mut hsm, issuer_ca } => {
            hsm.issuer_ca_pem = roots(&issuer_ca)?;
            let name = hsm.name.clone();
            ask_node(config, &Question::Create { new: hsm }).await?;
            say(format_args!("waiting for HSM {name}"));
            ready(config, &name).await?
        }
        HsmCommand::List => ask_node(config, &Question::List).await?,
        HsmCommand::Show { name } => ask_node(config, &Question::Show { name }).await?,
        HsmCommand::Inspect { name } => ask_node(config, &Question::Inspect { name }).await?,
        HsmCommand::Delete { name } => ask_node(config, &Question::Delete { name }).await?,
    };
    writeln!(out, "{answer:#}")?;
    Ok(out.flush()?)
}

/// The same for the seal of all its HSMs.
///
/// # Errors
/// When there is no node, or it says no; the seal is then the one before.
pub async fn node_seal(
    config: &Path,
    command: SealCommand,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let question = match command {
        SealCommand::Change => Question::ChangeSeal,
        SealCommand::Show => Question::ShowSeal,
    };
    let answer = ask_node(config, &question).await?;
    writeln!(out, "{answer:#}")?;
    Ok(out.flush()?)
}

/// The same for the TLS of one. A request is printed as it is sent to an authority.
///
/// # Errors
/// When there is no node, a file cannot be read, or the HSM says no; its certificate is then the
/// one before.
pub async fn tls(
    config: &Path,
    (name, command): (String, TlsCommand),
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let order = match command {
        TlsCommand::Show => TlsQuestion::Show,
        TlsCommand::Request => TlsQuestion::Request,
        TlsCommand::Install { chain } => TlsQuestion::Install { chain: pem(&chain)? },
        TlsCommand::Import { chain, key } => {
            let unread = |cause| CommandError::Pem { path: key.clone(), cause };
            let key = std::path::absolute(&key).map_err(unread)?;
            TlsQuestion::Import { chain: pem(&chain)?, key }
        }
        TlsCommand::Reset => TlsQuestion::Reset,
    };
    let answer = ask_node(config, &Question::Tls { name, order: Box::new(order) }).await?;
    match answer.get("request").and_then(Value::as_str) {
        Some(request) => write!(out, "{request}")?,
        None => writeln!(out, "{answer:#}")?,
    }
    Ok(out.flush()?)
}

fn pem(path: &Path) -> Result<String, CommandError> {
    let fails = |cause| CommandError::Pem { path: path.to_owned(), cause };
    if std::fs::metadata(path).map_err(fails)?.len() > ROOTS_BYTES_MAX {
        return Err(fails(std::io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read_to_string(path).map_err(fails)
}

fn roots(path: &Path) -> Result<String, CommandError> {
    let fails = |cause| CommandError::Roots { path: path.to_owned(), cause };
    if std::fs::metadata(path).map_err(fails)?.len() > ROOTS_BYTES_MAX {
        return Err(fails(std::io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read_to_string(path).map_err(fails)
}

/// Waits until the HSM answers, or the node has given it up.
async fn ready(config: &Path, name: &str) -> Result<Value, CommandError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let shown = ask_node(config, &Question::Show { name: name.to_owned() }).await?;
        let text = |member: &str| shown[member].as_str().unwrap_or_default().to_owned();
        let state = text("state");
        if state == "ready" {
            return Ok(shown);
        }
        if state == "given up" || Instant::now() > deadline {
            let (name, why) = (name.to_owned(), text("lastEnd"));
            return Err(CommandError::NotReady { name, state, why });
        }
        sleep(PAUSE).await;
    }
}
