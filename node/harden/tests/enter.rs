//! A hardened process tries what it must not do; the kernel's view is read from outside.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use casemate_harden::observe;

const EPERM: i32 = 1;
const OTHER_USER: &str = "58123";

fn probe(root: &str, uid: &str, folder: &str, tries: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_casemate-harden-probe"))
        .args([folder, root, uid])
        .args(tries)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn outcome(root: &str, uid: &str, folder: &str, tries: &[&str]) -> Vec<String> {
    let output = probe(root, uid, folder, tries).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn nothing_forbidden_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let tries = [
        "socket",
        "tcp",
        "unix",
        "exec",
        "ptrace",
        "fork",
        "unshare",
        "mount",
        "keyctl",
        "bpf",
        "perf",
        "userfaultfd",
        "process_vm",
        "io_uring",
        "accept",
        "listen",
        "dumpable",
        "kill",
        "tgkill",
        "runnable",
        "thread",
        "root",
    ];
    let said = outcome("-", "-", folder.path().to_str().unwrap(), &tries);
    for name in tries {
        assert!(said.contains(&format!("{name} refused {EPERM}")), "{name}: {said:#?}");
    }
}

#[test]
fn files_outside_its_folder_are_refused_and_inside_they_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let said = outcome("-", "-", path, &["open", "up", "write", "pair"]);
    for wanted in ["open refused 13", "up refused 13", "write ok", "pair ok"] {
        assert!(said.contains(&wanted.to_owned()), "{wanted}: {said:#?}");
    }
}

#[test]
fn a_second_thread_makes_it_too_late() {
    let folder = tempfile::tempdir().unwrap();
    let said = outcome("-", "-", folder.path().to_str().unwrap(), &["late"]);
    assert_eq!(said, ["late refused 0"]);
}

#[test]
fn a_folder_that_is_missing_stops_the_start() {
    let said = outcome("-", "-", "/nonexistent/casemate", &["socket"]);
    assert_eq!(said, ["enter refused 0"]);
}

#[test]
fn the_kernel_confirms_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = probe("-", "-", folder.path().to_str().unwrap(), &["pair", "wait"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let report: Vec<String> =
        lines.by_ref().map(Result::unwrap).take_while(|line| line != "pair ok").collect();
    let seen = observe(child.id()).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    assert_eq!(seen.no_new_privs, Some(true));
    assert_eq!(seen.seccomp_mode, Some(2));
    assert_eq!(seen.seccomp_filters, Some(2));
    assert_eq!(seen.core_limit_bytes, Some(0));
    let has = |start: &str| report.iter().any(|line| line.starts_with(start));
    assert!(has("report no_new_privs: active"), "{report:#?}");
    assert!(has("report seccomp: active"), "{report:#?}");
    assert!(has("report own user: NOT active"), "{report:#?}");
    assert!(has("report root folder: NOT active"), "{report:#?}");
    let locks_all = has("report memory lock: active");
    assert_eq!(locks_all, seen.locked_kib.unwrap() > 0, "{report:#?}");
}

#[test]
fn as_root_it_gets_its_own_user_and_root_folder() {
    if !is_root() {
        // Without root the kernel must refuse what only root may do, and the start with it.
        let said = outcome("/tmp", OTHER_USER, "/", &["socket"]);
        assert_eq!(said, ["enter refused 0"]);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let uid: u32 = OTHER_USER.parse().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(uid), Some(uid)).unwrap();
    let root = folder.path().to_str().unwrap();
    let mut child =
        probe(root, OTHER_USER, "/", &["open", "write", "root", "socket", "core", "wait"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said: Vec<String> =
        lines.by_ref().map(Result::unwrap).take_while(|line| !line.starts_with("core")).collect();
    let seen = observe(child.id()).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    for wanted in ["open refused 2", "write ok", "root refused 1", "socket refused 1"] {
        assert!(said.contains(&wanted.to_owned()), "{wanted}: {said:#?}");
    }
    assert_eq!((seen.uid, seen.gid), (Some(uid), Some(uid)));
    assert_eq!(seen.capabilities, Some(0));
    assert_eq!(seen.dumpable, Some(false));
    assert_eq!(seen.root.as_deref(), Some(folder.path()));
    assert_eq!(seen.listening, Some(0));
}

#[test]
fn a_process_that_connects_listens_nowhere_and_reads_no_more_than_names() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::fs::write(folder.path().join("port"), port).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(&[1]).unwrap();
        }
    });
    let fine = ["network", "answer", "resolve", "write", "pair"];
    let refused = [
        "bind", "listen", "accept", "unix", "netlink", "packet", "exec", "fork", "ptrace",
        "unshare", "mount", "keyctl", "io_uring", "kill", "runnable",
    ];
    let tries: Vec<&str> = fine.into_iter().chain(refused).chain(["open", "up"]).collect();
    let said = outcome("-", "-", folder.path().to_str().unwrap(), &tries);
    for name in fine {
        assert!(said.contains(&format!("{name} ok")), "{name}: {said:?}");
    }
    for name in refused {
        assert!(said.contains(&format!("{name} refused {EPERM}")), "{name}: {said:?}");
    }
    for name in ["open", "up"] {
        let line = said.iter().find(|line| line.starts_with(&format!("{name} ")));
        assert!(line.is_some_and(|line| line.contains("refused")), "{name}: {said:?}");
    }
}

