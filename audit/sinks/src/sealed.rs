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
}

/// The settings with their secrets, as read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSinks {
    settings: SinksRequest,
    secrets: BTreeMap<String, String>,
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
        Sealing { settings: self, secrets }
    }
}

impl SealedSinks {
    /// The settings, checked again.
    ///
    /// # Errors
    /// When they are not whole.
    pub fn open(self) -> Result<Sinks, SinksError> {
        let Self { settings, mut secrets } = self;
        let mut sinks = settings.into_inner();
        for sink in sinks.sinks_mut() {
            sink.secret = secrets.remove(sink.name.as_str()).map(SinkSecret::new);
        }
        sinks.check_secrets()?;
        Ok(sinks)
    }
}
