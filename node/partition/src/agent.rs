//! The partition's side of the conversation with its agent: questions and their answers, and what
//! arrives unasked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_channel::{
    ChannelError, Identity, IdentityAnswer, PartitionEnd, SIGN_TIMEOUT, TlsOrder, ToAgent,
    ToPartition,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Connections that wait to be taken; the agent waits when there are more.
const ARRIVALS_MAX: usize = 1024;
/// Outgoing connections asked for at once.
const DIALS_MAX: usize = 16;
/// Time for the agent to look for the HSM's identity.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(10);

/// What arrives unasked.
pub(crate) enum Arrival {
    /// A client's connection, its TLS hello still unread.
    Connection {
        /// The socket.
        socket: OwnedFd,
        /// Who connected.
        peer: SocketAddr,
    },
    /// A courier was started.
    Courier {
        /// This end of the stream to it.
        stream: OwnedFd,
    },
    /// The counts for monitoring are wanted, under this number.
    Metrics(u64),
    /// What the HSM says of itself is wanted, under this number.
    Inspect(u64),
    /// The HSM's TLS is to be shown or changed, under this number.
    Tls(u64, TlsOrder, Option<OwnedFd>),
    /// The partition shall finish and end.
    Stop,
}

/// The agent, to be asked.
pub(crate) struct Agent {
    end: PartitionEnd,
    dials: Mutex<HashMap<u64, oneshot::Sender<Result<OwnedFd, String>>>>,
    certificate: Mutex<Option<oneshot::Sender<String>>>,
    /// Who waits for the identity, and under which number.
    identity: Mutex<Option<(u64, oneshot::Sender<FoundIdentity>)>>,
    next_dial: AtomicU64,
    next_identity: AtomicU64,
}

/// The identity, and the file of its credential if there is one.
type FoundIdentity = (IdentityAnswer, Option<OwnedFd>);

/// Why there is no identity to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoIdentity {
    /// The HSM has none.
    None,
    /// It has one, and the agent cannot use what was written of it.
    Unusable,
}

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The channel.
    #[error("the agent cannot be asked")]
    Channel(#[from] ChannelError),
    /// Too many questions.
    #[error("{DIALS_MAX} outgoing connections are asked for already")]
    Busy,
    /// It refused.
    #[error("the agent refused: {0}")]
    Refused(String),
    /// It took too long, or another question replaced this one.
    #[error("the agent did not answer in time; its log says why")]
    NoAnswer,
}

impl Agent {
    /// Begins the conversation. The receiver ends when the agent does.
    pub(crate) fn attend(end: PartitionEnd) -> (Arc<Self>, mpsc::Receiver<Arrival>) {
        let agent = Arc::new(Self {
            end,
            dials: Mutex::default(),
            certificate: Mutex::default(),
            identity: Mutex::default(),
            next_dial: AtomicU64::new(1),
            next_identity: AtomicU64::new(1),
        });
        let (arrivals, inbox) = mpsc::channel(ARRIVALS_MAX);
        tokio::spawn(Arc::clone(&agent).listen(arrivals));
        (agent, inbox)
    }

    /// Tells the agent something.
    pub(crate) async fn tell(&self, message: &ToAgent) -> Result<(), ChannelError> {
        self.end.send(message, None).await
    }

    /// Has an outgoing connection made. Drop the future to give up.
    pub(crate) async fn dial(&self, host: &str, port: u16) -> Result<OwnedFd, AskError> {
        let id = self.next_dial.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut dials = self.dials.lock();
            dials.retain(|_, waiting| !waiting.is_closed());
            if dials.len() >= DIALS_MAX {
                return Err(AskError::Busy);
            }
            dials.insert(id, answer);
        }
        self.tell(&ToAgent::Dial { id, host: host.to_owned(), port }).await?;
        answered.await.map_err(|_| AskError::NoAnswer)?.map_err(AskError::Refused)
    }

    /// Has a certificate signed; its chain, PEM.
    pub(crate) async fn sign(
        &self,
        csr_pem: String,
        names: Vec<String>,
    ) -> Result<String, AskError> {
        let (answer, answered) = oneshot::channel();
        *self.certificate.lock() = Some(answer);
        self.tell(&ToAgent::CertificateRequest { csr_pem, names }).await?;
        match timeout(SIGN_TIMEOUT, answered).await {
            Ok(Ok(chain)) => Ok(chain),
            Ok(Err(_)) | Err(_) => Err(AskError::NoAnswer),
        }
    }

    /// The HSM's managed identity as it is now, with the file of its credential; none if it has
    /// none, or one that cannot be used.
    pub(crate) async fn identity(
        &self,
    ) -> Result<Result<(Identity, OwnedFd), NoIdentity>, AskError> {
        let id = self.next_identity.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        *self.identity.lock() = Some((id, answer));
        self.tell(&ToAgent::Identity { id }).await?;
        match timeout(IDENTITY_TIMEOUT, answered).await {
            Ok(Ok((IdentityAnswer::Is(identity), Some(file)))) => Ok(Ok((identity, file))),
            Ok(Ok((IdentityAnswer::None, _))) => Ok(Err(NoIdentity::None)),
            Ok(Ok(_)) => Ok(Err(NoIdentity::Unusable)),
            Ok(Err(_)) | Err(_) => Err(AskError::NoAnswer),
        }
    }

    async fn listen(self: Arc<Self>, arrivals: mpsc::Sender<Arrival>) {
        loop {
            let (message, descriptor) = match self.end.recv().await {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("{}", crate::failure::chain(&error));
                    return;
                }
            };
            let Some(arrival) = self.hear(message, descriptor) else { continue };
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
    }

    /// Gives answers to those who asked; returns what nobody asked for.
    fn hear(&self, message: ToPartition, descriptor: Option<OwnedFd>) -> Option<Arrival> {
        match message {
            ToPartition::Connection { peer, .. } => {
                descriptor.map(|socket| Arrival::Connection { socket, peer })
            }
            ToPartition::Courier => descriptor.map(|stream| Arrival::Courier { stream }),
            ToPartition::Metrics { id } => Some(Arrival::Metrics(id)),
            ToPartition::Inspect { id } => Some(Arrival::Inspect(id)),
            ToPartition::Tls { id, order } => Some(Arrival::Tls(id, order, descriptor)),
            ToPartition::Stop => Some(Arrival::Stop),
            ToPartition::Dialed { id, error } => {
                let waiting = self.dials.lock().remove(&id);
                let answer = match (descriptor, error) {
                    (Some(socket), None) => Ok(socket),
                    (_, error) => Err(error.unwrap_or_default()),
                };
                // Who asked may have given up; the socket closes itself.
                let _given_up = waiting.map(|waiting| waiting.send(answer));
                None
            }
            ToPartition::Identity { id, answer } => {
                let waiting = self.identity.lock().take_if(|(of, _)| *of == id);
                let found = (answer, descriptor);
                let _given_up = waiting.map(|(_, waiting)| waiting.send(found));
                None
            }
            ToPartition::Certificate { chain_pem } => {
                let waiting = self.certificate.lock().take();
                let _given_up = waiting.map(|waiting| waiting.send(chain_pem));
                None
            }
            ToPartition::Start(_) => {
                tracing::warn!("the agent sent Start a second time");
                None
            }
        }
    }
}
