//! The agent as a process, with a stand-in for its partition: started, killed, stopped.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent; killed when the test ends.
struct Dev {
    child: Child,
    folder: PathBuf,
}

impl Dev {
    fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_casemate-agent-probe"))
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, folder: folder.to_owned() }
    }

    /// What `dev.env` says once the ready block was printed.
    fn env(&mut self) -> HashMap<String, String> {
        let mut block = BufReader::new(self.child.stdout.take().unwrap());
        let mut first = String::new();
        block.read_line(&mut first).unwrap();
        assert!(first.starts_with("The HSM answers at https://127.0.0.1:"), "{first}");
        let text = std::fs::read_to_string(self.folder.join("dev.env")).unwrap();
        let line = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        text.lines().filter_map(line).collect()
    }

    fn signal(&self, signal: Signal) {
        kill(pid_of(self.child.id()), signal).unwrap();
    }

    fn end(&mut self) -> (ExitStatus, String) {
        let status = until(|| self.child.try_wait().unwrap());
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said)
    }

    /// A request over TLS; the answer as text.
    fn get(&self, url: &str, name: &str, path: &str) -> Option<String> {
        let address: SocketAddr = authority(url).replace("localhost", "127.0.0.1").parse().unwrap();
        let pem = std::fs::read(self.folder.join("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(address).ok()?);
        let host = authority(url);
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The partition that answers now.
    fn partition(&self, env: &HashMap<String, String>) -> Option<u32> {
        let answer = self.get(&env["CASEMATE_HSM_URL"], "127.0.0.1", "/keys")?;
        answer.rsplit("\r\n").next()?.parse().ok()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

fn authority(url: &str) -> &str {
    url.strip_prefix("https://").unwrap()
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_gone(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ")
}

#[test]
fn it_starts_tells_how_to_use_it_and_stops_without_a_trace() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("it's here");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("dev.env"), "left behind").unwrap();
    let mut dev = Dev::start(&folder);
    let env = dev.env();
    let mode = std::fs::metadata(folder.join("dev.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(env["AZURE_TENANT_ID"], "adfs");
    assert!(env.values().all(|value| !value.ends_with('/')));
    let answer = dev.get(&env["CASEMATE_HSM_URL"], "127.0.0.1", "/keys").unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let metadata = "/adfs/.well-known/openid-configuration";
    let answer = dev.get(&env["AZURE_AUTHORITY_HOST"], "localhost", metadata).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("token_endpoint"), "{answer}");
    dev.signal(Signal::SIGTERM);
    let (status, said) = dev.end();
    assert!(status.success(), "{said}");
    for name in ["dev.env", "agent.sock"] {
        assert!(!folder.join(name).exists(), "{name}");
    }
}

#[test]
fn names_of_nobody_get_an_alert_and_other_hosts_421() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(parent.path());
    let env = dev.env();
    let base = &env["CASEMATE_CONTROL_URL"];
    assert!(dev.get(base, "other.managedhsm.localhost", "/").is_none());
    let address: SocketAddr = authority(base).replace("localhost", "127.0.0.1").parse().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let hello = include_bytes!("../testdata/openssl-tls12.hello");
    let cut = hello.len() - 1;
    let mut other = hello.to_vec();
    // Another name of the same length: `dev.vault…` becomes `xev.vault…`.
    let place = other.windows(4).position(|bytes| bytes == b"dev.").unwrap();
    other[place] = b'x';
    stream.write_all(&other[..cut]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(&other[cut..]).unwrap();
    let mut alert = Vec::new();
    stream.read_to_end(&mut alert).unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112]);
    let odd = dev.get(base, "login.localhost", "http://elsewhere/adfs").unwrap();
    assert!(odd.starts_with("HTTP/1.1 421"), "{odd}");
}

#[test]
fn a_killed_partition_is_started_again_and_a_killed_agent_takes_its_partition_along() {
    let parent = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(parent.path());
    let env = dev.env();
    let first = until(|| dev.partition(&env));
    kill(pid_of(first), Signal::SIGKILL).unwrap();
    let second = until(|| dev.partition(&env).filter(|pid| *pid != first));
    dev.signal(Signal::SIGKILL);
    dev.child.wait().unwrap();
    until(|| is_gone(second).then_some(()));
    assert!(parent.path().join("dev.env").exists());
    let mut again = Dev::start(parent.path());
    let env = again.env();
    until(|| again.partition(&env).filter(|pid| *pid != second));
}

#[test]
fn a_partition_that_refuses_ends_the_run_with_its_reason() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("refuse"), "").unwrap();
    let mut dev = Dev::start(parent.path());
    let (status, said) = dev.end();
    assert!(!status.success());
    assert!(said.contains("restore the folder"), "{said}");
    assert!(!parent.path().join("dev.env").exists());
}

#[test]
fn a_partition_that_wants_a_foreign_certificate_never_serves() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("foreign"), "").unwrap();
    let mut dev = Dev::start(parent.path());
    std::thread::sleep(Duration::from_secs(1));
    dev.signal(Signal::SIGTERM);
    let (_, said) = dev.end();
    assert!(said.contains("login.localhost was asked for"), "{said}");
    assert!(!parent.path().join("dev.env").exists());
}

#[test]
fn a_second_run_in_the_same_folder_is_told_of_the_first() {
    let parent = tempfile::tempdir().unwrap();
    let mut first = Dev::start(parent.path());
    first.env();
    let mut second = Dev::start(parent.path());
    let (status, said) = second.end();
    assert!(!status.success());
    assert!(said.contains(&format!("process {}", first.child.id())), "{said}");
    assert!(parent.path().join("dev.env").exists());
}

#[test]
fn a_stop_does_not_wait_for_a_partition_that_is_still_starting() {
    let parent = tempfile::tempdir().unwrap();
    std::fs::write(parent.path().join("slow"), "").unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let seen = parent.path().join("hsm/dev/pid");
        let _ = std::fs::remove_file(&seen);
        let mut dev = Dev::start(parent.path());
        let partition: u32 = until(|| std::fs::read_to_string(&seen).ok()?.parse().ok());
        let told = Instant::now();
        dev.signal(signal);
        let (status, said) = dev.end();
        assert!(status.success(), "{signal}: {said}");
        assert!(told.elapsed() < Duration::from_secs(3), "{signal}: {:?}", told.elapsed());
        assert!(is_gone(partition), "{signal}");
        assert!(!parent.path().join("dev.env").exists(), "{signal}");
    }
}

#[test]
fn an_hsm_is_not_started_without_what_it_trusts() {
    for lost in ["ca.key", "ca.pem", "issuer", "issuer/directory.json", "agent.json"] {
        let parent = tempfile::tempdir().unwrap();
        let mut dev = Dev::start(parent.path());
        dev.env();
        dev.signal(Signal::SIGTERM);
        assert!(dev.end().0.success());
        std::fs::write(parent.path().join("hsm/dev/seal.bin"), "").unwrap();
        let path = parent.path().join(lost);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let mut again = Dev::start(parent.path());
        let (status, said) = again.end();
        assert!(!status.success(), "{lost}: {said}");
        let name = lost.split('/').next().unwrap();
        assert!(said.contains(name) && said.contains("restore"), "{lost}: {said}");
        assert!(!path.exists(), "{lost} is not made anew");
        assert!(!parent.path().join("dev.env").exists(), "{lost}");
    }
}
