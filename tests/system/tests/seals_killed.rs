//! A node is killed at every step of a change of its seal: at each rename, sync and removal of a
//! file that one of its threads makes; and the process that seals anew at moments of its life.
//! Whatever the step, what the node's file says starts the HSM, or is refused and the other seal
//! does.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use casemate_system_tests::nodes::create;
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::{Dev, Node};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// The calls that are steps; the tracer counts each by itself.
const STEPS: [&str; 5] = ["fsync", "rename", "renameat2", "unlink", "mkdir"];
/// More of one call than a change has.
const STEPS_MAX: usize = 20;

fn seal(folder: &Path, name: &str) -> String {
    format!("[seal]\nkind = \"passphrase\"\nfile = {:?}\n", folder.join(name))
}

/// Kills the node when one of its threads makes the nth such call.
fn killer(node: u32, call: &str, step: usize, notes: &Path) -> Child {
    let errors = fs::File::create(notes).expect("the scratch folder can be written");
    let child = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-b", "execve"])
        .args(["-e", &format!("inject={call}:signal=KILL:when={step}")])
        .args(["-e", &format!("trace={call}"), "-p", &node.to_string()])
        .stdin(Stdio::null())
        .stderr(errors)
        .spawn()
        .expect("strace is installed");
    let traced = || {
        let status = fs::read_to_string(format!("/proc/{node}/status")).unwrap_or_default();
        status.contains(&format!("TracerPid:\t{}\n", child.id()))
    };
    assert!(eventually(PATIENCE, traced), "strace attaches");
    child
}

fn is_ready(node: &Node) -> bool {
    eventually(PATIENCE, || node.hsm_json(&["show", "alpha"])["state"] == "ready")
}

#[test]
fn a_death_at_any_step_leaves_the_seal_before_or_the_one_after() {
    let (dev, folder) = made();
    let path = folder.path();
    let (mut from, mut to) = ("one", "two");
    let (mut killed, mut done) = (0, 0);
    let steps = STEPS.iter().flat_map(|call| (1..=STEPS_MAX).map(move |step| (*call, step)));
    let mut over = "";
    for (call, step) in steps {
        if call == over {
            continue;
        }
        let node = Node::start_with(path, &seal(path, from), &[]);
        assert!(is_ready(&node), "{call} {step}: {}", node.log());
        let mut strace = killer(node.pid(), call, step, &path.join("notes"));
        Node::write_file(path, &seal(path, to));
        let changed = node.command("seal", &["change"]).status.success();
        let is_dead = || !process::runs(node.pid());
        // Its sockets are closed a moment before it is gone.
        let died = if changed { is_dead() } else { eventually(PATIENCE, is_dead) };
        // Asked to end, it would wait for threads that end just then, and for ever.
        process::signal(strace.id(), Signal::SIGKILL);
        strace.wait().expect("strace ends");
        assert!(died || changed, "{call} {step}: it is refused for no reason");
        killed += usize::from(died);
        done += usize::from(!died);
        node.kill();
        // What was said to be done is done: the new file starts, and by the new passphrase alone.
        if changed {
            fs::rename(path.join(from), path.join("away")).expect("it is there");
            let node = Node::start_with(path, &seal(path, to), &[]);
            assert!(is_ready(&node), "{call} {step}: {}", node.log());
            node.stop();
            fs::rename(path.join("away"), path.join(from)).expect("it is there");
            (from, to) = (to, from);
        } else {
            (from, to) = after(path, from, to, step);
        }
        if !died {
            // There is no such step any more.
            over = call;
        }
    }
    assert!(killed > 5 && done == STEPS.len(), "{killed} killed, {done} done");
    dev.stop();
}

#[test]
fn a_death_of_the_process_that_seals_anew_changes_nothing() {
    let (dev, folder) = made();
    let path = folder.path();
    let node = Node::start_with(path, &seal(path, "one"), &[]);
    assert!(is_ready(&node), "{}", node.log());
    let before = fs::read(path.join("data/seal.json")).expect("there is a seal");
    Node::write_file(path, &seal(path, "two"));
    let mut refused = 0;
    // Two passphrases are worked on for some tenths of a second.
    for moment in [0, 30, 60, 90, 120, 180] {
        let changed = thread::scope(|scope| {
            scope.spawn(|| {
                let mut victim = None;
                eventually(PATIENCE, || {
                    victim = resealing(node.pid());
                    victim.is_some()
                });
                thread::sleep(Duration::from_millis(moment));
                process::signal(victim.expect("it is started"), Signal::SIGKILL);
            });
            node.command("seal", &["change"]).status.success()
        });
        if changed {
            break;
        }
        refused += 1;
        assert_eq!(fs::read(path.join("data/seal.json")).expect("it is there"), before);
        let slots = fs::read_dir(path.join("data/seals/alpha")).expect("slots").count();
        assert_eq!(slots, 1, "nothing is left of it");
        assert_eq!(node.hsm_json(&["show", "alpha"])["state"], "ready");
    }
    assert!(refused > 1, "{refused} were cut off");
    node.stop();
    dev.stop();
}

/// The process that seals anew.
fn resealing(node: u32) -> Option<u32> {
    process::descendants(node).into_iter().find(|pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0reseal\0"))
    })
}

/// A node's folder with an HSM under the first of two passphrases.
fn made() -> (Dev, TempDir) {
    let dev = Dev::fresh();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path();
    for name in ["one", "two"] {
        let file = path.join(name);
        fs::write(&file, format!("the passphrase of {name}")).expect("it can be written");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("it is ours");
    }
    let node = Node::start_with(path, &seal(path, "one"), &[]);
    create(&node, &dev, "alpha");
    node.stop();
    (dev, folder)
}

/// Which seal is in force after a death: the new file starts the HSM, or the node says that the old
/// one is to be put back, and that one does. On odd steps the old one is put back at once.
fn after<'a>(path: &Path, from: &'a str, to: &'a str, step: usize) -> (&'a str, &'a str) {
    let (first, second) = if step % 2 == 1 { (from, to) } else { (to, from) };
    match Node::try_start(path, &seal(path, first), &[]) {
        Ok(node) => {
            assert!(is_ready(&node), "step {step}: {}", node.log());
            node.stop();
            (first, second)
        }
        Err(why) => {
            assert!(why.contains("casemate seal change"), "step {step}: {why}");
            let node = Node::start_with(path, &seal(path, second), &[]);
            assert!(is_ready(&node), "step {step}: {}", node.log());
            node.stop();
            (second, first)
        }
    }
}
