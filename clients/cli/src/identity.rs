//! `casemate dev identity …`: asks the running agent over its local socket, prints its JSON.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::arguments::IdentityCommand;

/// The agent's socket in its data folder.
const SOCKET: &str = "agent.sock";
const TIMEOUT: Duration = Duration::from_secs(15);
const CERTIFICATE_BYTES_MAX: u64 = 32 * 1024;

/// Why nothing was added.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No agent.
    #[error("no casemate dev runs in {path}; start it, or give its --data-dir")]
    NotRunning {
        /// The folder.
        path: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The certificate file.
    #[error("the certificate {path} cannot be read; give a PEM file of at most 32 KiB")]
    Certificate {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The agent refuses.
    #[error("{reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The conversation broke off.
    #[error("the agent did not answer properly; look at its own lines, or restart it")]
    Broken(#[source] io::Error),
}

/// Carries the command out; `default_folder` is used unless the command names another one.
///
/// # Errors
/// When no agent runs or it refuses.
pub fn identity(
    command: &IdentityCommand,
    default_folder: impl FnOnce() -> PathBuf,
    out: &mut dyn Write,
) -> Result<(), IdentityError> {
    let (question, data_dir) = question(command)?;
    let folder = data_dir.map_or_else(default_folder, Path::to_owned);
    let answer = ask(&folder, &question)?;
    if let Some(reason) = answer.get("error").and_then(Value::as_str) {
        return Err(IdentityError::Refused { reason: reason.to_owned() });
    }
    let result = answer.get("result").ok_or_else(|| {
        IdentityError::Broken(io::Error::other("the answer has neither result nor error"))
    })?;
    writeln!(out, "{result:#}").map_err(IdentityError::Broken)
}

fn question(command: &IdentityCommand) -> Result<(Value, Option<&Path>), IdentityError> {
    Ok(match command {
        IdentityCommand::AddApp { name, certificate, federated, data_dir } => {
            let pem = certificate.as_deref().map(read_certificate).transpose()?;
            let question = json!({
                "op": "add_app", "name": name, "certificate_pem": pem, "federated": federated,
            });
            (question, data_dir.data_dir.as_deref())
        }
        IdentityCommand::AddUser { name, data_dir } => {
            (json!({ "op": "add_user", "name": name }), data_dir.data_dir.as_deref())
        }
        IdentityCommand::AddGroup { name, data_dir } => {
            (json!({ "op": "add_group", "name": name }), data_dir.data_dir.as_deref())
        }
        IdentityCommand::AddMember { group, member, data_dir } => {
            let question = json!({ "op": "add_member", "group": group, "member": member });
            (question, data_dir.data_dir.as_deref())
        }
    })
}

/// Only the certificates of the file: a private key beside them is not sent.
fn read_certificate(path: &Path) -> Result<String, IdentityError> {
    let fails = |cause| IdentityError::Certificate { path: path.display().to_string(), cause };
    if fs::metadata(path).map_err(fails)?.len() > CERTIFICATE_BYTES_MAX {
        return Err(fails(io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(path).map_err(fails)?;
    let mut kept = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside |= line.trim() == "-----BEGIN CERTIFICATE-----";
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line.trim() != "-----END CERTIFICATE-----";
    }
    if kept.is_empty() {
        return Err(fails(io::Error::other("there is no certificate in it")));
    }
    Ok(kept)
}

fn ask(folder: &Path, question: &Value) -> Result<Value, IdentityError> {
    let not_running =
        |cause| IdentityError::NotRunning { path: folder.display().to_string(), cause };
    // Through the open folder, since a socket's address is too short for a deep path.
    let opened = File::open(folder).map_err(not_running)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
    let stream = UnixStream::connect(path).map_err(not_running)?;
    converse(&stream, question).map_err(IdentityError::Broken)
}

fn converse(mut stream: &UnixStream, question: &Value) -> io::Result<Value> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    writeln!(stream, "{question}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::DataDir;
    use std::os::unix::net::UnixListener;

    fn add_user(folder: &Path) -> IdentityCommand {
        let data_dir = DataDir { data_dir: Some(folder.to_owned()) };
        IdentityCommand::AddUser { name: "u".to_owned(), data_dir }
    }

    fn with_agent(answer: &'static str) -> Result<String, IdentityError> {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let agent = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(answer.as_bytes()).unwrap();
            line
        });
        let mut out = Vec::new();
        let done = identity(&add_user(folder.path()), PathBuf::new, &mut out);
        assert!(agent.join().unwrap().contains("add_user"));
        done.map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_result_is_printed_as_json() {
        let text = with_agent("{\"result\":{\"objectId\":\"x\"}}\n").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({ "objectId": "x" }));
    }

    #[test]
    fn refusals_and_broken_answers_are_errors() {
        let refused = with_agent("{\"error\":\"the name u is taken\"}\n");
        assert!(matches!(refused, Err(IdentityError::Refused { .. })));
        for broken in ["", "{}\n", "no\n"] {
            assert!(matches!(with_agent(broken), Err(IdentityError::Broken(_))));
        }
    }

    #[test]
    fn without_an_agent_there_is_advice() {
        let folder = tempfile::tempdir().unwrap();
        let error = identity(&add_user(folder.path()), PathBuf::new, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("start it"), "{error}");
    }

    #[test]
    fn a_private_key_beside_a_certificate_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("both.pem");
        let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nBB==\n-----END PRIVATE KEY-----\n";
        fs::write(&path, format!("{key}{certificate}{key}")).unwrap();
        assert_eq!(read_certificate(&path).unwrap(), certificate);
        fs::write(&path, key).unwrap();
        assert!(read_certificate(&path).is_err());
        assert!(read_certificate(&folder.path().join("none")).is_err());
    }
}
