//! The processes of one `casemate dev`: what they may, how they end, what they leave behind.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use casemate_system_tests::authority;
use casemate_test_kit::process::{self, descendants, dies_of, ends_within, eventually};
use casemate_test_kit::{Dev, Options, places};
use nix::sys::signal::Signal;
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(30);

fn casemate(words: &[&str]) -> Output {
    let mut command = Command::new(places::casemate());
    command.args(words).output().expect("the program can be started")
}

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn make(dev: &Dev, name: &str) -> String {
    let body = json!({ "kty": "EC-HSM", "crv": "P-256" });
    let answer = dev.rest().call("POST", &format!("/keys/{name}/create"), &body);
    let answer = answer.expect("an answer").expect_ok("create");
    let kid = answer["key"]["kid"].as_str().expect("an id").to_owned();
    kid.rsplit('/').next().unwrap_or_default().to_owned()
}

fn has(dev: &Dev, name: &str, version: &str) {
    let path = format!("/keys/{name}/{version}/sign");
    let body = json!({ "alg": "ES256", "value": "A".repeat(43) });
    dev.rest().call("POST", &path, &body).expect("an answer").expect_ok(&path);
}

#[test]
fn the_partition_is_confined_and_the_doctor_says_so() {
    let dev = Dev::fresh();
    let partition = dev.partition();
    for (field, wanted) in [("Seccomp", "2"), ("NoNewPrivs", "1")] {
        assert_eq!(process::status(partition, field).as_deref(), Some(wanted), "{field}");
    }
    let capabilities = process::status(partition, "CapEff").expect("a living process");
    assert_eq!(capabilities.trim_start_matches('0'), "", "it keeps no capability");
    let limits = fs::read_to_string(format!("/proc/{partition}/limits")).expect("root may look");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    assert_eq!(core.map(|line| line.split_whitespace().nth(4)), Some(Some("0")), "{limits}");
    if nix::unistd::geteuid().is_root() {
        let user = process::status(partition, "Uid").expect("a living process");
        assert!(!user.split_whitespace().any(|id| id == "0"), "it has its own user: {user}");
        let root = fs::read_link(format!("/proc/{partition}/root")).expect("root may look");
        assert_ne!(root, Path::new("/"), "it has a root folder of its own");
    }
    let said = casemate(&["doctor", "--data-dir", &dev.data_dir().display().to_string()]);
    let said = text(&said).to_lowercase();
    for word in ["seccomp", "no_new_privs", "core", "landlock", "lock"] {
        assert!(said.contains(word), "the doctor says nothing of {word}: {said}");
    }
    dev.stop();
}

#[test]
fn the_doctor_names_the_module_that_was_built() {
    let dev = Dev::fresh();
    let said = casemate(&["doctor", "--data-dir", &dev.data_dir().display().to_string()]);
    let said = text(&said);
    let line = said.lines().find(|line| line.contains("AWS-LC")).expect("a line of the module");
    // `cargo xtask fips` says that the executable under test has the validated branch.
    let is_fips = std::env::var_os("CASEMATE_FIPS").is_some();
    assert_eq!(line.contains("AWS-LC FIPS module, in FIPS mode"), is_fips, "{line}");
    assert!(line.to_lowercase().contains("not validated"), "what is not is said: {line}");
    assert!(said.contains("known answers at each start"), "{said}");
    dev.stop();
}

#[test]
fn all_processes_end_with_the_agent_and_leftovers_do_not_block() {
    let dev = Dev::fresh();
    let version = make(&dev, "kept");
    let below = descendants(dev.agent());
    assert!(!below.is_empty(), "a partition is a process of its own");
    let stopped = dev.kill9();
    for process in below {
        assert!(ends_within(process, WITHIN), "{} is left", process::command_line(process));
    }
    assert!(stopped.data_dir.join("dev.env").exists(), "a killed agent cannot tidy up");
    let again = Dev::start(Options::in_dir(&stopped.data_dir));
    has(&again, "kept", &version);
    again.stop();
}

#[test]
fn a_dead_partition_is_healed_and_keeps_all_keys() {
    let dev = Dev::fresh();
    let version = make(&dev, "kept");
    for signal in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGTERM] {
        let victim = dev.partition();
        assert!(dies_of(victim, signal, WITHIN), "it dies of {signal}");
        let served = || dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200);
        assert!(eventually(WITHIN, served), "not served after {signal}: {}", dev.terminal());
        assert_ne!(dev.partition(), victim);
        has(&dev, "kept", &version);
    }
    assert!(process::runs(dev.agent()), "the agent goes on");
    dev.stop();
}

