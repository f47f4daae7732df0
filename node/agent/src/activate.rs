//! Activates a development HSM, through the same calls as everybody: it asks the issuer for a token
//! and the HSM for its security domain, which it keeps beside the officers' keys.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use casemate_dev_issuer::AppCreated;
use casemate_token::FetchError;
use http::Method;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Sent};
use crate::facts::SharedFacts;
use crate::folder::{Folder, FolderError};
use crate::officers::{OfficersError, certificates, request};
use crate::say::say;

/// Where the security domain is kept in the data folder.
const DOMAIN_FILE: &str = "officers/security-domain.json";
/// The api-version of the calls.
const API_VERSION: &str = "7.5";
/// Time from the answer until the HSM is active.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(30);
const ACTIVE_PAUSE: Duration = Duration::from_millis(5);

/// Why the HSM was not activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// The officers.
    #[error(transparent)]
    Officers(#[from] OfficersError),
    /// No answer.
    #[error("the HSM could not be asked for its security domain; try again")]
    Fetch(#[from] FetchError),
    /// An answer that is none.
    #[error("{url} answered {status}, so the HSM is not activated: {text}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The answer's text.
        text: String,
    },
    /// The security domain could not be kept.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It does not open.
    #[error("the HSM was activated but does not answer; `casemate doctor` shows why")]
    NotActive,
    /// A part of the agent died.
    #[error("a part of the agent ended unexpectedly; please report the lines above")]
    Part(#[from] oneshot::error::RecvError),
}

/// Officers' certificates, being made.
pub(crate) type Making = oneshot::Receiver<Result<Vec<Vec<u8>>, OfficersError>>;

/// Begins to make the officers' keys: RSA takes its time, and the partition starts meanwhile.
pub(crate) fn begin(folder: &Arc<Folder>) -> Making {
    let folder = Arc::clone(folder);
    let (tell, told) = oneshot::channel();
    thread::spawn(move || {
        // Whoever waits may have been stopped.
        let _ = tell.send(certificates(&folder));
    });
    told
}

/// What activation works with.
pub(crate) struct Activation<'a> {
    pub(crate) client: &'a Client,
    pub(crate) folder: &'a Folder,
    pub(crate) facts: &'a SharedFacts,
    pub(crate) principal: &'a AppCreated,
    /// The issuer's and the control plane's.
    pub(crate) base_url: String,
    /// The HSM's.
    pub(crate) hsm_url: String,
    pub(crate) ca_pem: &'a str,
}

impl Activation<'_> {
    /// Has the HSM activated, and returns when it is.
    pub(crate) async fn run(&self, officers: Making) -> Result<(), ActivateError> {
        let body = request(&officers.await??)?.to_string();
        let token = self.token().await?;
        let url = format!("{}/securitydomain/download?api-version={API_VERSION}", self.hsm_url);
        let content = ("application/json", body);
        let answer = self.ask(Method::POST, &url, Some(&token), content).await?;
        let value = answer["value"].as_str().unwrap_or_default();
        self.folder.write(DOMAIN_FILE, value.as_bytes())?;
        let deadline = Instant::now() + ACTIVE_TIMEOUT;
        while !self.facts.read().activated {
            if Instant::now() > deadline {
                return Err(ActivateError::NotActive);
            }
            sleep(ACTIVE_PAUSE).await;
        }
        say(format_args!("three officers hold its security domain, two are needed: officers/"));
        Ok(())
    }

    async fn token(&self) -> Result<String, ActivateError> {
        let url = format!("{}/adfs/oauth2/v2.0/token", self.base_url);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.principal.app_id.to_string())
            .append_pair("client_secret", &self.principal.secret)
            .append_pair("scope", "https://managedhsm.azure.net/.default")
            .finish();
        let content = ("application/x-www-form-urlencoded", form);
        let answer = self.ask(Method::POST, &url, None, content).await?;
        Ok(answer["access_token"].as_str().unwrap_or_default().to_owned())
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        token: Option<&str>,
        (content_type, body): (&'static str, String),
    ) -> Result<Value, ActivateError> {
        let sent = Sent { method, token, content_type, body };
        let answer = self.client.send(url, None, self.ca_pem, sent).await?;
        let status = answer.status().as_u16();
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        match serde_json::from_str(&text) {
            Ok(value) if matches!(status, 200 | 202) => Ok(value),
            Ok(_) | Err(_) => Err(ActivateError::Refused { url: url.to_owned(), status, text }),
        }
    }
}
