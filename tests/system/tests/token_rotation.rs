//! A new secret for an HSM whose keys live in a token: they are wrapped anew inside it, with kills
//! meanwhile; what the token keeps of the epoch before opens its backups, or is gone.

use std::thread;
use std::time::Duration;

use casemate_system_tests::rotating::{
    DONE_TIMEOUT, User, back_up, begun, body, file, make, officers, purge, recovered_in, request,
    rotate, sign, status, verifies, wait_until_done,
};
use casemate_test_kit::process::{self, eventually};
use casemate_test_kit::random::Random;
use casemate_test_kit::tokens::{Kind, TestToken};
use casemate_test_kit::{Dev, Rest, audit};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const PRESENT: &str = "casemate wrapping key";
const EARLIER: &str = "casemate wrapping key of an earlier epoch";

fn count(labels: &[String], wanted: &str) -> usize {
    labels.iter().filter(|label| *label == wanted).count()
}

/// What a key wrapped.
fn wrap(rest: &mut Rest, name: &str, algorithm: &str) -> Value {
    let input = json!({ "alg": algorithm, "value": "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk" });
    let wrapped = rest.call("POST", &format!("/keys/{name}/wrapkey"), &input);
    wrapped.expect("an answer").expect_ok("wrapkey")["value"].clone()
}

fn unwraps(rest: &mut Rest, name: &str, algorithm: &str, wrapped: &Value) -> bool {
    let input = json!({ "alg": algorithm, "value": wrapped });
    let opened = rest.call("POST", &format!("/keys/{name}/unwrapkey"), &input);
    let opened = opened.expect("an answer").expect_ok("unwrapkey");
    opened["value"] == "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk"
}

