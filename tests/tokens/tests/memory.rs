//! Where key bytes are: a key that was made in the token is not in the memory of the process that
//! uses it, and one that was imported is not any more.
//!
//! Another process makes and uses the keys; this one learns their bytes by the specification of the
//! stored form, and then looks through the other's memory. The control is the software engine in
//! the same place: there they are found.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use casemate_engine_pkcs11::{EarlierKey, Pkcs11Engine, Token, TokenOptions};
use casemate_engine_port::{
    Curve, Engine, KeyHandle, KeySpec, OctSize, Place, RsaSize, Secret, SignAlgorithm,
};
use casemate_engine_soft::{Envelope, SoftEngine, associated_data, derived};
use casemate_test_kit::scan::Scanner;
use casemate_test_kit::softhsm::{self, LABEL};
use casemate_test_kit::tokens::{Kind, TestToken};
use casemate_token_tests::{again, given};

const SPECS: [KeySpec; 4] = [
    KeySpec::Rsa(RsaSize::B2048),
    KeySpec::Ec(Curve::P256),
    KeySpec::Ec(Curve::P521),
    KeySpec::Oct(OctSize::B256),
];
const WHICH: &str = "CASEMATE_TEST_ENGINE";
const KEY: [u8; 32] = [3; 32];
/// The material key of the epoch before.
const BEFORE: [u8; 32] = [2; 32];

/// The process that is looked through: makes one key of each kind, uses them, shows what is stored,
/// and waits.
fn role() {
    let token = |key: [u8; 32], earlier: Vec<EarlierKey>| {
        let folder = given().expect("a token is given").folder;
        let options = TokenOptions {
            module: softhsm::module(),
            label: LABEL.to_owned(),
            pin_file: softhsm::pin_file(&folder),
        };
        let token = Token::load(&options).expect("the module loads");
        Pkcs11Engine::open(token, Secret::new(key.to_vec()), earlier).expect("the token is usable")
    };
    let which = std::env::var(WHICH).unwrap_or_default();
    let place = Place::new("k");
    let generate = |engine: &dyn Engine| {
        SPECS.map(|spec| engine.generate(spec, &place).expect("it is made").wrapped)
    };
    let (engine, stored): (Box<dyn Engine>, _) = match which.as_str() {
        "soft" => {
            let engine = SoftEngine::new(Secret::new(KEY.to_vec())).expect("a key");
            let stored = generate(&engine);
            (Box::new(engine), stored)
        }
        "anew" => {
            let stored = generate(&token(BEFORE, Vec::new()));
            let material_key = Secret::new(BEFORE.to_vec());
            let engine = token(KEY, vec![EarlierKey { epoch: 1, material_key }]);
            let mut stored = stored.into_iter().zip(SPECS);
            let anew = SPECS.map(|_| {
                let (wrapped, spec) = stored.next().expect("as many as kinds");
                let anew = engine.rewrap(spec, &wrapped, &place).expect("it is wrapped anew");
                anew.expect("it was under the earlier key")
            });
            (Box::new(engine), anew)
        }
        _ => {
            let engine = token(KEY, Vec::new());
            let stored = generate(&engine);
            (Box::new(engine), stored)
        }
    };
    let mut kept = Vec::new();
    for (spec, wrapped) in SPECS.into_iter().zip(&stored) {
        let key = engine.open(spec, wrapped, &place).expect("it opens");
        uses(&*key, spec);
        let shown: String = wrapped.0.iter().map(|byte| format!("{byte:02x}")).collect();
        say(&format!("stored {shown}"));
        kept.push(key);
    }
    say("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("somebody writes");
    // Still open: the memory was looked at with every key in use.
    kept.iter().zip(SPECS).for_each(|(key, spec)| uses(&**key, spec));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads");
}

fn uses(key: &dyn KeyHandle, spec: KeySpec) {
    for algorithm in SignAlgorithm::ALL.into_iter().filter(|algorithm| algorithm.fits(spec)) {
        for length in [32, 48, 64] {
            if let Ok(signature) = key.sign(algorithm, &vec![7; length]) {
                let right = key.verify(algorithm, &vec![7; length], &signature);
                assert!(right.expect("no error"));
            }
        }
    }
}

struct Other {
    child: Child,
    stored: Vec<Vec<u8>>,
    /// Read to its end, so that the other can go on writing.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Other {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program can be started again");
        let output = child.stdout.take().expect("its output is a pipe");
        let mut stored = Vec::new();
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            let line = line.expect("it writes text");
            if let Some((_, shown)) = line.split_once("stored ") {
                let byte = |at| u8::from_str_radix(&shown[at..at + 2], 16).expect("it is hex");
                stored.push((0..shown.len()).step_by(2).map(byte).collect());
            } else if line.contains("ready") {
                break;
            }
        }
        assert_eq!(stored.len(), SPECS.len());
        Self { child, stored, lines }
    }

    fn end(mut self) {
        self.child.stdin.take().expect("its input is a pipe").write_all(b"\n").expect("it reads");
        let said: Vec<String> = self.lines.map_while(Result::ok).collect();
        assert!(said.iter().any(|line| line.contains("1 passed")), "{said:?}");
        assert!(self.child.wait().expect("it ends").success());
    }
}

