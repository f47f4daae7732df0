//! Outgoing connections for a partition, which cannot open one itself: to hosts that its sealed
//! settings allow, with a deadline, a few at a time. TLS begins and ends in the partition.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::{AgentEnd, ToPartition};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Time for name resolution and connection together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Outgoing connections that may be under way at once.
const DIALS_MAX: usize = 16;
/// Hosts an allow-list may name.
const HOSTS_MAX: usize = 256;

/// The outgoing side of one partition.
#[derive(Debug)]
pub(crate) struct Dialer {
    allowed: HashSet<String>,
    under_way: Arc<Semaphore>,
    /// Where the agent's own service listens, if it has one: `localhost` may resolve to another
    /// address.
    own: Option<SocketAddr>,
}

impl Dialer {
    pub(crate) fn new(own: Option<SocketAddr>) -> Self {
        Self { allowed: HashSet::new(), under_way: Arc::new(Semaphore::new(DIALS_MAX)), own }
    }

    /// Replaces the allow-list; entries beyond the limit are left out, so they are refused.
    pub(crate) fn allow(&mut self, hosts: Vec<String>) {
        self.allowed =
            hosts.into_iter().take(HOSTS_MAX).map(|host| host.to_ascii_lowercase()).collect();
    }

    /// Connects in the background and answers on the channel.
    pub(crate) fn dial(&self, end: &Arc<AgentEnd>, id: u64, host: &str, port: u16) {
        let host = host.to_ascii_lowercase();
        let permit = Arc::clone(&self.under_way).try_acquire_owned();
        let refusal = if !self.allowed.contains(&format!("{host}:{port}")) {
            Some(format!("{host}:{port} is not among the hosts that the HSM's settings allow"))
        } else if permit.is_err() {
            Some(format!("{DIALS_MAX} outgoing connections are under way already"))
        } else {
            None
        };
        let (end, own) = (Arc::clone(end), self.own);
        tokio::spawn(async move {
            let _permit = permit;
            let connected = match refusal {
                Some(refusal) => Err(refusal),
                None => connect(&host, port, own).await,
            };
            // A partition that has gone meanwhile needs no answer.
            let _ = match connected {
                Ok(stream) => {
                    let message = ToPartition::Dialed { id, error: None };
                    end.send(&message, Some(stream.as_fd())).await
                }
                Err(error) => end.send(&ToPartition::Dialed { id, error: Some(error) }, None).await,
            };
        });
    }
}

async fn connect(host: &str, port: u16, own: Option<SocketAddr>) -> Result<TcpStream, String> {
    let connecting = async {
        match own.filter(|own| host == "localhost" && port == own.port()) {
            Some(own) => TcpStream::connect(own).await,
            None => TcpStream::connect((host, port)).await,
        }
    };
    match timeout(DIAL_TIMEOUT, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("{host}:{port} cannot be reached: {error}")),
        Err(_) => Err(format!("{host}:{port} did not answer in {} s", DIAL_TIMEOUT.as_secs())),
    }
}
