//! `casemate node`: the HSMs of one machine, for production. It has no issuer of its own, activates
//! nothing (that is its officers' part), and settles whom an HSM believes when it is created.

mod ask;
mod change_seal;
mod command;
mod config;
mod creation;
mod local;
mod read_seal;
mod record;
mod seal;
mod seals;
mod set;
mod tls;
mod tokens;

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::Listener;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub use self::ask::AskError;
pub use self::change_seal::ChangeError;
pub use self::command::{CommandError, HsmCommand, SealCommand, TlsCommand, hsm, node_seal, tls};
pub use self::config::ConfigRefusal;
pub use self::creation::{CreationRefusal, NewHsm};
pub use self::read_seal::{ReadSealError, key_file_seal, seal_in_force};
pub use self::record::RecordError;
pub use self::seal::SealRefusal;
pub use self::seals::SealsError;
pub use self::set::SetError;
pub use self::tls::{TlsError, TlsQuestion};

pub(crate) use self::config::NodeConfig;
use self::local::NodeLocal;
use self::set::HsmSet;
use crate::authority::{Authority, AuthorityError, CA_FILE};
use crate::folder::{Folder, FolderError};
use crate::gate::Gate;
use crate::limits::{LimitRefusal, changed};
use crate::local::{SOCKET, bind};
use crate::monitor::Monitor;
use crate::say::say;
use crate::slots::{SlotLimits, Slots};

/// Why the node does not run.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its file.
    #[error(transparent)]
    Config(#[from] ConfigRefusal),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitRefusal),
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its CA.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Its HSMs.
    #[error(transparent)]
    Hsms(#[from] SetError),
    /// A listener.
    #[error("nothing can listen on {address}; free the port, or change `{option}` in the file")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option.
        option: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The local socket.
    #[error("the local socket cannot be opened; look at the data folder's owner and mode")]
    Local(#[source] io::Error),
    /// Threads, signals.
    #[error("the system gives no threads or signals; look at its limits (ulimit -a)")]
    Runtime(#[source] io::Error),
}

/// Runs the node until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub fn node(config: &Path, out: &mut dyn Write) -> Result<(), NodeError> {
    let file = config;
    let config = NodeConfig::read(file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(NodeError::Runtime)?;
    runtime.block_on(run(file, config, out))
}

async fn run(file: &Path, config: NodeConfig, out: &mut dyn Write) -> Result<(), NodeError> {
    let stops = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [terminate, interrupt, hang_up] = stops.map(signal);
    let mut terminate = terminate.map_err(NodeError::Runtime)?;
    let mut interrupt = interrupt.map_err(NodeError::Runtime)?;
    let mut hang_up = hang_up.map_err(NodeError::Runtime)?;
    // More connections than the soft limit are welcome; with fewer it works as well.
    let _ = casemate_harden::raise_nofile();
    let limits = changed(&config.changes())?;
    let folder = Arc::new(Folder::open(&config.data_dir)?);
    let authority = Arc::new(Authority::open(&folder)?);
    let listener = listen(config.listen.hsm, "listen.hsm").await?;
    let management = listen(config.listen.management, "listen.management").await?;
    let bound = |listener: &TcpListener| listener.local_addr().map_err(NodeError::Runtime);
    let port = config.listen.external_port.unwrap_or(bound(&listener)?.port());
    let (stop, stopping) = watch::channel(false);
    let agent_limits = limits.agent.clone();
    let folder_of = Arc::clone(&folder);
    let hsms = Arc::new(HsmSet::new((file, config), limits, port, folder_of, authority)?);
    let gate = Arc::new(Gate {
        hsms: Arc::clone(&hsms.directory),
        direct: None,
        own_names: HashSet::new(),
        own: None,
        slots: Slots::new(SlotLimits {
            per_address_max: agent_limits.waiting_per_address_max,
            total_max: agent_limits.waiting_max,
        }),
        hello_timeout: Duration::from_millis(agent_limits.hello_timeout_ms),
    });
    let monitor = Arc::new(Monitor {
        hsms: Arc::clone(&hsms.directory),
        connections_max: agent_limits.management_connections_max,
    });
    let local = bind(folder.path()).map_err(NodeError::Local)?;
    let said = ready(bound(&listener)?, bound(&management)?, &folder);
    let count = hsms.start_all().await?;
    tokio::spawn(gate.serve(listener, Listener::Named, stopping.clone()));
    tokio::spawn(monitor.serve(management, stopping.clone()));
    tokio::spawn(Arc::new(NodeLocal { hsms: Arc::clone(&hsms) }).serve(local, stopping));
    say(format_args!("{count} HSMs start"));
    // Whoever reads nothing still wants the HSMs to run.
    if let Err(error) = out.write_all(said.as_bytes()).and_then(|()| out.flush()) {
        say(format_args!("ready; but nobody reads standard output: {error}"));
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    say(format_args!("stopping"));
    stop.send_replace(true);
    hsms.stop().await;
    let socket = folder.remove(SOCKET);
    say(format_args!("stopped"));
    Ok(socket?)
}

fn ready(listen: SocketAddr, management: SocketAddr, folder: &Folder) -> String {
    format!(
        "The node listens on {listen}; metrics are at http://{management}/metrics.\n\
         Its certificates come from {}.\n\
         `casemate hsm create` makes an HSM, `casemate hsm list` shows them.\n",
        folder.join(CA_FILE).display(),
    )
}

async fn listen(address: SocketAddr, option: &'static str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|cause| NodeError::Listen { address, option, cause })
}
