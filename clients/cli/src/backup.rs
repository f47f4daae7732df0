//! `casemate backup …`: what can be typed. It is carried out where an HSM can be made.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// Longest file with a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 8 * 1024;

/// Commands over full backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Restore a backup into an HSM that is made for it and thrown away, and compare: every key
    /// version, whether it works, attributes, roles. No HSM that is in use is asked or touched.
    Verify(Box<BackupVerify>),
    /// Backups that an HSM makes by itself: when, where to, and what is kept.
    Schedule {
        /// What is asked.
        #[command(subcommand)]
        command: ScheduleCommand,
    },
}

/// The HSM that is asked, and the token of who asks.
#[derive(Debug, Args)]
pub struct AskedHsm {
    /// The HSM: https://NAME, with its port if that is not 443.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// The CA of the HSM's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// A file with an Administrator's access token for the HSM.
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
}

/// What is done with schedules. Each prints what the HSM answers, JSON.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Make a schedule, or change it; what is left out takes its usual value.
    Set(Box<ScheduleSet>),
    /// All schedules and how they are.
    List(AskedHsm),
    /// One schedule and how it is.
    Show(AskedSchedule),
    /// Remove a schedule. Its backups stay where they are.
    Remove(AskedSchedule),
    /// Have a backup made as soon as it can be.
    Run(AskedSchedule),
}

/// One schedule.
#[derive(Debug, Args)]
pub struct AskedSchedule {
    /// Its name.
    #[arg(value_parser = schedule_name)]
    pub name: String,
    /// Of whom, and as whom.
    #[command(flatten)]
    pub hsm: AskedHsm,
}

/// What a schedule is set to.
#[derive(Debug, Args)]
pub struct ScheduleSet {
    /// Its name: 1 to 32 of a-z, 0-9 and '-'.
    #[arg(value_parser = schedule_name)]
    pub name: String,
    /// Where backups go: https://…, s3+https://… or file:///…
    #[arg(long, value_name = "URI")]
    pub storage: String,
    /// A file with what opens the target [default: what was set for the same address].
    #[arg(long, value_name = "FILE")]
    pub storage_token_file: Option<PathBuf>,
    /// The HSM's managed identity opens the target.
    #[arg(long, conflicts_with = "storage_token_file")]
    pub use_managed_identity: bool,
    /// Minutes from one run to the next: 5 to 44640.
    #[arg(long, value_name = "MINUTES")]
    pub every_minutes: u32,
    /// Minutes after the beginning of such a span, counted from midnight UTC [default: 0].
    #[arg(long, value_name = "MINUTES")]
    pub offset_minutes: Option<u32>,
    /// Each so-many-th is a full backup, the others are increments [default: 7].
    #[arg(long, value_name = "NUMBER")]
    pub full_every: Option<u32>,
    /// Days for which a full backup and its increments are kept [default: 30].
    #[arg(long, value_name = "DAYS")]
    pub keep_days: Option<u32>,
    /// Full backups that are kept with their increments, however old they are [default: 2].
    #[arg(long, value_name = "NUMBER")]
    pub keep_last: Option<u32>,
    /// Set it, and do not run it.
    #[arg(long)]
    pub disabled: bool,
    /// Of whom, and as whom.
    #[command(flatten)]
    pub hsm: AskedHsm,
}

/// A call to the data plane.
#[derive(Debug, PartialEq, Eq)]
pub struct ScheduleCall {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The body; empty if there is none. It may hold what opens a target.
    pub body: String,
}