/// The private bytes of a key that the token wrapped, by the specification.
fn of_token(spec: KeySpec, stored: &[u8]) -> Vec<u8> {
    let material_key = Secret::new(KEY.to_vec());
    let binding = derived(&material_key, b"casemate pkcs11 binding key v1");
    let envelope = Envelope::new(binding, b"casemate pkcs11 material v1");
    let aad = associated_data(0x21, spec, &Place::new("k"));
    let content = envelope.open(&aad, &stored[1..]).expect("it opens");
    let content = content.expose();
    let part = |from: usize| {
        let length = usize::from(u16::from_be_bytes([content[from], content[from + 1]]));
        (from + 2, from + 2 + length)
    };
    let (_, public) = part(1);
    let (from, to) = part(public);
    let key = derived(&material_key, b"casemate pkcs11 wrapping key v1");
    let kek = AesKek::new(&AES_256, key.expose()).expect("a key of 32 bytes");
    let mut out = vec![0; to - from];
    kek.unwrap_with_padding(&content[from..to], &mut out).expect("it unwraps").to_vec()
}

fn of_memory(spec: KeySpec, stored: &[u8]) -> Vec<u8> {
    let material_key = Secret::new(KEY.to_vec());
    let envelope = Envelope::new(material_key, b"casemate material v1");
    let aad = associated_data(1, spec, &Place::new("k"));
    envelope.open(&aad, &stored[1..]).expect("it opens").expose().to_vec()
}

/// What must not be seen: the parts of the key that are secret.
fn secrets(spec: KeySpec, key: &[u8]) -> Vec<Vec<u8>> {
    // DER: INTEGERs of an RSA key's length class, and the OCTET STRING of an EC scalar.
    let after = |header: &[u8], length: usize| {
        let at = key.windows(header.len()).position(|window| window == header);
        at.map(|at| key[at + header.len()..at + header.len() + length].to_vec())
    };
    match spec {
        KeySpec::Rsa(_) => {
            // d, then the primes: each INTEGER of 128 bytes has a zero in front.
            let mut found = Vec::new();
            let mut rest = key;
            while let Some(at) = rest.windows(4).position(|four| four == [2, 0x81, 0x81, 0]) {
                found.push(rest[at + 4..at + 4 + 128].to_vec());
                rest = &rest[at + 4 + 128..];
            }
            assert!(found.len() >= 2, "both primes are found");
            found
        }
        KeySpec::Ec(curve) if key.len() == 1 + 3 * curve.field_bytes() => {
            vec![key[..curve.field_bytes()].to_vec()]
        }
        KeySpec::Ec(Curve::P521) => vec![after(&[4, 66], 66).expect("a scalar")],
        KeySpec::Ec(_) => vec![after(&[2, 1, 1, 4, 32], 32).expect("a scalar")],
        KeySpec::Oct(_) => vec![key.to_vec()],
    }
}

fn look(other: &Other, read: fn(KeySpec, &[u8]) -> Vec<u8>) -> Vec<String> {
    let mut named = Vec::new();
    for (spec, stored) in SPECS.into_iter().zip(&other.stored) {
        for secret in secrets(spec, &read(spec, stored)) {
            named.push((format!("{spec:?}"), secret));
        }
    }
    let scanner = Scanner::new(named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    let (found, bytes) = scanner.memory(other.child.id()).expect("its memory can be read");
    assert!(bytes > 1 << 20, "{bytes} bytes were looked at");
    let mut names: Vec<String> = found.into_iter().map(|one| one.secret).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn keys_made_in_the_token_are_not_in_memory_and_those_of_the_software_engine_are() {
    let name = "keys_made_in_the_token_are_not_in_memory_and_those_of_the_software_engine_are";
    if given().is_some() {
        return role();
    }
    let token = TestToken::new(Kind::SoftHsm);
    let other = Other::start(again(&token, name));
    assert_eq!(look(&other, of_token), Vec::<String>::new());
    other.end();
    let mut command = again(&token, name);
    command.env(WHICH, "anew");
    let other = Other::start(command);
    assert_eq!(look(&other, of_token), Vec::<String>::new(), "wrapped anew");
    other.end();
    let mut command = again(&token, name);
    command.env(WHICH, "soft");
    let other = Other::start(command);
    let found = look(&other, of_memory);
    other.end();
    // The control: what AWS-LC keeps of a key in use is seen.
    assert!(found.iter().any(|name| name.contains("Oct")), "{found:?}");
    assert!(found.iter().any(|name| name.contains("P256")), "{found:?}");
}
