//! The channel between the agent and one partition: a `SOCK_SEQPACKET` pair of Unix sockets.
//!
//! One packet is one message: versioned JSON of at most [`MESSAGE_BYTES_MAX`] bytes and at most one
//! file descriptor. The agent hands sockets in, the partition asks and reports. There is no other
//! way between the two, and no key ever travels here.
//!
//! What it does not do: it decides nothing about the messages, and it opens no network socket.
//!
//! Invariants: a received descriptor is owned (and so closed) from the moment it arrives, also when
//! the message that carried it is refused; descriptors are close-on-exec; the end of the peer is
//! `None`, never an error that could be mistaken for a broken message.

mod chain;
pub mod courier;
mod end;
mod identity;
mod message;
mod metrics;
mod packet;
mod seal;
mod start;
mod tls;
pub mod transfer;

pub use chain::chain;
pub use end::{AgentEnd, ChannelError, PartitionEnd, Pending, receive_start};
pub use identity::{IDENTITY_ROOTS_BYTES_MAX, Identity, IdentityAnswer, Proven, SecretText};
pub use message::{Listener, ToAgent, ToPartition};
pub use metrics::{Family, MetricKind, PARTS_MAX, SAMPLES_PER_PART_MAX, Sample};
pub use seal::{Guard, Reseal, Resealed, Seal, Slot};
pub use start::{Confine, Creation, Engine, ExternalName, Limits, Pkcs11, Start};
pub use tls::{SIGN_TIMEOUT, TLS_ORDER_TIMEOUT, TlsOrder};

/// The version of the messages. Both ends come from one executable, so another one is an error.
pub const VERSION: u32 = 1;

/// The largest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The descriptor at which a partition finds its end of the channel.
pub const PARTITION_FD: i32 = 3;