impl ScheduleCommand {
    /// The call that does it, and whom to ask it of.
    ///
    /// # Errors
    /// When the file with the token cannot be read.
    pub fn call(self) -> Result<(AskedHsm, ScheduleCall), TokenFileError> {
        const AREA: &str = "/backup/schedules";
        let one = |name: &str| format!("{AREA}/{name}");
        let (hsm, method, path) = match self {
            Self::Set(set) => {
                let (path, body) = (one(&set.name), set.body()?.to_string());
                return Ok((set.hsm, ScheduleCall { method: "PUT", path, body }));
            }
            Self::List(hsm) => (hsm, "GET", AREA.to_owned()),
            Self::Show(AskedSchedule { name, hsm }) => (hsm, "GET", one(&name)),
            Self::Remove(AskedSchedule { name, hsm }) => (hsm, "DELETE", one(&name)),
            Self::Run(AskedSchedule { name, hsm }) => (hsm, "POST", format!("{}/run", one(&name))),
        };
        Ok((hsm, ScheduleCall { method, path, body: String::new() }))
    }
}

impl ScheduleSet {
    fn body(&self) -> Result<Value, TokenFileError> {
        let numbers = [
            ("everyMinutes", Some(self.every_minutes)),
            ("offsetMinutes", self.offset_minutes),
            ("fullEvery", self.full_every),
            ("keepDays", self.keep_days),
            ("keepLast", self.keep_last),
        ];
        let mut body = Map::new();
        body.insert("storageResourceUri".to_owned(), json!(self.storage));
        if let Some(file) = &self.storage_token_file {
            body.insert("token".to_owned(), json!(token_file(Some(file.as_path()))?));
        }
        if self.use_managed_identity {
            body.insert("useManagedIdentity".to_owned(), json!(true));
        }
        for (member, number) in numbers {
            if let Some(number) = number {
                body.insert(member.to_owned(), json!(number));
            }
        }
        body.insert("enabled".to_owned(), json!(!self.disabled));
        Ok(Value::Object(body))
    }
}

/// It becomes part of a path.
fn schedule_name(text: &str) -> Result<String, &'static str> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (1..=32).contains(&text.len()) && text.bytes().all(letter);
    if is_name { Ok(text.to_owned()) } else { Err("give 1 to 32 of a-z, 0-9 and '-'") }
}

/// What is verified, and with what.
#[derive(Debug, Args)]
pub struct BackupVerify {
    /// The backup: the URL that its status told, or the path of a folder with its objects.
    pub backup: String,
    /// Compare the restored HSM with this backup instead, and tell what differs.
    #[arg(long, value_name = "BACKUP")]
    pub against: Option<String>,
    /// A file with what opens the target: a shared access signature, or S3 keys as a query.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The security domain's file; needs --key.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["node_folder", "hsm"])]
    pub domain: Option<PathBuf>,
    /// Officers' keys, PEM; each with its certificate beside it: NAME.key and NAME.cer.
    #[arg(long, value_name = "NAME.key", requires = "domain")]
    pub key: Vec<PathBuf>,
    /// An HSM of the same domain on this node, whose seal is read as the node reads it.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["domain", "node_folder"])]
    pub hsm: Option<String>,
    /// The file of that node.
    #[arg(long, value_name = "FILE", default_value = "/etc/casemate/node.toml", requires = "hsm",
          conflicts_with_all = ["node_folder", "domain"])]
    pub config: PathBuf,
    /// The folder of an HSM of the same domain, whose seal `seal.key` in it opens.
    #[arg(long, value_name = "DIR", conflicts_with = "hsm")]
    pub node_folder: Option<PathBuf>,
    /// Where the throw-away HSM is made [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// The module of the token that the throw-away HSM has its keys in, if the backup is of an HSM
    /// with its keys in a token. It must hold no keys, and holds none afterwards.
    #[arg(long, value_name = "FILE", requires_all = ["pkcs11_token", "pkcs11_pin_file"])]
    pub pkcs11_module: Option<PathBuf>,
    /// The label of that token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pub pkcs11_token: Option<String>,
    /// A file of mode 0600 with the PIN of that token's user.
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pub pkcs11_pin_file: Option<PathBuf>,
}

