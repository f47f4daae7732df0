//! The two ends: typed sending and receiving, asynchronous once the runtime runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair, sockopt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::identity::IdentityAnswer;
use crate::message::{ToAgent, ToPartition};
use crate::packet::{self, Packet};
use crate::start::Start;
use crate::{MESSAGE_BYTES_MAX, PARTITION_FD, VERSION};

/// Why a message could not be sent or taken.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The operating system refused.
    #[error("the channel between agent and partition failed")]
    Io(#[from] io::Error),
    /// The message is no JSON of the agreed shape.
    #[error("a message on the channel is not of the agreed shape")]
    Shape(#[source] serde_json::Error),
    /// The peer speaks another version.
    #[error("the other end speaks version {theirs} of the channel, this one {VERSION}")]
    Version {
        /// What it speaks.
        theirs: u32,
    },
    /// The message to be sent is too long.
    #[error("a message of {bytes} bytes is longer than the {MESSAGE_BYTES_MAX} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// What arrived breaks the rules of the channel.
    #[error("the other end broke the rules of the channel: {fact}")]
    Rules {
        /// Which one.
        fact: &'static str,
    },
    /// Another message than Start came first.
    #[error("the first message was not Start")]
    NotStart,
    /// The agent went away before it said anything.
    #[error("the agent ended before it sent Start")]
    NoStart,
}

#[derive(Serialize)]
struct Outgoing<'a, M> {
    v: u32,
    m: &'a M,
}

#[derive(Deserialize)]
struct Incoming {
    v: u32,
    m: serde_json::Value,
}

/// The agent's end.
#[derive(Debug)]
pub struct AgentEnd(AsyncFd<OwnedFd>);

/// The partition's end.
#[derive(Debug)]
pub struct PartitionEnd(AsyncFd<OwnedFd>);

/// The partition's end before a runtime exists.
#[derive(Debug)]
pub struct Pending(OwnedFd);

impl AgentEnd {
    /// Makes a pair: this end, and the descriptor for the partition (blocking, close-on-exec).
    ///
    /// # Errors
    /// When the system gives no sockets. Must be called inside a runtime.
    pub fn pair() -> Result<(Self, OwnedFd), ChannelError> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(io::Error::from)?;
        Ok((Self(register(ours)?), theirs))
    }

    /// Sends a message; waits while the partition does not take what was sent before. The
    /// descriptor stays the caller's: if the partition is gone it can be sent to the next one.
    ///
    /// # Errors
    /// When the partition is gone or the message breaks a rule.
    pub async fn send(
        &self,
        message: &ToPartition,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        if message.carries_descriptor() != descriptor.is_some() {
            return Err(ChannelError::Rules { fact: "the descriptor does not fit the message" });
        }
        send(&self.0, message, descriptor).await
    }

    /// The next message; `None` when the partition is gone. Safe to cancel.
    ///
    /// # Errors
    /// When what arrived is no message.
    pub async fn recv(&self) -> Result<Option<(ToAgent, Option<OwnedFd>)>, ChannelError> {
        match take(&self.0).await? {
            Packet::End => Ok(None),
            Packet::Bad(fact) => Err(ChannelError::Rules { fact }),
            Packet::NoRoom(_) => {
                Err(ChannelError::Rules { fact: "descriptors came that there is no room for" })
            }
            Packet::Data(bytes, descriptor) => Ok(Some((decode(&bytes)?, descriptor))),
        }
    }
}

impl PartitionEnd {
    /// The partition's end of a pair, in the process that made it. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn of(theirs: OwnedFd) -> Result<Self, ChannelError> {
        Ok(Self(register(theirs)?))
    }

    /// Sends a message; waits while the agent does not take what was sent before.
    ///
    /// # Errors
    /// When the agent is gone or the message breaks a rule.
    pub async fn send(
        &self,
        message: &ToAgent,
        descriptor: Option<OwnedFd>,
    ) -> Result<(), ChannelError> {
        send(&self.0, message, descriptor.as_ref().map(AsFd::as_fd)).await
    }

    /// The next message; `None` when the agent is gone. Safe to cancel. A connection for which this
    /// process has no room is closed and passed over.
    ///
    /// # Errors
    /// When what arrived is no message, or has not the descriptor that belongs to it.
    pub async fn recv(&self) -> Result<Option<(ToPartition, Option<OwnedFd>)>, ChannelError> {
        loop {
            let (message, descriptor) = match take(&self.0).await? {
                Packet::End => return Ok(None),
                Packet::Bad(fact) => return Err(ChannelError::Rules { fact }),
                Packet::Data(bytes, descriptor) => (decode(&bytes)?, descriptor),
                Packet::NoRoom(bytes) => match decode(&bytes)? {
                    // The kernel has closed the socket, which its client sees.
                    ToPartition::Connection { .. } | ToPartition::Courier => continue,
                    ToPartition::Dialed { id, .. } => {
                        let error = Some("too many open files".to_owned());
                        (ToPartition::Dialed { id, error }, None)
                    }
                    ToPartition::Identity { id, .. } => {
                        (ToPartition::Identity { id, answer: IdentityAnswer::Unusable }, None)
                    }
                    message => (message, None),
                },
            };
            if message.carries_descriptor() != descriptor.is_some() {
                let fact = "the descriptor does not fit the message";
                return Err(ChannelError::Rules { fact });
            }
            return Ok(Some((message, descriptor)));
        }
    }
}

