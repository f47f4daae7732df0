//! A running `casemate dev`, started as a user starts it.
//!
//! Invariant: it is ended by its own process id when the value is dropped, whatever a test did.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::rest::Rest;
use crate::{places, process};

/// A release build is ready within seconds; this leaves room for a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A clean stop takes no longer.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// How to start it.
#[derive(Debug, Default)]
pub struct Options {
    /// The data folder; a new temporary one when not given.
    pub data_dir: Option<PathBuf>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Further variables.
    pub variables: Vec<(String, String)>,
    /// A program (with arguments) that starts the given command, for instance `sh -c 'exec "$@"'`.
    pub through: Vec<String>,
    /// Working folder of the program.
    pub folder: Option<PathBuf>,
}

/// How a start ended that did not lead to a ready server.
pub struct Failed {
    /// The exit status, unless the deadline passed first.
    pub status: Option<ExitStatus>,
    /// All that was written to the terminal.
    pub log: String,
}

/// A running development HSM.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    data_dir: PathBuf,
    variables: BTreeMap<String, String>,
    log: PathBuf,
    scratch: TempDir,
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:?}; it wrote:\n{}", self.status, self.log)
    }
}

impl Options {
    /// Starts again in this data folder.
    pub fn in_dir(data_dir: &Path) -> Self {
        Self { data_dir: Some(data_dir.to_owned()), ..Self::default() }
    }

    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|word| (*word).to_owned()));
        self
    }
}

impl Dev {
    /// A fresh HSM in a temporary folder.
    pub fn fresh() -> Self {
        Self::start(Options::default())
    }

    /// Starts and waits until it is ready.
    pub fn start(options: Options) -> Self {
        Self::try_start(options).expect("dev gets ready")
    }

    /// Starts and waits until it is ready or has given up.
    pub fn try_start(options: Options) -> Result<Self, Failed> {
        let scratch = TempDir::new().expect("a temporary folder can be made");
        let data_dir = options.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let log = scratch.path().join("terminal.log");
        // A killed run leaves its file behind: wait for another one.
        let old = identity(&data_dir.join("dev.env"));
        let child = spawn(&options, &data_dir, &log, scratch.path());
        let mut dev = Self { child, data_dir, variables: BTreeMap::new(), log, scratch };
        dev.wait_until_ready(old)?;
        Ok(dev)
    }

    /// The value of a variable in `dev.env`.
    pub fn variable(&self, name: &str) -> &str {
        let value = self.variables.get(name);
        assert!(value.is_some(), "dev.env lacks {name}: {:?}", self.variables.keys());
        value.map_or("", String::as_str)
    }

    /// All variables of `dev.env`.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A folder for the test's own files, removed with this value.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The CA of this HSM.
    pub fn ca(&self) -> PathBuf {
        PathBuf::from(self.variable("CASEMATE_CA_FILE"))
    }

    /// A client of the HSM without a token.
    pub fn anonymous(&self) -> Rest {
        Rest::new(self.variable("CASEMATE_HSM_URL"), &self.ca())
    }

    /// A client of the HSM as the development principal.
    pub fn rest(&self) -> Rest {
        self.anonymous().with_token(&self.token())
    }

    /// A client of the control plane and the development issuer, without a token.
    pub fn control(&self) -> Rest {
        Rest::new(self.variable("CASEMATE_CONTROL_URL"), &self.ca())
    }

    /// A token of the development principal for the HSM.
    pub fn token(&self) -> String {
        let id = self.variable("AZURE_CLIENT_ID");
        let secret = self.variable("AZURE_CLIENT_SECRET");
        self.token_of(id, secret, "https://managedhsm.azure.net/.default")
    }

