//! The settings with their secrets: for the sealed record and for the courier, nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::SinksError;
use crate::secret::SinkSecret;
use crate::settings::{Sinks, SinksRequest};

/// The settings with their secrets, to be written. What they are serialised to is secret.
#[derive(Serialize)]
pub struct Sealing<'a> {
    settings: &'a Sinks,
    secrets: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traces_secret: Option<&'a str>,
}

/// The settings with their secrets, as read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSinks {
    settings: SinksRequest,
    secrets: BTreeMap<String, String>,
    /// Absent in what was sealed before there were traces.
    #[serde(default)]
    traces_secret: Option<String>,
}

impl Sinks {
    /// The settings with their secrets, for the store and the courier.
    pub fn seal(&self) -> Sealing<'_> {
        let mut secrets = BTreeMap::new();
        for sink in self.all() {
            if let Some(secret) = &sink.secret {
                secrets.insert(sink.name.as_str(), secret.expose());
            }
        }
        let traces_secret = self.traces().and_then(|traces| traces.secret.as_ref());
        Sealing { settings: self, secrets, traces_secret: traces_secret.map(SinkSecret::expose) }
    }
}

impl SealedSinks {
    /// The settings, checked again.
    ///
    /// # Errors
    /// When they are not whole.
    pub fn open(self) -> Result<Sinks, SinksError> {
        let Self { settings, mut secrets, traces_secret } = self;
        let mut sinks = settings.into_inner();
        for sink in sinks.sinks_mut() {
            sink.secret = secrets.remove(sink.name.as_str()).map(SinkSecret::new);
        }
        if let Some(traces) = sinks.traces_mut() {
            traces.secret = traces_secret.map(SinkSecret::new);
        }
        sinks.check_secrets()?;
        Ok(sinks)
    }
}
