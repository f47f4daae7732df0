//! Many clients change keys at once and remember what the server acknowledged.
//!
//! Each worker has keys of its own, so what must be there is known exactly: all that was
//! acknowledged, and of a change whose answer never came all or nothing. A crash test and a power
//! cut differ only in what happens in between.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use casemate_test_kit::random::Random;
use casemate_test_kit::{Answer, Rest, audit};
use serde_json::{Value, json};

/// A worker begins another key after so many changes of one.
const CHANGES_PER_KEY: usize = 6;

/// What is checked is checked by so many threads.
const CHECKERS: usize = 4;

/// What every signature is made over.
const MESSAGE: &[u8] = b"what is signed after the crash";

/// How many changes were acknowledged so far, and whether the workers shall go on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Changes that were acknowledged.
    pub acknowledged: AtomicUsize,
    /// Ends the workers.
    pub stop: AtomicBool,
    /// From here on an answer counts for nothing: a machine without power sends none. While the
    /// kernel takes a filesystem down, a sync under way may come back as if it had worked.
    pub cut: AtomicBool,
}

/// One key as its worker knows it.
#[derive(Debug, Clone)]
pub struct Key {
    name: String,
    known: Known,
    /// A change that was sent and never answered.
    open: Option<Change>,
    /// Changes that were answered with success.
    answered: usize,
}

/// What is acknowledged about a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    state: State,
    newest: String,
    tag: String,
    /// Public point of each version, x and y.
    versions: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Live,
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Create { tag: String },
    Update { tag: String },
    Delete,
    Recover,
    Purge,
}

/// Lets so many workers change keys until they are told to stop, or the server is gone for good.
///
/// Gives back every key they touched. An answer that no rule allows ends the test.
pub fn work(rest: &Rest, workers: usize, round: usize, progress: &Progress) -> Vec<Key> {
    let random = Random::seeded(20_251_123);
    let mut keys = Vec::new();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for worker in 0..workers {
            let mut random = random.branch(u64::try_from(round * workers + worker).unwrap_or(0));
            let rest = rest.twin();
            let work =
                move || one_worker(rest, &format!("r{round}w{worker}"), &mut random, progress);
            // Five hundred threads with stacks of the usual size would be a waste.
            let thread = thread::Builder::new().stack_size(1 << 18);
            running.push(thread.spawn_scoped(scope, work).expect("a thread can be started"));
        }
        for worker in running {
            keys.extend(worker.join().expect("a worker met only allowed answers"));
        }
    });
    keys
}

/// Demands that everything acknowledged is there, nothing is half done, all can be read and used.
///
/// Returns how many keys were looked at. Deleted keys are recovered to look at their versions.
pub fn check(rest: &Rest, keys: &mut [Key]) -> usize {
    let count = keys.len();
    let part = count.div_ceil(CHECKERS).max(1);
    thread::scope(|scope| {
        let mut running = Vec::new();
        for keys in keys.chunks_mut(part) {
            let mut rest = rest.twin();
            running.push(scope.spawn(move || keys.iter_mut().for_each(|key| key.check(&mut rest))));
        }
        for checker in running {
            checker.join().expect("all that was acknowledged is there");
        }
    });
    count
}

/// Demands that the audit log has the successful outcome of every acknowledged change.
pub fn check_audit(data_dir: &Path, keys: &[Key]) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for record in audit::records(data_dir) {
        if record["phase"] == "outcome" && record["resultType"] == "Success" {
            let name = record["key"]["name"].as_str().unwrap_or_default();
            *outcomes.entry(name.to_owned()).or_default() += 1;
        }
    }
    for Key { name, answered, .. } in keys {
        let recorded = outcomes.get(name).copied().unwrap_or_default();
        assert!(recorded >= *answered, "{name}: {recorded} outcomes of {answered} are recorded");
    }
}

/// How many changes of these keys have no answer.
pub fn unanswered(keys: &[Key]) -> usize {
    keys.iter().filter(|key| key.open.is_some()).count()
}

