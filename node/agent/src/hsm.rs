//! The way to one HSM: connections are handed to the partition that serves it now.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::{AgentEnd, Listener, ToPartition};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The pause before the next try when a partition has just gone.
const PAUSE: Duration = Duration::from_millis(20);

/// The partition that serves now, if one does.
#[derive(Debug)]
pub(crate) struct HsmLink {
    serving: watch::Sender<Option<Arc<AgentEnd>>>,
    wait: Duration,
}

impl HsmLink {
    /// A connection waits so long for a partition that is being started again.
    pub(crate) fn new(wait: Duration) -> Self {
        Self { serving: watch::Sender::new(None), wait }
    }

    /// From now on this partition serves, or none.
    pub(crate) fn set(&self, end: Option<Arc<AgentEnd>>) {
        self.serving.send_replace(end);
    }

    /// The partition that serves now, if one does.
    pub(crate) fn now(&self) -> Option<Arc<AgentEnd>> {
        self.serving.borrow().clone()
    }

    /// Waits until a partition serves.
    pub(crate) async fn served(&self) {
        // The sender lives in self, so the wait cannot end otherwise.
        let _ = self.serving.subscribe().wait_for(Option::is_some).await;
    }

    /// Passes a connection on; closes it if no partition takes it in time.
    pub(crate) async fn hand_over(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        listener: Listener,
        sni: Option<String>,
    ) {
        // Out of our runtime: from here on only the partition reads it.
        let Ok(socket) = stream.into_std() else { return };
        let message = ToPartition::Connection { peer, listener, sni };
        let passed = timeout(self.wait, async {
            let mut serving = self.serving.subscribe();
            loop {
                let end = match serving.wait_for(Option::is_some).await {
                    Ok(end) => end.clone(),
                    Err(_) => return,
                };
                if let Some(end) = end
                    && end.send(&message, Some(socket.as_fd())).await.is_ok()
                {
                    return;
                }
                sleep(PAUSE).await;
            }
        });
        // Late or passed, our copy is closed here.
        let _ = passed.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use tokio::net::TcpListener;

    async fn connected() -> (TcpStream, SocketAddr, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        (stream, peer, client)
    }

    #[tokio::test]
    async fn a_connection_waits_for_the_next_partition() {
        let link = Arc::new(HsmLink::new(Duration::from_secs(10)));
        let (stream, peer, mut client) = connected().await;
        let passing = tokio::spawn({
            let link = Arc::clone(&link);
            async move { link.hand_over(stream, peer, Listener::Address, None).await }
        });
        // A partition that has died already, then one that lives.
        let (dead, theirs) = AgentEnd::pair().unwrap();
        drop(theirs);
        link.set(Some(Arc::new(dead)));
        sleep(Duration::from_millis(60)).await;
        assert!(!passing.is_finished());
        let (end, theirs) = AgentEnd::pair().unwrap();
        link.set(Some(Arc::new(end)));
        passing.await.unwrap();
        link.set(None);
        // The partition never takes it and ends: the connection closes with it.
        drop(theirs);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }
}
