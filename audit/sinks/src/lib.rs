//! Where copies of the audit log go, and where traces go: sinks, alerts and the collector of traces
//! as an Administrator sets them, checked once.
//!
//! Vocabulary alone. The domain seals it as a record, the data plane reads and shows it, the
//! partition hands it to the courier, and the courier acts by it. `docs/design/courier.md`
//! specifies the JSON.
//!
//! It opens nothing and sends nothing.
//!
//! Invariants:
//! - A [`Sinks`] is whole: every sink that needs a secret has one, every address is of the kind
//!   that its sink speaks.
//! - Serialising [`Sinks`] never yields a secret. The one way out is [`Sinks::seal`], for the
//!   store and the courier.

mod alerts;
mod error;
mod sealed;
mod secret;
mod settings;
mod sink;
mod traces;

pub use alerts::{Burst, Rules};
pub use error::SinksError;
pub use sealed::{SealedSinks, Sealing};
pub use secret::SinkSecret;
pub use settings::{SINKS_MAX, Sinks, SinksRequest};
pub use sink::{Endpoint, Sink, SinkName, Target};
pub use traces::Traces;

/// The largest settings as JSON, in bytes, secrets included.
pub const SETTINGS_BYTES_MAX: usize = 256 * 1024;