fn one_worker(mut rest: Rest, name: &str, random: &mut Random, progress: &Progress) -> Vec<Key> {
    let mut keys = Vec::new();
    while !progress.stop.load(Ordering::Relaxed) {
        let mut key = Key {
            name: format!("{name}k{}", keys.len()),
            known: Known::default(),
            open: None,
            answered: 0,
        };
        let mut answered = true;
        for _ in 0..CHANGES_PER_KEY {
            let change = key.known.next(random);
            answered = key.make(&mut rest, change, &progress.cut);
            if !answered || progress.stop.load(Ordering::Relaxed) {
                break;
            }
            progress.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        keys.push(key);
        if !answered {
            rest.hang_up();
            wait_for_server(&mut rest, progress);
        }
    }
    keys
}

fn wait_for_server(rest: &mut Rest, progress: &Progress) {
    while !progress.stop.load(Ordering::Relaxed) {
        if rest.ask("GET", "/keys?maxresults=1").is_ok_and(|answer| answer.status == 200) {
            return;
        }
        rest.hang_up();
        thread::sleep(Duration::from_millis(50));
    }
}

// === impl Key ===

impl Key {
    /// Makes one change. `false`: the answer never came, so nobody knows.
    fn make(&mut self, rest: &mut Rest, change: Change, cut: &AtomicBool) -> bool {
        let answer = change.send(rest, &self.name).ok();
        let Some(answer) = answer.filter(|_| !cut.load(Ordering::SeqCst)) else {
            self.open = Some(change);
            return false;
        };
        if answer.status >= 500 {
            assert_eq!(answer.status, 503, "{} {change:?}: {}", self.name, answer.text());
            self.open = Some(change);
            return false;
        }
        let good = if change == Change::Purge { 204 } else { 200 };
        assert_eq!(answer.status, good, "{} {change:?}: {}", self.name, answer.text());
        self.known.apply(&change, &answer.json());
        self.answered += 1;
        true
    }

    fn check(&mut self, rest: &mut Rest) {
        let seen = observe(rest, &self.name);
        let open = self.open.take();
        if !self.known.is_shown_by(&seen) {
            let after = open.as_ref().is_some_and(|change| self.known.becomes(change, &seen));
            assert!(after, "{}: known {:?}, open {open:?}, seen {seen:?}", self.name, self.known);
        }
        self.known = seen;
        if self.known.state == State::Deleted {
            self.check_recovered(rest);
        } else {
            self.check_versions(rest);
        }
    }

    /// Versions of a deleted key cannot be listed, so it is recovered and looked at again.
    fn check_recovered(&mut self, rest: &mut Rest) {
        let deleted = self.known.clone();
        assert!(
            self.make(rest, Change::Recover, &AtomicBool::new(false)),
            "{}: recover is answered",
            self.name
        );
        let seen = observe(rest, &self.name);
        let same = (&seen.newest, &seen.tag) == (&deleted.newest, &deleted.tag);
        assert!(same && seen.state == State::Live, "{}: {deleted:?} became {seen:?}", self.name);
        for (version, point) in &deleted.versions {
            assert_eq!(seen.versions.get(version), Some(point), "{}: {version}", self.name);
        }
        self.known = seen;
        self.check_versions(rest);
    }

    /// Each version still signs, and the signature fits the point that was acknowledged.
    fn check_versions(&self, rest: &mut Rest) {
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, MESSAGE));
        for (version, point) in &self.known.versions {
            let path = format!("/keys/{}/{version}/sign", self.name);
            let answer = rest.call("POST", &path, &json!({ "alg": "ES256", "value": hash }));
            let made = answer.expect("an answer").expect_ok(&path);
            let signature = binary(&made["value"]);
            let public = [&[4][..], point].concat();
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
            assert!(key.verify(MESSAGE, &signature).is_ok(), "{path}: another private key");
        }
    }
}

// === impl Known ===

impl Known {
    fn next(&self, random: &mut Random) -> Change {
        let tag = format!("{:x}", random.next());
        match (self.state, random.below(8)) {
            (State::Absent, _) => Change::Create { tag },
            (State::Live, 0 | 1) => Change::Create { tag },
            (State::Live, 2..=4) => Change::Update { tag },
            (State::Live, _) => Change::Delete,
            (State::Deleted, 0..=4) => Change::Recover,
            (State::Deleted, _) => Change::Purge,
        }
    }

    fn apply(&mut self, change: &Change, answer: &Value) {
        match change {
            Change::Create { tag } => {
                let (version, point) = version_of(answer);
                self.state = State::Live;
                self.tag.clone_from(tag);
                self.newest.clone_from(&version);
                self.versions.insert(version, point);
            }
            Change::Update { tag } => self.tag.clone_from(tag),
            Change::Delete => self.state = State::Deleted,
            Change::Recover => self.state = State::Live,
            Change::Purge => *self = Self::default(),
        }
    }

    /// Whether what is seen is exactly this. Of a deleted key only the newest version is seen.
    fn is_shown_by(&self, seen: &Self) -> bool {
        let same_versions = match self.state {
            State::Deleted => {
                seen.versions.iter().all(|(id, point)| self.versions.get(id) == Some(point))
            }
            State::Live | State::Absent => self.versions == seen.versions,
        };
        let facts = |known: &Self| (known.state, known.newest.clone(), known.tag.clone());
        same_versions && facts(self) == facts(seen)
    }

    /// Whether what is seen is exactly this after the change, whose answer nobody has.
    fn becomes(&self, change: &Change, seen: &Self) -> bool {
        let mut after = self.clone();
        if let Change::Create { tag } = change {
            let new: Vec<_> =
                seen.versions.iter().filter(|(id, _)| !self.versions.contains_key(*id)).collect();
            let [(version, point)] = new.as_slice() else { return false };
            after.state = State::Live;
            after.tag.clone_from(tag);
            after.newest.clone_from(version);
            after.versions.insert((*version).clone(), (*point).clone());
        } else {
            after.apply(change, &Value::Null);
        }
        after.is_shown_by(seen)
    }
}

