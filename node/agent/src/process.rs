//! One partition or courier process: started, watched, killed.
//!
//! The kernel kills a partition when the *thread* that started it ends. So each process has a
//! thread of its own that starts it and then waits for its end.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

use casemate_harden::spawn_bound;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::courier::CourierPlace;

/// The hidden command of this executable that becomes a partition.
pub const PARTITION_COMMAND: &str = "partition";

/// The only settings of the environment that a partition or a courier sees.
/// `SSL_CERT_FILE` names the roots by which a courier believes the targets of backups.
const ENVIRONMENT: [&str; 3] = ["CASEMATE_LOG", "RUST_BACKTRACE", "SSL_CERT_FILE"];

/// The hidden command of this executable that becomes a courier.
pub const COURIER_COMMAND: &str = "courier";

/// What a process is started as.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// The partition of an HSM; its token's module is told these variables too.
    Partition {
        /// Their names.
        environment: Vec<String>,
    },
    /// The courier beside it.
    Courier(CourierPlace),
}

/// A running partition or courier process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    /// Empty once the process has been reaped: its number may then be another's.
    alive: Arc<Mutex<Option<Pid>>>,
    ended: oneshot::Receiver<String>,
}

impl Process {
    /// Starts this executable in a role, with `channel` as its descriptor 3.
    pub(crate) async fn start(channel: OwnedFd, role: Role) -> io::Result<Self> {
        let (started, starting) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || start_and_wait(channel, &role, started, end))?;
        let gone = || io::Error::other("the thread that starts the partition ended");
        let (pid, alive) = starting.await.map_err(|_| gone())??;
        Ok(Self { pid, alive, ended })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it at once.
    pub(crate) fn kill(&self) {
        if let Some(pid) = *self.alive.lock() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Waits for its end and says how it ended. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> String {
        (&mut self.ended).await.unwrap_or_else(|_| "its end was not seen".to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Started = io::Result<(u32, Arc<Mutex<Option<Pid>>>)>;

fn start_and_wait(
    channel: OwnedFd,
    role: &Role,
    started: oneshot::Sender<Started>,
    end: oneshot::Sender<String>,
) {
    let mut child = match spawn_bound(command(role), channel) {
        Ok(child) => child,
        Err(error) => {
            // Nobody waits any more if the agent is stopping; then there is nobody to tell.
            let _ = started.send(Err(error));
            return;
        }
    };
    let pid = i32::try_from(child.id()).map(Pid::from_raw).ok();
    let alive = Arc::new(Mutex::new(pid));
    if started.send(Ok((child.id(), Arc::clone(&alive)))).is_err() {
        let _ = child.kill();
    }
    // Waits without reaping, so that the number stays ours until nobody can use it any more.
    while let Some(pid) = pid {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Err(nix::Error::EINTR) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let mut alive = alive.lock();
    *alive = None;
    let text = match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => format!("its end could not be read: {error}"),
    };
    let _ = end.send(text);
}

fn command(role: &Role) -> Command {
    let mut command = Command::new("/proc/self/exe");
    match role {
        Role::Partition { .. } => command.arg(PARTITION_COMMAND),
        Role::Courier(place) => command
            .arg(COURIER_COMMAND)
            .arg(&place.folder)
            .args(place.user.map(|user| user.to_string())),
    };
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let more: &[String] = match role {
        Role::Partition { environment } => environment,
        Role::Courier(_) => &[],
    };
    for name in ENVIRONMENT.into_iter().chain(more.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}