/// A file with a token cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read; give the path of a file with one line", path.display())]
pub struct TokenFileError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Reads a file with a token: its one line, without the end of it.
///
/// # Errors
/// When it cannot be read.
pub fn token_file(path: Option<&Path>) -> Result<String, TokenFileError> {
    let Some(path) = path else { return Ok(String::new()) };
    let fails = |cause| TokenFileError { path: path.to_owned(), cause };
    let length = std::fs::metadata(path).map_err(fails)?.len();
    if length > TOKEN_FILE_BYTES_MAX {
        return Err(fails(io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(fails)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Typed {
        #[command(subcommand)]
        command: BackupCommand,
    }

    fn typed(words: &[&str]) -> Result<ScheduleCommand, clap::Error> {
        let asked = ["--url", "https://h", "--ca", "ca", "--token-file", "t"];
        let words = [&["casemate", "schedule"], words, &asked[..]].concat();
        match <Typed as clap::Parser>::try_parse_from(words)?.command {
            BackupCommand::Schedule { command } => Ok(command),
            BackupCommand::Verify(_) => panic!("another command"),
        }
    }

    fn call(words: &[&str]) -> ScheduleCall {
        let (hsm, call) = typed(words).unwrap().call().unwrap();
        assert_eq!(hsm.url, "https://h");
        call
    }

    #[test]
    fn each_command_becomes_its_call() {
        let of = |method, path: &str| ScheduleCall {
            method,
            path: path.to_owned(),
            body: String::new(),
        };
        assert_eq!(call(&["list"]), of("GET", "/backup/schedules"));
        assert_eq!(call(&["show", "a"]), of("GET", "/backup/schedules/a"));
        assert_eq!(call(&["remove", "a"]), of("DELETE", "/backup/schedules/a"));
        assert_eq!(call(&["run", "a"]), of("POST", "/backup/schedules/a/run"));
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "sig=x\n").unwrap();
        let words = ["set", "a", "--storage", "file:///n", "--every-minutes", "60"];
        let set = call(&words);
        assert_eq!((set.method, set.path.as_str()), ("PUT", "/backup/schedules/a"));
        let body: Value = serde_json::from_str(&set.body).unwrap();
        let least = json!({"storageResourceUri": "file:///n", "everyMinutes": 60, "enabled": true});
        assert_eq!(body, least, "what is left out is the HSM's to choose");
        let more = ["--storage-token-file", token.to_str().unwrap(), "--keep-last", "3"];
        let set = call(&[&words[..], &more[..], &["--disabled", "--full-every", "2"]].concat());
        let body: Value = serde_json::from_str(&set.body).unwrap();
        assert_eq!((&body["token"], &body["keepLast"]), (&json!("sig=x"), &json!(3)));
        assert_eq!((&body["enabled"], &body["fullEvery"]), (&json!(false), &json!(2)));
        let set = call(&[&words[..], &["--use-managed-identity"]].concat());
        assert!(set.body.contains(r#""useManagedIdentity":true"#), "{}", set.body);
        let both = [&words[..], &more[..], &["--use-managed-identity"]].concat();
        assert!(typed(&both).is_err(), "one way or the other");
        let none = [&words[..], &["--storage-token-file", "/nowhere/at/all"]].concat();
        assert!(typed(&none).unwrap().call().is_err());
    }

    #[test]
    fn a_name_that_would_be_another_path_is_not_taken() {
        for bad in ["", "a/b", "..", "a?b", "A", "a b", &"a".repeat(33)] {
            assert!(typed(&["show", bad]).is_err(), "{bad}");
            assert!(typed(&["remove", bad]).is_err(), "{bad}");
        }
        assert!(typed(&["set", "a", "--storage", "file:///n"]).is_err(), "how often is missing");
    }

    #[test]
    fn a_token_is_the_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "?sv=1&sig=x\r\n").unwrap();
        assert_eq!(token_file(Some(&path)).unwrap(), "?sv=1&sig=x");
        assert_eq!(token_file(None).unwrap(), "");
        std::fs::write(&path, "x".repeat(8 * 1024 + 1)).unwrap();
        assert!(token_file(Some(&path)).is_err());
        assert!(token_file(Some(&dir.path().join("none"))).is_err());
    }
}
