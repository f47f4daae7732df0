//! A resealing process: it opens an HSM's sealing keys and puts them under another seal, so that
//! the agent need not.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use casemate_channel::{Reseal, Resealed};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// The hidden command of this executable that becomes one.
pub const RESEAL_COMMAND: &str = "reseal";

/// Time for one HSM: a passphrase takes a second, a slow token some.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no new slot.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It says no.
    #[error("{0}")]
    Refused(Box<str>),
    /// It cannot be started, or gives no answer.
    #[error("the process that seals anew gave no answer; look at the system's log")]
    Process(#[source] io::Error),
}

/// Has one slot made.
pub(crate) async fn reseal(order: &Reseal) -> Result<(), ResealError> {
    let answer = timeout(TIMEOUT, run(order)).await;
    let answer = answer.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
    match answer.map_err(ResealError::Process)? {
        Resealed::Done => Ok(()),
        Resealed::Refused { message } => Err(ResealError::Refused(message.into())),
    }
}

async fn run(order: &Reseal) -> io::Result<Resealed> {
    let names = order.from.environment().iter().chain(order.to.guard.environment());
    let environment = names.filter_map(|name| Some((name, std::env::var_os(name)?)));
    let text = serde_json::to_vec(order)?;
    let mut process = Command::new("/proc/self/exe")
        .arg(RESEAL_COMMAND)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = process.stdin.take() {
        input.write_all(&text).await?;
        input.shutdown().await?;
    }
    let output = process.wait_with_output().await?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| io::Error::other(format!("{error} ({})", output.status)))
}
