//! `casemate security-domain rotate`: asks an HSM for a new secret of its domain, keeps the new
//! security domain, and waits until nothing is sealed under the old one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_token::FetchError;
use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Sent};
use crate::say::say;

/// The api-version of the calls.
const API_VERSION: &str = "7.5";
/// How long an HSM that is being opened anew is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What is asked, of whom.
#[derive(Debug, Clone)]
pub struct Rotate {
    /// The HSM, `https://NAME…`.
    pub url: String,
    /// The CA of its certificate, PEM.
    pub ca: PathBuf,
    /// An Administrator's token.
    pub token: PathBuf,
    /// The request, with the approvals.
    pub request: PathBuf,
    /// Where the new security domain goes; there is no such file yet.
    pub out: PathBuf,
}

/// Why there is no new secret, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A file.
    #[error("{} cannot be read; give the path of a file of at most 1 MiB", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file for the new security domain.
    #[error("{} cannot be made; give the path of a file that does not exist yet", path.display())]
    Out {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The HSM has another secret, and its security domain was not kept.
    #[error(
        "the new security domain could not be written to {}; let the new officers approve one more \
         download now", path.display()
    )]
    Lost {
        /// Where it should have gone.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// No answer: it may have been done.
    #[error(
        "{url} gave no answer, so a new epoch may or may not have begun; look with GET \
         /securitydomain/rotate/pending, and if it has, let the new officers approve one more \
         download"
    )]
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
    /// It was begun, and its end was not seen.
    #[error(
        "the new epoch has begun and its security domain is kept, but the HSM does not answer; it \
         goes on by itself when it does"
    )]
    NotSeen,
    /// The output is closed.
    #[error("the result could not be written")]
    Output(#[from] io::Error),
}

/// Has the secret changed, and returns when nothing is sealed under the old one.
///
/// # Errors
/// When the HSM refuses, does not answer, or a file cannot be used.
pub async fn rotate(asked: &Rotate, out: &mut dyn Write) -> Result<(), RotateError> {
    let ca = text(&asked.ca)?;
    let token = text(&asked.token)?.trim().to_owned();
    let body = text(&asked.request)?;
    // Before anything is asked: who gets an answer must be able to keep it.
    let mut kept = create(&asked.out)?;
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let hsm = Asking { client: Client::new(nowhere, ca), token, url: asked.url.clone() };
    let begun = hsm.ask(Method::POST, "/securitydomain/rotate", body).await;
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Nothing was written to it.
            if matches!(error, RotateError::Refused { .. }) {
                let _ = std::fs::remove_file(&asked.out);
            }
            return Err(error);
        }
    };
    let value = begun["value"].as_str().unwrap_or_default();
    let written = kept.write_all(value.as_bytes()).and_then(|()| kept.sync_all());
    written.map_err(|cause| RotateError::Lost { path: asked.out.clone(), cause })?;
    say(format_args!(
        "epoch {} has begun; its security domain is in {}",
        begun["epoch"],
        asked.out.display()
    ));
    tell_forgotten(&begun["forgotten"]);
    let done = hsm.wait(begun["epoch"].as_u64()).await?;
    writeln!(out, "{done:#}")?;
    Ok(())
}

/// One HSM, asked as somebody.
struct Asking {
    client: Client,
    token: String,
    url: String,
}

impl Asking {
    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Value, RotateError> {
        let url = format!("{}{path}?api-version={API_VERSION}", self.url.trim_end_matches('/'));
        let (token, content_type) = (Some(self.token.as_str()), "application/json");
        let sent = Sent { method, token, content_type, body };
        let answer = match self.client.send(&url, None, "", sent).await {
            Ok(answer) => answer,
            Err(cause) => return Err(RotateError::NoAnswer { url, cause }),
        };
        let status = answer.status().as_u16();
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        match serde_json::from_str(&text) {
            Ok(value) if matches!(status, 200 | 202) => Ok(value),
            Ok(_) | Err(_) => Err(RotateError::Refused { url, status, text }),
        }
    }

    /// Shows how far it is until it is done. The HSM is opened anew at its beginning and its end.
    async fn wait(&self, epoch: Option<u64>) -> Result<Value, RotateError> {
        let (mut heard, mut shown) = (Instant::now(), None);
        while heard.elapsed() < SILENCE_MAX {
            let pending = "/securitydomain/rotate/pending";
            match self.ask(Method::GET, pending, String::new()).await {
                Ok(status) if status["epoch"].as_u64() == epoch => {
                    heard = Instant::now();
                    if status["status"] == "Success" {
                        return Ok(status);
                    }
                    let left = status["recordsLeft"].as_u64();
                    if shown != left {
                        say(format_args!(
                            "{} of {} records are left",
                            status["recordsLeft"], status["records"]
                        ));
                        shown = left;
                    }
                }
                Ok(_) | Err(_) => {}
            }
            sleep(PAUSE).await;
        }
        Err(RotateError::NotSeen)
    }
}

/// Which backups cannot be opened any more.
fn tell_forgotten(forgotten: &Value) {
    let Some(before) = forgotten["before"].as_u64() else { return };
    say(format_args!("backups before epoch {before} cannot be opened any more:"));
    for span in forgotten["epochs"].as_array().into_iter().flatten() {
        say(format_args!(
            "  all of epoch {}, from {} to {} (Unix seconds)",
            span["epoch"], span["from"], span["to"]
        ));
    }
    for backup in forgotten["backups"].as_array().into_iter().flatten() {
        say(format_args!("  {}", backup.as_str().unwrap_or_default()));
    }
}

fn text(path: &Path) -> Result<String, RotateError> {
    let fails = |cause| RotateError::Read { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = File::open(path).map_err(fails)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(fails)?;
    Ok(text)
}

fn create(path: &Path) -> Result<File, RotateError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|cause| RotateError::Out { path: path.to_owned(), cause })
}