#[test]
fn a_process_with_a_token_reaches_its_paths_and_nothing_beside_them() {
    let (folder, token) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().to_str().unwrap();
    let inside = token.path().join("object");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(&inside, b"object").unwrap();
    std::fs::write(other.path().join("object"), b"object").unwrap();
    let word = |what: &str, path: std::path::PathBuf| format!("{what}={}", path.display());
    let tries = [
        word("path", token.path().to_owned()),
        word("read", inside.clone()),
        word("make", token.path().join("new")),
        word("read", other.path().join("object")),
        word("make", other.path().join("new")),
    ];
    let words: Vec<&str> = tries.iter().map(String::as_str).collect();
    let said = outcome("-", "-", path, &words);
    for (name, wanted) in tries.iter().skip(1).zip(["ok", "ok", "refused 13", "refused 13"]) {
        assert!(said.contains(&format!("{name} {wanted}")), "{name}: {said:#?}");
    }
    if !is_root() {
        return;
    }
    // In another root folder the token has the same path, and what lies beside it is not there.
    let said = outcome(path, "-", "/", &words);
    for (name, wanted) in tries.iter().skip(1).zip(["ok", "ok", "refused 2", "refused 2"]) {
        assert!(said.contains(&format!("{name} {wanted}")), "{name}: {said:#?}");
    }
    assert_eq!(std::fs::read(token.path().join("new")).unwrap(), b"made");
    let shown = folder.path().join(token.path().strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_dir(shown).unwrap().count(), 0, "the mount was its own");
}

#[test]
fn a_link_on_the_way_to_a_shown_path_is_refused() {
    if !is_root() {
        return;
    }
    let (folder, token) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = token.path().components().nth(1).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join(first)).unwrap();
    let path = format!("path={}", token.path().display());
    let said = outcome(folder.path().to_str().unwrap(), "-", "/", &[&path, "write"]);
    assert!(said.iter().any(|line| line.starts_with("enter refused")), "{said:#?}");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_process_with_a_daemon_makes_unix_sockets_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let tries =
        ["daemon", "unix", "socket", "tcp", "netlink", "packet", "listen", "accept", "exec"];
    let said = outcome("-", "-", path, &tries);
    assert!(said.contains(&"unix ok".to_owned()), "{said:#?}");
    for name in &tries[2..] {
        assert!(said.contains(&format!("{name} refused {EPERM}")), "{name}: {said:#?}");
    }
}
