//! All sinks of one HSM, and where its traces go.

use serde::{Deserialize, Serialize, Serializer};

use crate::error::SinksError;
use crate::sink::{RawSink, Sink, SinkName};
use crate::traces::{RawTraces, Traces};

/// Most sinks of one HSM.
pub const SINKS_MAX: usize = 8;
/// How long an answer may wait for the synchronous sink, in milliseconds.
pub(crate) const DEADLINE_MS: std::ops::RangeInclusive<u32> = 100..=30_000;
const DEADLINE_MS_USUAL: u32 = 5_000;

/// The sinks, as sent: what is not said about a secret is kept from before.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawSinks")]
pub struct SinksRequest(Sinks);

/// All sinks of one HSM, whole. Serialised, it shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sinks {
    sinks: Vec<Sink>,
    synchronous: Option<SinkName>,
    deadline_ms: u32,
    traces: Option<Traces>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSinks {
    sinks: Vec<RawSink>,
    #[serde(default)]
    synchronous: Option<String>,
    #[serde(default = "usual_deadline")]
    synchronous_deadline_ms: u32,
    /// Absent in what was sealed before there were traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traces: Option<RawTraces>,
}

fn usual_deadline() -> u32 {
    DEADLINE_MS_USUAL
}

impl Default for Sinks {
    fn default() -> Self {
        Self { sinks: Vec::new(), synchronous: None, deadline_ms: DEADLINE_MS_USUAL, traces: None }
    }
}

impl Sinks {
    /// Each sink, in the order in which they were sent.
    pub fn all(&self) -> &[Sink] {
        &self.sinks
    }

    /// The sink that must have a record before the answer leaves.
    pub fn synchronous(&self) -> Option<&SinkName> {
        self.synchronous.as_ref()
    }

    /// How long an answer waits for it, in milliseconds.
    pub fn deadline_ms(&self) -> u32 {
        self.deadline_ms
    }

    /// Where traces go, if requests are traced.
    pub fn traces(&self) -> Option<&Traces> {
        self.traces.as_ref()
    }

    pub(crate) fn traces_mut(&mut self) -> Option<&mut Traces> {
        self.traces.as_mut()
    }

    pub(crate) fn sinks_mut(&mut self) -> &mut [Sink] {
        &mut self.sinks
    }

    pub(crate) fn check_secrets(&self) -> Result<(), SinksError> {
        self.sinks.iter().try_for_each(Sink::check_secret)?;
        self.traces.iter().try_for_each(Traces::check_secret)
    }
}

impl SinksRequest {
    /// Reads the settings as they are sent.
    ///
    /// # Errors
    /// When they are not of the shape, or hold what no sink can be.
    pub fn parse(json: &[u8]) -> Result<Self, SinksError> {
        let raw: RawSinks = serde_json::from_slice(json)
            .map_err(|error| SinksError::Shape { line: error.line(), column: error.column() })?;
        Self::try_from(raw)
    }

    /// The whole settings: a secret that was not sent is the one that was set before, if the sink
    /// has still the same name, kind and address.
    ///
    /// # Errors
    /// When a secret is missing, or is of another form than its sink needs.
    pub fn complete(self, before: &Sinks) -> Result<Sinks, SinksError> {
        let mut sinks = self.0;
        for sink in sinks.sinks_mut().iter_mut().filter(|sink| sink.secret.is_none()) {
            let kept = before.all().iter().find(|old| sink.may_keep_secret_of(old));
            sink.secret = kept.and_then(|old| old.secret.clone());
        }
        if let Some(traces) = sinks.traces_mut().filter(|traces| traces.secret.is_none()) {
            let kept = before.traces().filter(|old| traces.may_keep_secret_of(old));
            traces.secret = kept.and_then(|old| old.secret.clone());
        }
        sinks.check_secrets()?;
        Ok(sinks)
    }

    pub(crate) fn into_inner(self) -> Sinks {
        self.0
    }
}

impl TryFrom<RawSinks> for SinksRequest {
    type Error = SinksError;

    fn try_from(raw: RawSinks) -> Result<Self, SinksError> {
        if raw.sinks.len() > SINKS_MAX {
            return Err(SinksError::TooMany);
        }
        if !DEADLINE_MS.contains(&raw.synchronous_deadline_ms) {
            return Err(SinksError::Deadline);
        }
        let sinks: Vec<Sink> =
            raw.sinks.into_iter().map(Sink::try_from).collect::<Result<_, _>>()?;
        for (at, sink) in sinks.iter().enumerate() {
            if sinks.iter().take(at).any(|before| before.name == sink.name) {
                return Err(SinksError::NameTwice { name: sink.name.to_string() });
            }
        }
        let synchronous = match raw.synchronous {
            None => None,
            Some(name) => {
                let named = |sink: &&Sink| sink.name.as_str() == name && sink.copies();
                let sink = sinks.iter().find(named);
                Some(sink.ok_or(SinksError::Synchronous { name: name.clone() })?.name.clone())
            }
        };
        let traces = raw.traces.map(Traces::try_from).transpose()?;
        Ok(Self(Sinks { sinks, synchronous, deadline_ms: raw.synchronous_deadline_ms, traces }))
    }
}

impl Serialize for Sinks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawSinks {
            sinks: self.sinks.iter().map(Sink::raw).collect(),
            synchronous: self.synchronous.as_ref().map(ToString::to_string),
            synchronous_deadline_ms: self.deadline_ms,
            traces: self.traces.as_ref().map(Traces::raw),
        };
        raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