impl Pending {
    /// Sends one message while no runtime exists (such as how the process was hardened).
    ///
    /// # Errors
    /// When the agent is gone.
    pub fn send_blocking(&self, message: &ToAgent) -> Result<(), ChannelError> {
        let bytes = encode(message)?;
        Ok(packet::send(self.0.as_raw_fd(), &bytes, None)?)
    }

    /// The asynchronous end. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn into_end(self) -> Result<PartitionEnd, ChannelError> {
        PartitionEnd::of(self.0)
    }
}

/// Takes the inherited descriptor [`PARTITION_FD`] and waits for [`ToPartition::Start`].
///
/// For the first lines of a partition's main: no other thread may exist yet, and it may be called
/// only once.
///
/// # Errors
/// When there is no channel at that descriptor, or something else than Start comes first.
pub fn receive_start() -> Result<(Start, Pending), ChannelError> {
    let socket = inherit()?;
    let (message, descriptor) = match packet::receive(socket.as_raw_fd())? {
        Packet::End => return Err(ChannelError::NoStart),
        Packet::Bad(fact) => return Err(ChannelError::Rules { fact }),
        Packet::NoRoom(_) => return Err(ChannelError::NotStart),
        Packet::Data(bytes, descriptor) => (decode::<ToPartition>(&bytes)?, descriptor),
    };
    match (message, descriptor) {
        (ToPartition::Start(start), None) if start.version == VERSION => {
            Ok((*start, Pending(socket)))
        }
        (ToPartition::Start(start), None) => Err(ChannelError::Version { theirs: start.version }),
        _ => Err(ChannelError::NotStart),
    }
}

/// The inherited socket, if it really is one of the right kind.
fn inherit() -> Result<OwnedFd, ChannelError> {
    let socket = adopt()?;
    let kind = nix::sys::socket::getsockopt(&socket, sockopt::SockType).map_err(io::Error::from)?;
    if kind != SockType::SeqPacket {
        return Err(ChannelError::Rules { fact: "descriptor 3 is not the agent's channel" });
    }
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
    Ok(socket)
}

/// Takes the inherited descriptor [`PARTITION_FD`] as a stream of a Unix socket pair: a courier's
/// end. For the first lines of its main, like [`receive_start`], and only once.
///
/// # Errors
/// When there is no such stream at that descriptor.
pub(crate) fn inherit_stream() -> io::Result<UnixStream> {
    let socket = adopt().map_err(io::Error::other)?;
    let kind = nix::sys::socket::getsockopt(&socket, sockopt::SockType)?;
    if kind != SockType::Stream {
        return Err(io::Error::other("descriptor 3 is no stream"));
    }
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(UnixStream::from(socket))
}

#[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
fn adopt() -> Result<OwnedFd, ChannelError> {
    // SAFETY: the borrow lives for one fcntl call only; a closed descriptor makes it fail.
    let probe = unsafe { BorrowedFd::borrow_raw(PARTITION_FD) };
    fcntl(probe, FcntlArg::F_GETFD).map_err(io::Error::from)?;
    // SAFETY: the descriptor is open (checked above), and by the contract of `receive_start` the
    // process has just begun, so no other value of this program owns it.
    Ok(OwnedFd::from(unsafe { File::from_raw_fd(PARTITION_FD) }))
}

#[expect(unsafe_code, reason = "tokio asks us to vouch for the descriptor it watches")]
fn register(socket: OwnedFd) -> Result<AsyncFd<OwnedFd>, ChannelError> {
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    // SAFETY: an OwnedFd keeps the same open descriptor for as long as it lives, and the AsyncFd
    // owns it until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    registered.map_err(|error| ChannelError::Io(error.into()))
}

fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, ChannelError> {
    let bytes =
        serde_json::to_vec(&Outgoing { v: VERSION, m: message }).map_err(ChannelError::Shape)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(ChannelError::TooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, ChannelError> {
    let incoming: Incoming = serde_json::from_slice(bytes).map_err(ChannelError::Shape)?;
    if incoming.v != VERSION {
        return Err(ChannelError::Version { theirs: incoming.v });
    }
    serde_json::from_value(incoming.m).map_err(ChannelError::Shape)
}

async fn send<M: Serialize>(
    socket: &AsyncFd<OwnedFd>,
    message: &M,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), ChannelError> {
    let bytes = encode(message)?;
    socket
        .async_io(Interest::WRITABLE, |fd| packet::send(fd.as_raw_fd(), &bytes, descriptor))
        .await?;
    Ok(())
}

async fn take(socket: &AsyncFd<OwnedFd>) -> Result<Packet, ChannelError> {
    Ok(socket.async_io(Interest::READABLE, |fd| packet::receive(fd.as_raw_fd())).await?)
}

#[cfg(test)]
mod tests;
