//! Runs foreign clients (Python, Node, `az`) against a running server.
//!
//! They get the variables of `dev.env`, a home of their own and, when asked for, a hosts file of
//! their own in a private mount namespace. The machine's hosts file is never touched.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::dev::Dev;
use crate::places;

/// A client that runs longer than this hangs.
const RUN_MAX: Duration = Duration::from_secs(480);

/// What a client's run gave.
#[derive(Debug, Clone)]
pub struct Run {
    /// Whether it ended with exit code 0.
    pub success: bool,
    /// Its exit code, when no signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub out: String,
    /// What it wrote to its standard error.
    pub err: String,
}

/// One prepared call of a foreign client.
#[derive(Debug)]
pub struct Client {
    program: PathBuf,
    words: Vec<String>,
    variables: Vec<(String, String)>,
    hosts: Option<PathBuf>,
    folder: PathBuf,
}

impl Client {
    /// A client with the variables that `dev` wrote for it.
    ///
    /// `home` becomes its home and working folder, so that it leaves nothing elsewhere.
    pub fn of(dev: &Dev, program: &Path, home: &Path) -> Self {
        let variables = dev.variables().iter();
        let mut client = Self {
            program: program.to_owned(),
            words: Vec::new(),
            variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
            hosts: None,
            folder: home.to_owned(),
        };
        client = client.variable("HOME", &home.display().to_string());
        client = client.variable("TEST_DATA_DIR", &dev.data_dir().display().to_string());
        client = client.variable("TEST_CASEMATE", &places::casemate().display().to_string());
        client.variable("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// Adds an argument.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.words.push(word.to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn words<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.words.extend(words.into_iter().map(ToOwned::to_owned));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(present, _)| present != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(present, _)| present != name);
        self
    }

    /// Lets these names mean this machine, for this client alone.
    #[must_use]
    pub fn hosts(mut self, names: &[&str]) -> Self {
        let file = self.folder.join("hosts");
        let text = format!("127.0.0.1 localhost {}\n", names.join(" "));
        fs::write(&file, text).expect("the client's home can be written");
        self.hosts = Some(file);
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        let mut command = self.command();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(child.spawn().expect("the client's program can be started"))
    }

    /// Runs it to its end and demands success.
    pub fn succeed(self, what: &str) -> String {
        let run = self.run();
        assert!(run.success, "{what}: exit {:?}\n{}\n{}", run.code, run.out, run.err);
        run.out
    }

    fn command(&self) -> Command {
        let mut command = match &self.hosts {
            None => Command::new(&self.program),
            Some(hosts) => {
                let words = private_hosts(hosts);
                let (program, words) = words.split_first().expect("there are words");
                let mut command = Command::new(program);
                command.args(words).arg(&self.program);
                command
            }
        };
        command.args(&self.words).current_dir(&self.folder).env_clear();
        // Locale and search path are the machine's; all else is chosen here.
        for name in ["PATH", "LANG", "LD_LIBRARY_PATH", "XDG_CACHE_HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The words before a command that let it run in a mount namespace of its own, where another file
/// lies over `/etc/hosts`.
pub fn private_hosts(hosts: &Path) -> Vec<String> {
    let script = "mount --make-rprivate / && mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let root = nix::unistd::geteuid().is_root();
    let mapped: &[&str] = if root { &[] } else { &["--map-root-user"] };
    let words = [&["unshare"], mapped, &["--mount", "sh", "-c", script]].concat();
    words.into_iter().map(str::to_owned).chain([hosts.display().to_string()]).collect()
}

fn finish(mut child: Child) -> Run {
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    let end = Instant::now() + RUN_MAX;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if Instant::now() > end {
            child.kill().expect("the child is ours");
        }
        thread::sleep(Duration::from_millis(20));
    };
    let out = out.join().expect("a reader does not panic");
    let err = err.join().expect("a reader does not panic");
    Run { success: status.success(), code: status.code(), out, err }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is all that can be shown.
            let _ended = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
