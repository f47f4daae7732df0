//! One HTTPS server, asked with one token: for commands that read what somebody else's API says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use casemate_token::FetchError;
use http::{Method, header};

use crate::client::{Client, Sent};

/// The server, and as whom it is asked.
pub struct HttpsAsker {
    client: Client,
    token: String,
    url: String,
}

/// What it told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpsAsker {
    /// A server whose certificate comes from these roots, PEM.
    #[must_use]
    pub fn new(url: &str, token: String, roots_pem: String) -> Self {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let url = url.trim_end_matches('/').to_owned();
        Self { client: Client::new(nowhere, roots_pem), token, url }
    }

    /// Gets a path with its query. No redirect is followed.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub async fn get(&self, path: &str) -> Result<Told, FetchError> {
        let url = format!("{}{path}", self.url);
        let (token, content_type) = (Some(self.token.as_str()), "application/json");
        let sent = Sent { method: Method::GET, token, content_type, body: String::new() };
        let answer = self.client.send(&url, None, "", sent).await?;
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after_s =
            retry_after.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let status = answer.status().as_u16();
        Ok(Told { status, retry_after_s, body: answer.into_body().to_vec() })
    }
}
