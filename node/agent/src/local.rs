//! The agent's local socket `DIR/agent.sock`: one JSON line asks, one JSON line answers.
//!
//! For `casemate dev identity` and `casemate doctor` on the same machine. Only the same user and
//! root may ask: the socket's mode says so, and the peer's credentials are checked again.

use std::fs::Permissions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use casemate_dev_issuer::{DevIssuer, IssuerError, NewApp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::accept;
use crate::facts::SharedFacts;

/// Its name in the data folder.
pub(crate) const SOCKET: &str = "agent.sock";

const LINE_BYTES_MAX: u64 = 64 * 1024;
const LINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an answer: an HSM that is taken away finishes what it has begun.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECTIONS_MAX: usize = 16;

/// What may be asked.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    Facts,
    AddApp { name: String, certificate_pem: Option<String>, federated: Option<(String, String)> },
    AddUser { name: String },
    AddGroup { name: String },
    AddMember { group: String, member: String },
}

/// The local socket.
pub(crate) struct Local {
    /// Where identities are kept.
    pub(crate) issuer: Arc<DevIssuer>,
    /// What doctor shows.
    pub(crate) facts: Arc<SharedFacts>,
}

/// Opens the socket. A path in a deep folder may be longer than a socket's address can hold, so it
/// is reached through the open folder.
pub(crate) fn bind(folder: &Path) -> io::Result<UnixListener> {
    let opened = std::fs::File::open(folder)?;
    let short = short_path(&opened);
    match std::fs::remove_file(&short) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&short)?;
    // The folder's mode 0700 keeps others out in the moment before this.
    std::fs::set_permissions(&short, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Asks the agent of a folder one question.
///
/// # Errors
/// When no agent runs there, or it gives no proper answer.
pub(crate) async fn ask(folder: &Path, question: &Value) -> io::Result<Value> {
    ask_patiently(folder, question, ANSWER_TIMEOUT).await
}

/// The same, for what takes its time.
pub(crate) async fn ask_patiently(
    folder: &Path,
    question: &Value,
    patience: Duration,
) -> io::Result<Value> {
    let opened = std::fs::File::open(folder)?;
    let exchange = async {
        let mut stream = UnixStream::connect(short_path(&opened)).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        serde_json::from_str(&line).map_err(io::Error::other)
    };
    timeout(patience, exchange).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

fn short_path(folder: &std::fs::File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

/// Who answers at a local socket.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The answer to one line.
    fn answer(&self, line: &str) -> impl Future<Output = Value> + Send;
}

/// Lets somebody answer until told to stop.
pub(crate) async fn serve<A: Answers>(
    answers: Arc<A>,
    listener: UnixListener,
    mut stopping: watch::Receiver<bool>,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some((stream, _)) = accept::next(|| listener.accept(), &mut stopping).await {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            // Who asks and goes away needs no answer.
            let _ = exchange(&*answers, stream).await;
            drop(permit);
        });
    }
}

/// One question and its answer. What was begun for a question is done to its end.
async fn exchange<A: Answers>(answers: &A, stream: UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    timeout(LINE_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = answers.answer(&line).await;
    timeout(LINE_TIMEOUT, writer.write_all(format!("{answer}\n").as_bytes())).await?
}

impl Answers for Local {
    async fn answer(&self, line: &str) -> Value {
        match serde_json::from_str(line) {
            Ok(question) => match self.act(question) {
                Ok(result) => json!({ "result": result }),
                Err(error) => json!({ "error": casemate_channel::chain(&error) }),
            },
            Err(error) => json!({ "error": format!("the question is not understood: {error}") }),
        }
    }
}

impl Local {
    fn act(&self, question: Question) -> Result<Value, IssuerError> {
        Ok(match question {
            Question::Facts => json!(self.facts.read()),
            Question::AddApp { name, certificate_pem, federated } => {
                json!(self.issuer.add_app(&name, NewApp { certificate_pem, federated })?)
            }
            Question::AddUser { name } => json!(self.issuer.add_user(&name)?),
            Question::AddGroup { name } => json!(self.issuer.add_group(&name)?),
            Question::AddMember { group, member } => {
                self.issuer.add_member(&group, &member)?;
                json!({ "group": group, "member": member })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;

    fn local(folder: &Path) -> Arc<Local> {
        let issuer = Arc::new(DevIssuer::open(&folder.join("issuer")).unwrap());
        let facts = Facts { hsm: "dev".to_owned(), ..Facts::default() };
        Arc::new(Local { issuer, facts: Arc::new(SharedFacts::new(facts)) })
    }

    #[tokio::test]
    async fn a_folder_with_a_long_path_works_and_leftovers_do_not_block() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("x".repeat(120)).join("y".repeat(120));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(SOCKET), "left behind").unwrap();
        let listener = bind(&folder).unwrap();
        let mode = std::fs::metadata(folder.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve(local(&folder), listener, stopping));
        let answer = ask(&folder, &json!({ "op": "facts" })).await.unwrap();
        assert_eq!(answer["result"]["hsm"], "dev");
        let app = ask(&folder, &json!({ "op": "add_app", "name": "one" })).await.unwrap();
        assert!(app["result"]["secret"].as_str().unwrap().len() > 20);
        for bad in [
            json!({ "op": "add_app", "name": "one" }),
            json!({ "op": "remove" }),
            json!({ "op": "add_user" }),
            json!({ "op": "add_member", "group": "none", "member": "one" }),
            json!([]),
        ] {
            assert!(ask(&folder, &bad).await.unwrap()["error"].is_string(), "{bad}");
        }
        stop.send_replace(true);
        serving.await.unwrap();
        assert!(ask(&folder, &json!({ "op": "facts" })).await.is_err());
    }
}