#[test]
fn a_restart_keeps_keys_identity_and_certificate_authority() {
    let dev = Dev::fresh();
    let version = make(&dev, "kept");
    let ca = fs::read(dev.ca()).expect("the CA file is there");
    let client = dev.variable("AZURE_CLIENT_ID").to_owned();
    let stopped = dev.stop();
    assert!(!stopped.data_dir.join("dev.env").exists(), "removed at the stop");
    let again = Dev::start(Options::in_dir(&stopped.data_dir));
    has(&again, "kept", &version);
    assert_eq!(fs::read(again.ca()).expect("the CA file is there"), ca);
    assert_eq!(again.variable("AZURE_CLIENT_ID"), client);
    again.stop();
}

#[test]
fn dev_env_is_private_complete_and_read_by_a_shell() {
    let dev = Dev::fresh();
    let file = dev.data_dir().join("dev.env");
    let mode = fs::metadata(&file).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    for name in [
        "CASEMATE_HSM_URL",
        "CASEMATE_HSM_NAMED_URL",
        "CASEMATE_CONTROL_URL",
        "AZURE_AUTHORITY_HOST",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_SUBSCRIPTION_ID",
        "CASEMATE_IDENTITY_ENDPOINT",
        "CASEMATE_IDENTITY_HEADER",
        "CASEMATE_CA_FILE",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "NODE_EXTRA_CA_CERTS",
    ] {
        let script = format!(". '{}' && printf %s \"${name}\"", file.display());
        let shell = Command::new("sh").args(["-c", &script]).env_clear().output();
        let told = String::from_utf8(shell.expect("a shell").stdout).expect("a text");
        assert_eq!(told, dev.variable(name), "{name}");
        assert!(!told.is_empty() && !told.ends_with('/'), "{name}: {told}");
    }
    assert_eq!(dev.variable("AZURE_TENANT_ID"), "adfs");
    let own = fs::read_to_string(dev.ca()).expect("the CA file is there");
    assert_eq!(own.matches("BEGIN CERTIFICATE").count(), 1, "our CA alone");
    for name in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
        let bundle = fs::read_to_string(dev.variable(name)).expect("the bundle is there");
        assert!(bundle.contains(own.trim()), "{name} has our CA");
    }
    dev.stop();
}

#[test]
fn a_bundle_that_was_set_before_stays_trusted() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let other = Dev::fresh();
    let before = parent.path().join("before.pem");
    fs::copy(other.ca(), &before).expect("the CA file is there");
    let variables = vec![("SSL_CERT_FILE".to_owned(), before.display().to_string())];
    let dev = Dev::start(Options { variables, ..Options::default() });
    let bundle = fs::read_to_string(dev.variable("SSL_CERT_FILE")).expect("the bundle is there");
    for ca in [fs::read_to_string(&before), fs::read_to_string(dev.ca())] {
        assert!(bundle.contains(ca.expect("a CA file").trim()));
    }
    dev.stop();
    other.stop();
}

#[test]
fn private_files_are_private() {
    let dev = Dev::fresh();
    make(&dev, "kept");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(dev.data_dir()) & 0o077, 0, "the data folder is nobody else's");
    for file in casemate_test_kit::scan::files(dev.data_dir()).expect("files can be listed") {
        let name = file.display().to_string();
        let public = name.ends_with(".pem") || name.ends_with(".crt");
        assert!(public || mode(&file) & 0o077 == 0, "{name}: {:o}", mode(&file));
    }
    dev.stop();
}

#[test]
fn two_agents_do_not_share_a_folder() {
    let dev = Dev::fresh();
    let second = Dev::try_start(Options::in_dir(dev.data_dir()));
    let failed = second.expect_err("the folder is in use");
    assert!(failed.status.is_some_and(|status| !status.success()), "{failed:?}");
    assert!(failed.log.contains(&dev.agent().to_string()), "it names the other: {}", failed.log);
    dev.rest().ask("GET", "/keys").expect("an answer").expect_ok("the first is untouched");
    dev.stop();
}

#[test]
fn a_taken_port_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let failed = Dev::try_start(Options::default().with(&["--listen", &address]));
    let failed = failed.expect_err("the port is taken");
    assert!(failed.status.is_some_and(|status| !status.success()), "{failed:?}");
    assert!(failed.log.contains(&address), "it names the port: {}", failed.log);
}

