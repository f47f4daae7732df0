//! Commands that are one call to an HSM's data plane, as somebody whose token a file holds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use casemate_token::FetchError;
use http::Method;
use serde_json::Value;

use crate::client::{Client, Sent};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A call, and whom to ask it of. Not printable: its body may hold a secret.
pub struct DataCall {
    /// The HSM, `https://NAME…`.
    pub url: String,
    /// The CA of its certificate, PEM.
    pub ca: PathBuf,
    /// The token of who asks.
    pub token: PathBuf,
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The body; empty if there is none.
    pub body: String,
}

/// Why there is no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum DataCallError {
    /// A file.
    #[error("{} cannot be read; give the path of a file of at most 1 MiB", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// No answer: it may have been done.
    #[error("{url} gave no answer, so it may or may not have been done; look, and try again")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What went wrong.
        #[source]
        cause: FetchError,
    },
    /// A refusal.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The answer's text.
        text: String,
    },
    /// The output is closed.
    #[error("the result could not be written")]
    Output(#[from] io::Error),
}

/// Asks, and prints the answer.
///
/// # Errors
/// When the HSM refuses, does not answer, or a file cannot be read.
pub async fn data_call(asked: DataCall, out: &mut dyn Write) -> Result<(), DataCallError> {
    let ca = text(&asked.ca)?;
    let token = text(&asked.token)?.trim().to_owned();
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let url = format!("{}{}", asked.url.trim_end_matches('/'), asked.path);
    let method = Method::from_bytes(asked.method.as_bytes()).unwrap_or_default();
    let (token, content_type) = (Some(token.as_str()), "application/json");
    let sent = Sent { method, token, content_type, body: asked.body };
    let answer = match Client::new(nowhere, ca).send(&url, None, "", sent).await {
        Ok(answer) => answer,
        Err(cause) => return Err(DataCallError::NoAnswer { url, cause }),
    };
    let status = answer.status();
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if status.is_success() => Ok(writeln!(out, "{value:#}")?),
        Ok(_) | Err(_) => Err(DataCallError::Refused { url, status: status.as_u16(), text }),
    }
}

fn text(path: &Path) -> Result<String, DataCallError> {
    let fails = |cause| DataCallError::Read { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = File::open(path).map_err(fails)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(fails)?;
    Ok(text)
}
