//! Tokens of the HSM's managed identity: asked for at its issuer, kept until shortly before they
//! end, and shown to the listed storage accounts alone.
//!
//! Nothing that the issuer says is repeated but the error codes of the standard.

use std::time::Duration;

use bytes::Bytes;
use casemate_channel::Proven;
use casemate_managed_identity::{
    ANSWER_BYTES_MAX, AccessToken, AnswerRefusal, Credential, CredentialKind, ManagedIdentity,
    form, read, refused,
};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use tokio::time::{Instant, sleep, timeout};

use super::http::{Client, Roots, Trouble};

/// Time for one request and its answer, connection and all.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of an issuer that does not answer or says that it cannot, and the pause before the second.
/// It doubles.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Why there is no token. No text is the issuer's own, and none holds a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoToken {
    #[error("what the node's file says of the HSM's managed identity is not usable; mend it")]
    Identity,
    #[error(
        "the HSM's managed identity is not meant for this storage; send a 'token', or have the \
         operator of the node list the storage account"
    )]
    NotListed,
    #[error(
        "the token endpoint {host} of the HSM's managed identity does not answer; try again later, \
         and have the operator check its address and certificate, and the network"
    )]
    Unreachable {
        host: String,
        #[source]
        cause: Trouble,
    },
    #[error(
        "the token endpoint {host} of the HSM's managed identity took longer than {seconds} s; try \
         again later"
    )]
    TooSlow { host: String, seconds: u64 },
    #[error(
        "the token endpoint {host} refused the HSM's managed identity ({code}); the operator must \
         look at its client id and credential, and when that ends"
    )]
    Refused { host: String, code: &'static str },
    #[error(
        "the token endpoint {host} of the HSM's managed identity answered {status}; the operator \
         must look at its address"
    )]
    Status { host: String, status: u16 },
    #[error(
        "the token endpoint {host} of the HSM's managed identity gave no token that can be used; \
         the operator must look at its address"
    )]
    Answer {
        host: String,
        #[source]
        cause: AnswerRefusal,
    },
}

impl NoToken {
    /// Whether the same request may be answered a moment later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Identity
            | Self::NotListed
            | Self::TooSlow { .. }
            | Self::Refused { .. }
            | Self::Answer { .. } => false,
        }
    }
}

/// The token that was given last.
struct Kept {
    of: Proven,
    token: AccessToken,
    until: Instant,
}

/// The tokens of one courier.
pub(crate) struct Tokens {
    roots: Roots,
    kept: Option<Kept>,
    /// Time for one request and its answer.
    patience: Duration,
}

impl Tokens {
    pub(crate) fn new(roots: Roots) -> Self {
        Self { roots, kept: None, patience: REQUEST_TIMEOUT }
    }

    /// The last token is not used any more: the storage refused it.
    pub(crate) fn forget(&mut self) {
        self.kept = None;
    }

    /// A token for what answers at this address, if it may be shown one.
    pub(crate) async fn token(&mut self, of: &Proven, uri: &str) -> Result<&str, NoToken> {
        let identity = checked(of)?;
        if !identity.may_show_token_to(uri) {
            return Err(NoToken::NotListed);
        }
        let usable = |kept: &mut Kept| kept.of == *of && Instant::now() < kept.until;
        let kept = match self.kept.take_if(usable) {
            Some(kept) => kept,
            None => {
                let asked = Instant::now();
                let token = self.ask(&identity, of).await?;
                let until = asked + token.usable_for();
                Kept { of: of.clone(), token, until }
            }
        };
        Ok(self.kept.insert(kept).token.expose())
    }

    async fn ask(&self, identity: &ManagedIdentity, of: &Proven) -> Result<AccessToken, NoToken> {
        let credential = Credential::new(of.credential.expose().to_owned());
        let credential = credential.map_err(|_| NoToken::Identity)?;
        let roots = match of.identity.trust_anchors_pem.as_deref() {
            Some(pem) => Roots::of_pem(pem).ok_or(NoToken::Identity)?,
            None => self.roots.clone(),
        };
        let most = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        let client = Client::new(&roots, most).map_err(|_| NoToken::Identity)?;
        let body = Bytes::from(form(identity, &credential));
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            match once(&client, identity, &body, self.patience).await {
                Err(error) if error.may_pass() && tries < TRIES => sleep(pause).await,
                done => return done,
            }
            pause *= 2;
            tries += 1;
        }
    }
}

fn checked(of: &Proven) -> Result<ManagedIdentity, NoToken> {
    let told = &of.identity;
    let kind = match told.federated {
        true => CredentialKind::FederatedToken,
        false => CredentialKind::Secret,
    };
    ManagedIdentity::new(&told.token_endpoint, &told.client_id, kind, &told.storage)
        .map_err(|_| NoToken::Identity)
}

async fn once(
    client: &Client,
    identity: &ManagedIdentity,
    body: &Bytes,
    patience: Duration,
) -> Result<AccessToken, NoToken> {
    let host = identity.endpoint().host_str().unwrap_or_default().to_owned();
    let request = Request::post(identity.endpoint().as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(body.clone())
        .map_err(|_| NoToken::Identity)?;
    match timeout(patience, client.ask(request)).await {
        Ok(Ok(response)) => judge(host, &response),
        Ok(Err(Trouble::Answer)) => Err(NoToken::Answer { host, cause: AnswerRefusal::Malformed }),
        Ok(Err(cause)) => Err(NoToken::Unreachable { host, cause }),
        Err(_) => Err(NoToken::TooSlow { host, seconds: patience.as_secs() }),
    }
}

fn judge(host: String, response: &Response<Bytes>) -> Result<AccessToken, NoToken> {
    let status = response.status();
    if status == StatusCode::OK {
        return read(response.body()).map_err(|cause| NoToken::Answer { host, cause });
    }
    let code = match status.is_client_error() {
        true => refused(response.body()),
        false => None,
    };
    match code {
        Some(code) => Err(NoToken::Refused { host, code }),
        None => Err(NoToken::Status { host, status: status.as_u16() }),
    }
}

#[cfg(test)]
mod tests;
