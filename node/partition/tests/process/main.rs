//! A real partition process against an agent played by this test: confined, started, asked over
//! TLS, stopped, started again, refused.
//!
//! The test starts itself again as the partition, so it has no test harness, which would bring
//! threads along: a partition begins on the only thread of its process.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod played_agent;

use std::fs;
use std::process::ExitCode;

use casemate_channel::ToAgent;
use casemate_test_kit::own_main;
use played_agent::{PARTITION, Partition, PlayedAgent};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(PARTITION) {
        return casemate_partition::main();
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    own_main::run(&mut [
        ("it_is_confined_answers_stops_and_comes_back", &mut || {
            runtime.block_on(it_is_confined_answers_stops_and_comes_back());
        }),
        ("a_store_that_was_changed_is_refused_with_advice", &mut || {
            runtime.block_on(a_store_that_was_changed_is_refused_with_advice());
        }),
        ("a_seal_key_that_others_may_read_is_refused", &mut || {
            runtime.block_on(a_seal_key_that_others_may_read_is_refused());
        }),
    ])
}

async fn it_is_confined_answers_stops_and_comes_back() {
    let agent = PlayedAgent::new();
    let mut certificates = Vec::new();
    for create in [true, false] {
        let mut partition = agent.start(create);
        begins(&mut partition, &agent).await;
        for alpn in ["http/1.1", "h2"] {
            let (certificate, protocol) = partition.hello(&agent, alpn).await;
            assert_eq!(protocol, alpn);
            certificates.push(certificate);
        }
        answers(&partition, &agent).await;
        partition.stop().await;
    }
    certificates.dedup();
    assert_eq!(certificates.len(), 1, "the certificate outlives the process");
    leaves_behind(&agent);
}

/// Says how it is confined, then where it may call, then that it is ready.
async fn begins(partition: &mut Partition, agent: &PlayedAgent) {
    let heard = partition.hear().await;
    let active =
        |(name, state): &(String, String)| name == "seccomp" && state.starts_with("active");
    let confined = matches!(&heard, ToAgent::Hardened { report } if report.iter().any(active));
    assert!(confined, "{heard:?}");
    let hosts = vec!["localhost:8443".to_owned()];
    assert_eq!(partition.hear_signing(agent).await, ToAgent::Outbound { hosts });
    assert!(matches!(partition.hear_signing(agent).await, ToAgent::Ready { .. }));
}

async fn answers(partition: &Partition, agent: &PlayedAgent) {
    let (status, head) = partition.get(agent, "/keys?api-version=7.4").await;
    assert_eq!(status, 401, "{head}");
    assert!(head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{head}");
    partition.garbage().await;
    assert_eq!(partition.get(agent, "/keys").await.0, 401, "garbage harmed nobody");
}

fn leaves_behind(agent: &PlayedAgent) {
    // The object identifier of every EC key in PKCS#8.
    const EC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
    let key = fs::read(agent.file("tls.key")).unwrap();
    assert!(!key.windows(EC_KEY.len()).any(|part| part == EC_KEY), "the key lies in clear");
    let trail = fs::read_to_string(agent.file("audit/audit-00000000000000000001.jsonl")).unwrap();
    for operation in ["PartitionStart", "PartitionStop"] {
        assert_eq!(trail.matches(operation).count(), 2, "{trail}");
    }
}

async fn a_store_that_was_changed_is_refused_with_advice() {
    let agent = PlayedAgent::new();
    agent.start(true).run_once(&agent).await;
    let foreign = PlayedAgent::new();
    foreign.start(true).run_once(&foreign).await;
    fs::copy(foreign.file("records.db"), agent.file("records.db")).unwrap();
    let (code, message) = agent.start(false).fail(&agent).await;
    assert_eq!(code, "tampered", "{message}");
    assert!(message.contains("Put back"), "{message}");
}

async fn a_seal_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let agent = PlayedAgent::new();
    agent.start(true).run_once(&agent).await;
    fs::set_permissions(agent.file("seal.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let (code, message) = agent.start(false).fail(&agent).await;
    assert_eq!(code, "seal", "{message}");
    assert!(message.contains("chmod 600"), "{message}");
}