// === impl Change ===

impl Change {
    fn send(&self, rest: &mut Rest, name: &str) -> io::Result<Answer> {
        match self {
            Self::Create { tag } => {
                let body = json!({ "kty": "EC-HSM", "crv": "P-256", "tags": { "tag": tag } });
                rest.call("POST", &format!("/keys/{name}/create"), &body)
            }
            Self::Update { tag } => {
                rest.call("PATCH", &format!("/keys/{name}/"), &json!({ "tags": { "tag": tag } }))
            }
            Self::Delete => rest.ask("DELETE", &format!("/keys/{name}")),
            Self::Recover => rest.ask("POST", &format!("/deletedkeys/{name}/recover")),
            Self::Purge => rest.ask("DELETE", &format!("/deletedkeys/{name}")),
        }
    }
}

fn observe(rest: &mut Rest, name: &str) -> Known {
    let live = rest.ask("GET", &format!("/keys/{name}")).expect("an answer");
    let deleted = rest.ask("GET", &format!("/deletedkeys/{name}")).expect("an answer");
    let (state, bundle) = match (live.status, deleted.status) {
        (200, 404) => (State::Live, live.json()),
        (404, 200) => (State::Deleted, deleted.json()),
        (404, 404) => return Known::default(),
        other => {
            let texts = (live.text(), deleted.text());
            assert_eq!(other, (200, 404), "{name}: half done: {texts:?}");
            return Known::default();
        }
    };
    let (newest, point) = version_of(&bundle);
    let tag = bundle["tags"]["tag"].as_str().unwrap_or_default().to_owned();
    let mut versions = BTreeMap::from([(newest.clone(), point)]);
    if state == State::Live {
        for version in listed_versions(rest, name) {
            let path = format!("/keys/{name}/{version}");
            let answer = rest.ask("GET", &path).expect("an answer").expect_ok(&path);
            versions.extend([version_of(&answer)]);
        }
    }
    Known { state, newest, tag, versions }
}

fn listed_versions(rest: &mut Rest, name: &str) -> Vec<String> {
    let path = format!("/keys/{name}/versions");
    let list = rest.ask("GET", &path).expect("an answer").expect_ok(&path);
    assert!(list["nextLink"].is_null(), "no key gets more than a page of versions");
    let items = list["value"].as_array().into_iter().flatten();
    items.map(|item| last_segment(&item["kid"])).collect()
}

fn version_of(bundle: &Value) -> (String, Vec<u8>) {
    let key = &bundle["key"];
    let point = [binary(&key["x"]), binary(&key["y"])].concat();
    (last_segment(&key["kid"]), point)
}

fn last_segment(kid: &Value) -> String {
    let kid = kid.as_str().expect("an id is a text");
    kid.rsplit('/').next().unwrap_or_default().to_owned()
}

fn binary(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("binary members are texts");
    URL_SAFE_NO_PAD.decode(text).expect("binary members are base64url")
}

#[cfg(test)]
mod tests {
    use super::{Change, Known, State};

    fn live(versions: &[&str], tag: &str) -> Known {
        let versions = versions.iter().map(|id| ((*id).to_owned(), vec![1])).collect();
        let mut known =
            Known { state: State::Live, newest: String::new(), tag: tag.to_owned(), versions };
        known.newest = known.versions.keys().last().cloned().unwrap_or_default();
        known
    }

    #[test]
    fn all_or_nothing_is_accepted() {
        let before = live(&["a"], "1");
        let create = Change::Create { tag: "2".to_owned() };
        assert!(before.is_shown_by(&before));
        assert!(before.becomes(&create, &live(&["a", "b"], "2")));
        assert!(before.becomes(&Change::Update { tag: "2".to_owned() }, &live(&["a"], "2")));
        assert!(before.becomes(&Change::Purge, &Known::default()));
    }

    #[test]
    fn anything_else_is_not() {
        let before = live(&["a", "b"], "1");
        let create = Change::Create { tag: "2".to_owned() };
        for seen in [
            Known::default(),
            live(&["a"], "1"),
            live(&["a", "b"], "2"),
            live(&["a", "b", "c"], "1"),
            live(&["a", "c"], "2"),
            live(&["a", "b", "c", "d"], "2"),
        ] {
            assert!(!before.is_shown_by(&seen), "{seen:?}");
            assert!(!before.becomes(&create, &seen), "{seen:?}");
        }
        let mut other_point = before.clone();
        other_point.versions.insert("a".to_owned(), vec![9]);
        assert!(!before.is_shown_by(&other_point));
    }
}
