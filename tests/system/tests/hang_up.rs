//! Callers that hang up before their answer: what they were allowed has its record all the same.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use casemate_system_tests::{authority, casemate, token};
use casemate_test_kit::tls::{self, Stream};
use casemate_test_kit::{Dev, audit, process};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};

/// Rounds of calls that are given up, and calls in each.
const ROUNDS: usize = 6;
const CALLS: usize = 40;
/// Connections of one who waits for its answers, so that the others wait for the pool.
const PATIENT: usize = 6;

/// An application that may use keys: its object id and its token.
fn caller(dev: &Dev, name: &str) -> (String, String) {
    let app = casemate(dev, &["dev", "identity", "add-app", name]);
    let field = |field: &str| app[field].as_str().expect("a text").to_owned();
    let definitions = "Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions";
    let role = format!("{definitions}/21dbd100-6940-42c2-9190-5d6cb909625b");
    let body = json!({"properties": {"roleDefinitionId": role, "principalId": field("objectId")}});
    let path =
        format!("/keys/providers/Microsoft.Authorization/roleAssignments/{}", field("objectId"));
    let granted = dev.rest().call("PUT", &path, &body).expect("an answer");
    assert_eq!(granted.status, 201, "{}", granted.text());
    (field("objectId"), token(dev, &field("appId"), &field("secret")))
}

fn sign() -> Value {
    json!({"alg": "RS256", "value": "A".repeat(43)})
}

/// A connection that is ready for a request.
fn connected(dev: &Dev) -> Stream {
    let host = authority(dev.variable("CASEMATE_HSM_URL"));
    let (name, port) = host.rsplit_once(':').expect("the URL names its port");
    let port = port.parse().expect("a port is a number");
    let mut stream =
        tls::connect(&tls::trust(&dev.ca()), name, port).expect("the HSM takes a connection");
    stream.conn.complete_io(&mut stream.sock).expect("the handshake comes to its end");
    stream
}

/// A request to sign.
fn request(dev: &Dev, token: &str) -> Vec<u8> {
    let host = authority(dev.variable("CASEMATE_HSM_URL"));
    let body = sign().to_string();
    let length = body.len();
    format!(
        "POST /keys/rsa/sign?api-version=7.4 HTTP/1.1\r\nHost: {host}\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Closes the connection at once, with a reset.
fn reset(stream: Stream) {
    let at_once = linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream.sock.as_fd(), sockopt::Linger, &at_once).expect("the option can be set");
}

/// A count of the metrics.
fn count(dev: &Dev, name: &str) -> usize {
    use std::io::Read;
    let address = dev.variable("CASEMATE_MANAGEMENT_URL").trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request can be sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer comes");
    let values = text.lines().filter(|line| line.starts_with(name));
    let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    values.sum()
}

/// Uses of the key that are recorded, of one caller or of all.
fn uses(dev: &Dev, caller: &str) -> Vec<Value> {
    let mut all = audit::records(dev.data_dir());
    all.retain(|one| {
        one["operationName"] == "KeySign"
            && one["identity"].as_str().is_some_and(|identity| identity.contains(caller))
    });
    all
}

#[test]
fn every_call_whose_caller_went_away_has_its_record() {
    let dev = Dev::fresh();
    let create = json!({"kty": "RSA-HSM", "key_size": 4096});
    dev.rest().call("POST", "/keys/rsa/create", &create).expect("an answer").expect_ok("a key");
    let (_, patient) = caller(&dev, "patient");
    let (gone, impatient) = caller(&dev, "impatient");
    let jobs_before = count(&dev, "casemate_pool_jobs_total");
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..PATIENT)
        .map(|_| {
            let (mut rest, over) = (dev.anonymous().with_token(&patient), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    rest.call("POST", "/keys/rsa/sign", &sign()).expect("an answer");
                }
            })
        })
        .collect();
    for _ in 0..ROUNDS {
        // All at once, and more than can be done until they hang up.
        let mut streams: Vec<_> = (0..CALLS).map(|_| connected(&dev)).collect();
        let request = request(&dev, &impatient);
        for stream in &mut streams {
            stream.write_all(&request).expect("the request can be sent");
        }
        std::thread::sleep(Duration::from_millis(20));
        streams.into_iter().for_each(reset);
    }
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("who waits is answered");
    }
    let hits = "casemate_service_api_hit_total{hsm=\"dev\",activity_type=\"key\",\
                activity_name=\"KeySign\"}";
    // What is counted is recorded, and what ran on the pool was counted.
    let told = || uses(&dev, "").len() == count(&dev, hits);
    assert!(process::eventually(Duration::from_secs(20), told), "a call without a record");
    let jobs = count(&dev, "casemate_pool_jobs_total") - jobs_before;
    let all = uses(&dev, "").len();
    assert!(jobs <= all, "{jobs} uses of the private key, {all} records");
    let left = uses(&dev, &gone);
    // A reset that overtakes its request leaves nothing to record: that is not the rule.
    assert!(left.len() * 2 > ROUNDS * CALLS, "{} of {}", left.len(), ROUNDS * CALLS);
    let abandoned = left.iter().filter(|one| one["errorCode"] == "Abandoned");
    let abandoned: Vec<_> = abandoned.collect();
    assert!(!abandoned.is_empty(), "nobody hung up in the midst of it");
    assert!(abandoned.iter().all(|one| one["key"]["name"] == "rsa"), "{abandoned:?}");
}