#[test]
fn contradictions_and_open_doors_are_refused() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let data_dir = parent.path().join("data").display().to_string();
    for (words, says) in [
        (&["--listen", "0.0.0.0:0"][..], "development-issuer"),
        (&["--hsm-listen", "[::]:0"], "development-issuer"),
        (&["--listen", "127.0.0.1:8443", "--hsm-listen", "127.0.0.1:8443"], "8443"),
        (&["--management-listen", "0.0.0.0:0"], "loopback"),
        (&["--management-listen", "127.0.0.1:8444"], "port"),
        (&["--limit", "no_such_limit=1"], "caller_requests_max"),
        (&["--limit", "pool_queue_max=0"], "pool_queue_max"),
        (&["--retention-days", "6"], "7"),
        (&["--retention-days", "91"], "90"),
        (&["--name", "no_underscores"], "name"),
        (&["--name", ""], "name"),
        (&["--ephemeral"], "ephemeral"),
        (&["--no-such-option"], "no-such-option"),
    ] {
        let output = casemate(&[&["dev", "--data-dir", &data_dir], words].concat());
        assert!(!output.status.success(), "{words:?} was accepted");
        assert!(text(&output).contains(says), "{words:?}: {}", text(&output));
    }
    assert!(!Path::new(&data_dir).join("dev.env").exists());
}

#[test]
fn what_was_fixed_at_creation_stays_fixed() {
    let dev = Dev::start(Options::default().with(&["--retention-days", "9"]));
    let stopped = dev.stop();
    for words in [&["--retention-days", "30"][..], &["--purge-protection"], &["--name", "other"]] {
        let failed = Dev::try_start(Options::in_dir(&stopped.data_dir).with(words));
        let failed = failed.expect_err("a contradiction to what is there");
        assert!(failed.status.is_some_and(|status| !status.success()), "{words:?}: {failed:?}");
        assert!(!failed.log.trim().is_empty(), "{words:?}: it must say why");
    }
    Dev::start(Options::in_dir(&stopped.data_dir)).stop();
}

#[test]
fn ephemeral_keeps_nothing() {
    let parent = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(places::casemate())
        .args(["dev", "--ephemeral", "--listen", "127.0.0.1:0", "--hsm-listen", "127.0.0.1:0"])
        .args(["--management-listen", "127.0.0.1:0"])
        .env("TMPDIR", parent.path())
        .env("HOME", parent.path())
        .env_remove("XDG_DATA_HOME")
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the program can be started");
    let ready = || {
        let files = casemate_test_kit::scan::files(parent.path()).unwrap_or_default();
        files.iter().any(|file| file.ends_with("dev.env"))
    };
    let was_ready = eventually(Duration::from_secs(60), ready);
    process::signal(child.id(), Signal::SIGTERM);
    let status = child.wait().expect("it ends");
    assert!(was_ready, "it was ready");
    assert!(status.success(), "{status}");
    let left = casemate_test_kit::scan::files(parent.path()).expect("files can be listed");
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "nothing is left");
}

#[test]
fn both_listeners_answer_under_their_names_and_no_other() {
    let dev = Dev::fresh();
    let ca = dev.ca();
    for (url, path) in [
        (dev.variable("CASEMATE_HSM_URL"), "/keys"),
        (dev.variable("CASEMATE_CONTROL_URL"), "/subscriptions"),
    ] {
        let answer = casemate_test_kit::Rest::new(url, &ca).ask("GET", path);
        assert_eq!(answer.expect("an answer").status, 401, "{url}");
    }
    // A name in the hello that nobody has, and a Host header that is another's.
    let (_, port) = authority(dev.variable("CASEMATE_CONTROL_URL")).rsplit_once(':').expect("port");
    let strange = format!("https://strange.example:{port}");
    assert!(casemate_test_kit::Rest::new(&strange, &ca).ask("GET", "/keys").is_err());
    let request = "GET /keys HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n";
    let answer = dev.anonymous().raw(request.as_bytes()).expect("an answer");
    assert!(matches!(answer.status, 401 | 421), "{} {}", answer.status, answer.text());
    let request = format!(
        "GET /keys?api-version=7.4 HTTP/1.1\r\nHost: elsewhere.example\r\n\
         Authorization: Bearer {}\r\n\r\n",
        dev.token()
    );
    assert_eq!(dev.anonymous().raw(request.as_bytes()).expect("an answer").status, 421);
    dev.stop();
}