fn mac(rest: &mut Rest, name: &str) -> Value {
    let input = json!({ "alg": "HS256", "value": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc" });
    let signed = rest.call("POST", &format!("/keys/{name}/sign"), &input);
    signed.expect("an answer").expect_ok("sign")["value"].clone()
}

/// Keys of each kind, and what they made.
struct Made {
    signatures: Vec<(String, Value)>,
    wrapped: [(&'static str, &'static str, Value); 2],
    mac: Value,
}

impl Made {
    fn new(rest: &mut Rest, count: usize) -> Self {
        let signatures = (0..count).map(|at| {
            let name = format!("k{at}");
            make(rest, &name);
            let signature = sign(rest, &name);
            (name, signature)
        });
        let signatures = signatures.collect();
        for (name, body) in [
            ("rsa", json!({ "kty": "RSA-HSM", "key_size": 2048 })),
            ("oct", json!({ "kty": "oct-HSM", "key_size": 256 })),
        ] {
            let made = rest.call("POST", &format!("/keys/{name}/create"), &body);
            made.expect("an answer").expect_ok(name);
        }
        let wrapped = [("rsa", "RSA-OAEP-256"), ("oct", "A256KW")]
            .map(|(name, algorithm)| (name, algorithm, wrap(rest, name, algorithm)));
        Self { signatures, wrapped, mac: mac(rest, "oct") }
    }

    fn demand(&self, rest: &mut Rest, when: &str) {
        for (name, signature) in &self.signatures {
            assert!(verifies(rest, name, signature), "{name} {when}");
            let again = sign(rest, name);
            assert!(verifies(rest, name, &again), "{name} {when}");
        }
        for (name, algorithm, wrapped) in &self.wrapped {
            assert!(unwraps(rest, name, algorithm, wrapped), "{name} {when}");
        }
        assert_eq!(mac(rest, "oct"), self.mac, "{when}");
    }
}

#[test]
fn the_secret_changes_under_use_and_the_token_keeps_what_opens_earlier_backups() {
    for kind in Kind::ALL {
        let token = TestToken::new(kind);
        let dev = Dev::start(token.options());
        let old = file(&officers(&dev), "security-domain.json");
        let mut rest = dev.rest();
        let made = Made::new(&mut rest, 12);
        let of_one = ["k0", "rsa", "oct"].map(|name| back_up(&mut rest, name));
        let before = token.kept();
        assert!(count(&before, PRESENT) > 0 && count(&before, EARLIER) == 0, "{before:?}");
        let user = User::begin(&dev);
        let new = file(dev.scratch(), "domain-2.json");
        let done = rotate(&dev, &request(&dev, &old, 2, &[]), &new);
        assert!(done.success && done.out.contains("\"Success\""), "{done:?}");
        assert!(user.end() > 0, "it was answered meanwhile");
        let mut rest = dev.rest();
        made.demand(&mut rest, "after it");
        let after = token.kept();
        assert_eq!(count(&after, EARLIER), 1, "{after:?}");
        assert_eq!(count(&after, PRESENT), count(&before, PRESENT), "{before:?} {after:?}");
        // Backups of the epoch before are restored here and under the new file in another token.
        for (name, backup) in ["k0", "rsa", "oct"].into_iter().zip(&of_one) {
            purge(&mut rest, name);
            rest.call("POST", "/keys/restore", backup).expect("an answer").expect_ok(name);
        }
        made.demand(&mut rest, "restored");
        let of_two = back_up(&mut rest, "k1");
        another_token(&dev, kind, &new, (&of_one[0], &of_two), &made);
        let data_dir = dev.data_dir().to_owned();
        let stopped = dev.stop();
        let dev = Dev::start(token.options_again(&data_dir));
        made.demand(&mut dev.rest(), "after a restart");
        let stopped_again = dev.stop();
        let counts = audit::counts(&stopped_again.data_dir);
        assert_eq!(counts.get("SecurityDomainEpochLeft"), Some(&1), "{counts:?}");
        drop((stopped, stopped_again));
    }
}

fn another_token(
    first: &Dev,
    kind: Kind,
    domain: &str,
    (of_one, of_two): (&Value, &Value),
    made: &Made,
) {
    let token = TestToken::new(kind);
    let second = recovered_in(token.options(), first, domain);
    assert!(token.kept().contains(&EARLIER.to_owned()), "{:?}", token.kept());
    let mut rest = second.rest();
    for (name, backup) in [("k0", of_one), ("k1", of_two)] {
        rest.call("POST", "/keys/restore", backup).expect("an answer").expect_ok(name);
        let (_, signature) = made.signatures.iter().find(|(of, _)| of == name).expect("a key");
        assert!(verifies(&mut rest, name, signature));
    }
    second.stop();
}

/// Kills the whole agent while a new epoch begins, and the partition while keys are wrapped anew.
#[test]
fn a_kill_at_any_moment_leaves_every_key_and_a_forgotten_epoch_leaves_the_token() {
    let mut after = 0;
    let mut random = Random::seeded(12);
    for round in 0..4_u64 {
        let token = TestToken::new(Kind::SoftHsm);
        let dev = Dev::start(token.options());
        let mut rest = dev.rest();
        let made = Made::new(&mut rest, 60);
        let before = token.kept();
        let domain = file(&officers(&dev), "security-domain.json");
        let asked = body(&request(&dev, &domain, 2, &["--forget-before", "2"]));
        let asking = {
            let (mut rest, asked) = (dev.rest(), asked.clone());
            thread::spawn(move || {
                let answer = rest.call("POST", "/securitydomain/rotate", &asked);
                answer.map(|answer| answer.status)
            })
        };
        // The start with the token takes longer than all the rest: it is killed in that, too.
        thread::sleep(Duration::from_millis(round * round * 120 + random.next() % 20));
        let data_dir = dev.data_dir().to_owned();
        let stopped = dev.kill9();
        let answered = asking.join().expect("the thread ends");
        let dev = Dev::start(token.options_again(&data_dir));
        if begun(&dev).is_some() {
            after += 1;
        } else {
            assert!(!matches!(answered, Ok(202)), "what was answered is done");
            let answer = dev.rest().call("POST", "/securitydomain/rotate", &asked);
            assert_eq!(answer.expect("an answer").status, 202, "it is done anew");
        }
        process::signal(dev.partition(), Signal::SIGKILL);
        let answers = || status(&dev).is_some_and(|status| status["epoch"] == 2);
        assert!(eventually(DONE_TIMEOUT, answers), "what was answered is done");
        wait_until_done(&dev, 2);
        let works = || dev.rest().ask("GET", "/keys").is_ok_and(|answer| answer.status == 200);
        assert!(eventually(DONE_TIMEOUT, works), "it was opened anew");
        made.demand(&mut dev.rest(), &format!("in round {round}"));
        // SoftHSM2 that is killed in the midst of C_CreateObject leaves an object without a name
        // and a value; all that is put in here has a name.
        let named: Vec<_> = token.kept().into_iter().filter(|label| !label.is_empty()).collect();
        assert_eq!(named, before, "the new key in the place of the old one, and no more");
        dev.stop();
        drop(stopped);
    }
    assert!(after > 0, "none was killed after it had begun");
}
