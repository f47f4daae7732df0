//! A running `casemate node`, and the commands for its HSMs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{places, process};

/// The domain of its HSMs.
pub const DOMAIN: &str = "hsm.test";

/// Time to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node in a folder.
#[derive(Debug)]
pub struct Node {
    child: Child,
    folder: PathBuf,
}

impl Node {
    /// Starts the node of this folder and waits until it listens. What is in the folder stays.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, "", &[])
    }

    /// The same, with more at the end of its file and more in its environment.
    pub fn start_with(folder: &Path, more: &str, environment: &[(&str, &Path)]) -> Self {
        Self::try_start(folder, more, environment).expect("the node starts")
    }

    /// The same; what it said where it did not start.
    pub fn try_start(
        folder: &Path,
        more: &str,
        environment: &[(&str, &Path)],
    ) -> Result<Self, String> {
        Self::write_file(folder, more);
        let out = File::create(folder.join("out")).expect("the output can be kept");
        let err = File::create(folder.join("err")).expect("the log can be kept");
        let child = Command::new(places::casemate())
            .args(["node", "--config"])
            .arg(folder.join("node.toml"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("the program can be started");
        let mut node = Self { child, folder: folder.to_owned() };
        let listens = process::eventually(PATIENCE, || {
            node.ended() || node.said().contains("casemate hsm create")
        });
        if listens && !node.ended() { Ok(node) } else { Err(node.log()) }
    }

    /// Writes its file anew, with more at the end.
    pub fn write_file(folder: &Path, more: &str) {
        let data_dir = folder.join("data");
        let text = format!(
            "data_dir = {data_dir:?}\ndomain = \"{DOMAIN}\"\nregion = \"here\"\n\
             [listen]\nhsm = \"127.0.0.1:0\"\nmanagement = \"127.0.0.1:0\"\n{more}"
        );
        fs::write(folder.join("node.toml"), text).expect("the file can be written");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as nothing can refuse, and waits until it has gone with its partitions.
    pub fn kill(mut self) {
        let partitions = process::descendants(self.child.id());
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        for partition in partitions {
            assert!(process::ends_within(partition, PATIENCE), "a partition goes with its agent");
        }
    }

    /// The port of its HSMs.
    pub fn port(&self) -> u16 {
        let said = self.said();
        let address = said.split("listens on ").nth(1).and_then(|rest| rest.split(';').next());
        let port = address.and_then(|address| address.rsplit(':').next());
        port.and_then(|port| port.parse().ok()).expect("it says where it listens")
    }

    /// The address of its metrics.
    pub fn management(&self) -> String {
        let said = self.said();
        let url =
            said.split("metrics are at ").nth(1).and_then(|rest| rest.split("/metrics").next());
        url.expect("it says where metrics are").to_owned()
    }

    /// The CA of its HSMs.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("data/ca.pem")
    }

    /// Its data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The URL of one of its HSMs.
    pub fn url(&self, hsm: &str) -> String {
        format!("https://{hsm}.managedhsm.{DOMAIN}:{}", self.port())
    }

    /// Runs `casemate hsm …` for it.
    pub fn hsm(&self, words: &[&str]) -> Output {
        self.command("hsm", words)
    }

    /// Runs another command for it.
    pub fn command(&self, command: &str, words: &[&str]) -> Output {
        Command::new(places::casemate())
            .arg(command)
            .args(words)
            .arg("--config")
            .arg(self.folder.join("node.toml"))
            .output()
            .expect("the program can be started")
    }

    /// The same, which must succeed; its JSON.
    pub fn hsm_json(&self, words: &[&str]) -> Value {
        let out = self.hsm(words);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {error}\n{}", self.log());
        serde_json::from_slice(&out.stdout).expect("the answer is JSON")
    }

    /// What it wrote to its terminal.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("err")).unwrap_or_default()
    }

    /// Asks it to stop and demands a clean end.
    pub fn stop(mut self) {
        assert!(process::signal(self.child.id(), Signal::SIGTERM), "it runs until it is stopped");
        let ended = process::eventually(PATIENCE, || self.ended());
        let status = self.child.try_wait().ok().flatten();
        assert!(ended && status.is_some_and(|status| status.success()), "{}", self.log());
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("out")).unwrap_or_default()
    }

    fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.ended() {
            // Asked first: its partitions then end with it.
            process::signal(self.child.id(), Signal::SIGTERM);
            process::eventually(PATIENCE, || self.ended());
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}
