//! Why settings of sinks are refused.

use crate::settings::{DEADLINE_MS, SINKS_MAX};
use crate::sink::{ANCHORS_BYTES_MAX, ENDPOINT_BYTES_MAX, NAME_BYTES_MAX};

/// Why settings of sinks are refused. Each text says what to send instead; none repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinksError {
    /// No JSON of the shape. What stood there is not repeated: it may be a secret.
    #[error(
        "the settings are not of their shape at line {line}, column {column}; \
         docs/operate/audit-sinks.md has it"
    )]
    Shape {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// Too many.
    #[error("there may be at most {SINKS_MAX} sinks; send fewer")]
    TooMany,
    /// A name that is none.
    #[error("the name of a sink is 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '-'; choose such a name")]
    Name,
    /// Two of the same name.
    #[error("two sinks are named '{name}'; give each its own name")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// A member that its kind needs.
    #[error("the sink '{name}' needs '{member}'; send it")]
    Missing {
        /// The sink.
        name: String,
        /// The member.
        member: &'static str,
    },
    /// A member that its kind does not know.
    #[error("the sink '{name}' has no use for '{member}'; leave it out")]
    Unused {
        /// The sink.
        name: String,
        /// The member.
        member: &'static str,
    },
    /// An address of another kind.
    #[error(
        "the endpoint of the sink '{name}' must be {scheme}://HOST[:PORT]… without user, query \
         or fragment, at most {ENDPOINT_BYTES_MAX} bytes; correct it"
    )]
    Endpoint {
        /// The sink.
        name: String,
        /// The scheme it needs.
        scheme: &'static str,
    },
    /// Roots that are none.
    #[error(
        "'trustAnchors' of the sink '{name}' must be certificates in PEM, at most \
         {ANCHORS_BYTES_MAX} bytes; send the root that its server's certificate comes from"
    )]
    Anchors {
        /// The sink.
        name: String,
    },
    /// A secret of another form.
    #[error("the secret of the sink '{name}' must be {form}; send such a one")]
    Secret {
        /// The sink.
        name: String,
        /// What it must be.
        form: &'static str,
    },
    /// A number out of range.
    #[error("'{member}' of the sink '{name}' must be {min} to {max}; send such a number")]
    Number {
        /// The sink.
        name: String,
        /// The member.
        member: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The share of traced requests is none.
    #[error("'sampleRatio' of 'traces' must be from 0 (none) to 1 (all); send such a number")]
    SampleRatio,
    /// The synchronous sink is none that copies.
    #[error("'synchronous' names '{name}', which is no sink that copies the log; name one that is")]
    Synchronous {
        /// The name.
        name: String,
    },
    /// The deadline is out of range.
    #[error(
        "'synchronousDeadlineMs' must be {} to {}; send such a number",
        DEADLINE_MS.start(),
        DEADLINE_MS.end()
    )]
    Deadline,
}
