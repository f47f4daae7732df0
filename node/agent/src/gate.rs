//! The gate: accepts TCP, looks at the TLS hello, and passes the socket to whom it is for.
//!
//! It terminates nobody's TLS and reads no byte out of a socket that it passes on. Everything a
//! client could use up is bounded: size of the hello, time to send it, connections per address.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use casemate_channel::Listener;
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::directory::Directory;
use crate::hello::{Hello, peek};
use crate::hsm::HsmLink;
use crate::own_service::OwnService;
use crate::slots::{Slot, Slots};

/// A fatal alert `unrecognized_name` (RFC 8446 §6.2), as one TLS record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Time to send the alert to a client that may not read.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after the system refused to accept (too many open files), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections go.
pub(crate) struct Gate {
    /// The HSMs by their server names.
    pub(crate) hsms: Arc<Directory>,
    /// The HSM that has a listener of its own.
    pub(crate) direct: Option<Arc<HsmLink>>,
    /// Names under which the agent itself answers.
    pub(crate) own_names: HashSet<String>,
    /// The agent's own service, if it has one.
    pub(crate) own: Option<Arc<OwnService>>,
    /// Bounds.
    pub(crate) slots: Slots,
    /// Time for a client to send its hello.
    pub(crate) hello_timeout: Duration,
}

enum Destination<'a> {
    Hsm(Arc<HsmLink>, Option<String>),
    Own(&'a Arc<OwnService>),
    Unknown,
    Nowhere,
}

impl Gate {
    /// Accepts connections until told to stop.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        kind: Listener,
        mut stopping: watch::Receiver<bool>,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, kind),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, kind: Listener) {
        let Some(slot) = self.slots.take(peer.ip()) else { return };
        let gate = Arc::clone(self);
        tokio::spawn(async move { gate.pass(stream, peer, kind, slot).await });
    }

    async fn pass(&self, stream: TcpStream, peer: SocketAddr, kind: Listener, slot: Slot) {
        let hello = peek(&stream, self.hello_timeout).await;
        match self.destination(kind, hello) {
            Destination::Hsm(hsm, sni) => hsm.hand_over(stream, peer, kind, sni).await,
            Destination::Own(own) => own.serve(stream, slot).await,
            Destination::Unknown => {
                // A client that does not read its alert has lost nothing but the alert.
                let _ = timeout(ALERT_TIMEOUT, refuse(stream)).await;
            }
            Destination::Nowhere => {}
        }
    }

    fn destination(&self, kind: Listener, hello: Hello) -> Destination<'_> {
        let name = match hello {
            Hello::Unfit(_) => return Destination::Nowhere,
            Hello::Name(name) => Some(name),
            Hello::NoName => None,
        };
        match (kind, name) {
            (Listener::Address, name) => match &self.direct {
                Some(hsm) => Destination::Hsm(Arc::clone(hsm), name),
                None => Destination::Nowhere,
            },
            (Listener::Named, None) => self.own(),
            (Listener::Named, Some(name)) => match self.hsms.find(&name) {
                Some(hsm) => Destination::Hsm(hsm, Some(name)),
                None if self.own_names.contains(&name) => self.own(),
                None => Destination::Unknown,
            },
        }
    }

    fn own(&self) -> Destination<'_> {
        self.own.as_ref().map_or(Destination::Unknown, Destination::Own)
    }
}

/// Says that nobody here has that name.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&UNRECOGNIZED_NAME).await?;
    // Unread bytes would turn the close into a reset, which can overtake the alert.
    let mut hello = vec![0_u8; crate::sni::HELLO_BYTES_MAX];
    recv(stream.as_raw_fd(), &mut hello, MsgFlags::MSG_DONTWAIT)?;
    stream.shutdown().await
}
