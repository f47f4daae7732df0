//! A real `casemate dev` that is told to stop while it starts: it ends well, whatever it was doing,
//! and leaves no process, no `dev.env` and nothing that a later start would stumble over.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_test_kit::{Dev, Options, places, process};
use nix::sys::signal::Signal;

/// It gets where a test waits for, and it ends, within this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Once told to stop, it does not wait for what it had begun.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// Times after which it is told, from the moment at which it listens to signals on; the last ones
/// are after a start on a quiet machine.
const AFTER_MS: [u64; 9] = [0, 5, 20, 50, 100, 200, 400, 800, 1_600];

/// A program that starts.
struct Starting {
    child: Child,
    seen: BTreeSet<u32>,
}

impl Starting {
    fn begin(data_dir: &Path, terminal: &Path) -> Self {
        let terminal = File::create(terminal).expect("the scratch folder can be written");
        let child = Command::new(places::casemate())
            .args(["dev", "--data-dir"])
            .arg(data_dir)
            .args(["--listen", "127.0.0.1:0", "--hsm-listen", "127.0.0.1:0"])
            .args(["--management-listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(terminal)
            .spawn()
            .expect("the program can be started");
        Self { child, seen: BTreeSet::new() }
    }

    /// Waits until something holds, and keeps in mind which processes there were.
    fn until(&mut self, holds: impl Fn(u32) -> bool) {
        let begun = Instant::now();
        while !holds(self.child.id()) {
            self.look();
            assert!(begun.elapsed() < PATIENCE, "it did not get there");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn look(&mut self) {
        self.seen.extend(process::descendants(self.child.id()));
    }

    /// Tells it to stop, and demands a clean end.
    fn stopped_well(mut self, data_dir: &Path, when: &str, terminal: &Path) {
        self.look();
        assert!(process::signal(self.child.id(), Signal::SIGTERM), "{when}: it runs");
        let told = Instant::now();
        let status = loop {
            self.look();
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            assert!(told.elapsed() < STOPS_WITHIN, "{when}: it does not stop");
            std::thread::sleep(Duration::from_millis(2));
        };
        let said = || std::fs::read_to_string(terminal).unwrap_or_default();
        assert!(status.success(), "{when}: {status}\n{}", said());
        assert!(!data_dir.join("dev.env").exists(), "{when}: dev.env is left");
        assert!(!data_dir.join("agent.sock").exists(), "{when}: agent.sock is left");
        for one in &self.seen {
            assert!(!process::runs(*one), "{when}: process {one} is left\n{}", said());
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Whether a handler for SIGTERM is there; before that the system ends the process itself.
fn listens_to_sigterm(process: u32) -> bool {
    let caught = process::status(process, "SigCgt").unwrap_or_default();
    let mask = u64::from_str_radix(&caught, 16).unwrap_or_default();
    mask & (1 << 14) != 0
}

fn has_child(process: u32, kind: &str) -> bool {
    let is_it = |one: &u32| process::command_line(*one).split(' ').any(|word| word == kind);
    process::descendants(process).iter().any(is_it)
}

/// The folder is what a start that was broken off left: the next one must do with it.
fn starts_again(data_dir: &Path) {
    let dev = Dev::start(Options::in_dir(data_dir));
    assert_eq!(dev.rest().ask("GET", "/keys").expect("an answer").status, 200);
    dev.stop();
}

#[test]
fn a_first_start_may_be_stopped_at_any_time() {
    for after_ms in AFTER_MS {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let (data_dir, terminal) = (parent.path().join("data"), parent.path().join("terminal"));
        let mut starting = Starting::begin(&data_dir, &terminal);
        starting.until(listens_to_sigterm);
        std::thread::sleep(Duration::from_millis(after_ms));
        starting.stopped_well(&data_dir, &format!("after {after_ms} ms"), &terminal);
        starts_again(&data_dir);
    }
}

#[test]
fn a_start_may_be_stopped_as_each_thing_appears() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let (data_dir, terminal) = (parent.path().join("data"), parent.path().join("terminal"));
    type Moment = (&'static str, Box<dyn Fn(u32) -> bool>);
    let file = |name: &'static str| -> Moment {
        let path = data_dir.join(name);
        (name, Box::new(move |_| path.exists()))
    };
    let moments: [Moment; 6] = [
        file("ca.pem"),
        file("agent.sock"),
        ("a partition", Box::new(|agent| has_child(agent, "partition"))),
        file("hsm/dev/seal.bin"),
        ("a courier", Box::new(|agent| has_child(agent, "courier"))),
        file("dev.env"),
    ];
    for (when, holds) in &moments {
        // The same folder each time: a later start finds what an earlier one left.
        let mut starting = Starting::begin(&data_dir, &terminal);
        starting.until(listens_to_sigterm);
        starting.until(holds);
        starting.stopped_well(&data_dir, when, &terminal);
    }
    starts_again(&data_dir);
}