    /// A token of any application for any scope.
    pub fn token_of(&self, id: &str, secret: &str, scope: &str) -> String {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
            ("scope", scope),
        ];
        let answer = self.control().form("/adfs/oauth2/v2.0/token", &fields);
        let answer = answer.expect("the issuer answers").expect_ok("token");
        answer["access_token"].as_str().expect("the answer holds a token").to_owned()
    }

    /// The agent: the process that was started.
    pub fn agent(&self) -> u32 {
        self.child.id()
    }

    /// The partition process; waits a while for a healed one to appear.
    pub fn partition(&self) -> u32 {
        let mut found = None;
        process::eventually(Duration::from_secs(20), || {
            let is_partition =
                |one: &u32| process::command_line(*one).split(' ').any(|word| word == "partition");
            found = process::descendants(self.agent()).into_iter().rfind(is_partition);
            found.is_some()
        });
        found.expect("the agent has a partition process")
    }

    /// All that it wrote to the terminal so far.
    pub fn terminal(&self) -> String {
        read(&self.log)
    }

    /// Asks it to stop and demands a clean end. Its folder stays as long as the result.
    pub fn stop(self) -> Stopped {
        let mut dev = self;
        assert!(process::signal(dev.agent(), Signal::SIGTERM), "dev runs until it is stopped");
        let status = dev.wait(STOPPED_WITHIN);
        let log = dev.terminal();
        assert!(status.is_some_and(|status| status.success()), "stop: {status:?}\n{log}");
        dev.into_stopped()
    }

    /// Kills the agent as a power cut would and waits until all its processes are gone.
    pub fn kill9(mut self) -> Stopped {
        let all = process::descendants(self.agent());
        process::signal(self.agent(), Signal::SIGKILL);
        let status = self.wait(STOPPED_WITHIN).expect("a killed process ends");
        assert_eq!(status.signal(), Some(9), "it was killed and not stopped");
        for child in all {
            let command = process::command_line(child);
            assert!(process::ends_within(child, STOPPED_WITHIN), "still there: {command}");
        }
        self.into_stopped()
    }

    fn into_stopped(mut self) -> Stopped {
        let empty = TempDir::new().expect("a temporary folder can be made");
        let scratch = std::mem::replace(&mut self.scratch, empty);
        Stopped { data_dir: self.data_dir.clone(), log: read(&self.log), _scratch: scratch }
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn wait_until_ready(&mut self, old: Option<(u64, i64)>) -> Result<(), Failed> {
        let file = self.data_dir.join("dev.env");
        let end = Instant::now() + READY_WITHIN;
        loop {
            let status = self.child.try_wait().expect("the child is ours");
            let new = identity(&file);
            if status.is_none() && new.is_some() && new != old {
                self.variables = parse(&read(&file));
                return Ok(());
            }
            if status.is_some() || Instant::now() > end {
                return Err(Failed { status, log: self.terminal() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let below = process::descendants(self.agent());
        process::signal(self.agent(), Signal::SIGTERM);
        if self.wait(Duration::from_secs(10)).is_none() {
            process::signal(self.agent(), Signal::SIGKILL);
            // Without this the killed child would stay a zombie until the test ends.
            let _reaped = self.child.wait();
        }
        for child in below.into_iter().filter(|child| process::runs(*child)) {
            process::signal(child, Signal::SIGKILL);
        }
    }
}

/// The folder of an HSM that no longer runs; removed with this value when it was temporary.
#[derive(Debug)]
pub struct Stopped {
    /// The data folder.
    pub data_dir: PathBuf,
    /// What the ended run wrote to the terminal.
    pub log: String,
    _scratch: TempDir,
}

fn spawn(options: &Options, data_dir: &Path, log: &Path, scratch: &Path) -> Child {
    let casemate = places::casemate();
    let mut command = match options.through.split_first() {
        None => Command::new(&casemate),
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).arg(&casemate);
            command
        }
    };
    command.arg("dev").arg("--data-dir").arg(data_dir);
    for listener in ["--listen", "--hsm-listen", "--management-listen"] {
        if !options.arguments.iter().any(|word| word == listener) {
            command.args([listener, "127.0.0.1:0"]);
        }
    }
    let out = File::create(log).expect("the log can be made");
    let err = out.try_clone().expect("a file handle can be doubled");
    command.args(&options.arguments).envs(options.variables.iter().cloned());
    command.current_dir(options.folder.as_deref().unwrap_or(scratch));
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().expect("the program can be started")
}

fn identity(file: &Path) -> Option<(u64, i64)> {
    let facts = fs::metadata(file).ok()?;
    Some((facts.ino(), facts.mtime_nsec()))
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

/// Lines `NAME='value'`, `NAME="value"` or `NAME=value`, with or without `export`.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        if let Some((name, value)) = line.split_once('=') {
            let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            let value = quoted.unwrap_or_else(|| value.trim_matches('"'));
            variables.insert(name.to_owned(), value.replace("'\\''", "'"));
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn shell_lines_are_read() {
        let text = "# note\nexport A='b c'\nB=\"d\"\nC=e=f\n\nexport D='it'\\''s'\n";
        let variables = parse(text);
        let pairs: Vec<_> = variables.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("A", "b c"), ("B", "d"), ("C", "e=f"), ("D", "it's")]);
    }
}
