//! Who used which key, how often, and when last: counted from the records, one after the other.
//! Reading a key is told apart from using it.
//!
//! Bounded: the latest callers stay, and the uses of those who had to go are counted as left out.
//! One principal has a bounded part of the room, whatever applications he calls from.

mod follow;
mod told;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use follow::start;
pub(crate) use told::Told;

/// Most callers that are told apart for one key, of those who used it and of those who read it.
const CALLERS_MAX: usize = 256;
/// Most of them that have the same object id: the other parts are words of the caller's own.
const CALLERS_PER_OBJECT_MAX: usize = 16;
/// Most pairs of key and caller.
const PAIRS_MAX: usize = 500_000;
/// Version of the encoded index.
const VERSION: u8 = 2;
/// Operations that work with a key's secret part, or would have to.
const USES: [&str; 6] =
    ["KeyEncrypt", "KeyDecrypt", "KeyWrap", "KeyUnwrap", "KeySign", "KeyVerify"];
/// Other operations that begin so and change nothing read the key.
const READS_BEGIN: &str = "Key";

/// Who called, as a record's `identity` says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Caller {
    /// Object id.
    pub object_id: String,
    /// Application id.
    pub app_id: String,
    /// User name.
    pub user_name: String,
}

/// What was done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UsageKind {
    /// A cryptographic operation.
    Use,
    /// It was read.
    Read,
}

/// How one caller used or read one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRow {
    /// The key's name, in lower case.
    pub key: String,
    /// Whether he used or read it.
    pub kind: UsageKind,
    /// Who.
    #[serde(flatten)]
    pub caller: Caller,
    /// How often.
    pub count: u64,
    /// When last, as records write the time.
    pub last_used: String,
    /// What it was then.
    pub last_operation: String,
}

/// What the index knows of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// Each caller's use, the latest first; then each caller's reading, the latest first.
    pub rows: Vec<UsageRow>,
    /// How many records were counted.
    pub covered: u64,
    /// How many records are durable.
    pub durable: u64,
    /// Uses, of whatever key, by callers who had to make room.
    pub left_out: u64,
}

/// All uses of all keys, in the first `covered` records.
#[derive(Debug, Default)]
pub struct UsageIndex {
    covered: u64,
    pairs: usize,
    keys: BTreeMap<String, BTreeMap<(UsageKind, Caller), Use>>,
    left_out: u64,
    /// The last `identity`, as written and as read: who calls once mostly calls again.
    last_identity: (String, Caller),
    /// The same of a line of which it is known where everything stands.
    last_told: (Vec<u8>, Caller),
}

#[derive(Debug)]
struct Use {
    count: u64,
    last: String,
    operation: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u8,
    covered: u64,
    left_out: u64,
    rows: Vec<UsageRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    phase: Cow<'a, str>,
    #[serde(borrow)]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    operation_name: Cow<'a, str>,
    #[serde(borrow, default)]
    key: Option<Key<'a>>,
    #[serde(borrow, default)]
    identity: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Caller {
    /// From the member `identity`, a string that holds JSON.
    #[must_use]
    pub fn from_identity(identity: &str) -> Self {
        let identity: serde_json::Value = serde_json::from_str(identity).unwrap_or_default();
        let claim = &identity["claim"];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let ids = &claim["http_schemas_microsoft_com_identity"]["claims"];
        let names = &claim["http_schemas_xmlsoap_org_ws_2005_05_identity"]["claims"];
        Self {
            object_id: text(&ids["objectidentifier"]),
            app_id: text(&claim["appid"]),
            user_name: text(&names["upn"]),
        }
    }
}

impl UsageIndex {
    /// How many records were looked at: the next one has this index.
    #[must_use]
    pub fn covered(&self) -> u64 {
        self.covered
    }

    /// Uses by callers who had to make room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Looks at the next record; whether it is one.
    pub fn see(&mut self, record: &[u8]) -> bool {
        self.covered += 1;
        let Ok(line) = serde_json::from_slice::<Line<'_>>(record) else { return false };
        // One that its caller did not wait for may have been done: who hangs up is a user too.
        let result = line.result_type.as_ref();
        let done = line.phase == "use" && matches!(result, "Success" | "Unknown");
        let kind = kind_of(&line.operation_name).filter(|_| done);
        let (Some(kind), Some(key)) = (kind, line.key) else { return true };
        self.identify(line.identity.as_deref().unwrap_or_default());
        // Taken and put back: no clone for a caller who is known.
        let who = (kind, std::mem::take(&mut self.last_identity.1));
        self.count(&who, &key.name, &line.time, &line.operation_name);
        self.last_identity.1 = who.1;
        true
    }

    fn count(&mut self, who: &(UsageKind, Caller), key: &str, time: &str, operation: &str) {
        let key = in_lower_case(key);
        if let Some(used) = self.keys.get_mut(&*key).and_then(|callers| callers.get_mut(who)) {
            used.count = used.count.saturating_add(1);
            time.clone_into(&mut used.last);
            operation.clone_into(&mut used.operation);
        } else {
            self.add(UsageRow {
                key: key.into_owned(),
                kind: who.0,
                caller: who.1.clone(),
                count: 1,
                last_used: time.to_owned(),
                last_operation: operation.to_owned(),
            });
        }
    }

    /// Reads an identity, unless it is the last one again.
    fn identify(&mut self, identity: &str) {
        if self.last_identity.0 != identity {
            self.last_identity = (identity.to_owned(), Caller::from_identity(identity));
        }
    }

    /// The uses and readings of a key, or of all; of a key the uses first, and the latest first.
    #[must_use]
    pub fn rows(&self, key: Option<&str>) -> Vec<UsageRow> {
        let row = |name: &String, (who, used): (&(UsageKind, Caller), &Use)| UsageRow {
            key: name.clone(),
            kind: who.0,
            caller: who.1.clone(),
            count: used.count,
            last_used: used.last.clone(),
            last_operation: used.operation.clone(),
        };
        let of = |(name, callers): (&String, &BTreeMap<_, Use>)| -> Vec<UsageRow> {
            callers.iter().map(|entry| row(name, entry)).collect()
        };
        let mut rows: Vec<UsageRow> = match key.map(str::to_lowercase) {
            Some(key) => self.keys.get_key_value(&key).into_iter().flat_map(of).collect(),
            None => self.keys.iter().flat_map(of).collect(),
        };
        if key.is_some() {
            rows.sort_by(|one, other| {
                one.kind.cmp(&other.kind).then_with(|| other.last_used.cmp(&one.last_used))
            });
        }
        rows
    }

    /// What is known of one key.
    pub(crate) fn of_key(&self, key: &str, durable: u64) -> KeyUsage {
        let (covered, left_out) = (self.covered, self.left_out);
        KeyUsage { rows: self.rows(Some(key)), covered, durable, left_out }
    }

    /// As bytes, to be taken up again.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (covered, left_out) = (self.covered, self.left_out);
        let stored = Stored { version: VERSION, covered, left_out, rows: self.rows(None) };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// From bytes; `None` if they are not of this release: then it is counted anew.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let mut index = Self::default();
        let rows = stored.rows.into_iter();
        rows.filter(|_| stored.version == VERSION).for_each(|row| index.add(row));
        index.covered = stored.covered;
        index.left_out = index.left_out.saturating_add(stored.left_out);
        (stored.version == VERSION).then_some(index)
    }

    fn add(&mut self, row: UsageRow) {
        let UsageRow { key, kind, caller, count, last_used: last, last_operation: operation } = row;
        let is_full = self.pairs >= PAIRS_MAX;
        let callers = self.keys.entry(key).or_default();
        let who = (kind, caller);
        if let Some(used) = callers.get_mut(&who) {
            used.count = used.count.saturating_add(count);
            (used.last, used.operation) = (last, operation);
            return;
        }
        let counted = |count| if kind == UsageKind::Use { count } else { 0 };
        if let Some(evicted) = evict(callers, &who, is_full) {
            self.pairs -= 1;
            self.left_out = self.left_out.saturating_add(counted(evicted.count));
        } else if is_full {
            // There is nobody to make room: it is another key's.
            self.left_out = self.left_out.saturating_add(counted(count));
            return;
        }
        self.pairs += 1;
        callers.insert(who, Use { count, last, operation });
    }
}

/// What this operation is to a key; none if it is neither, or no operation on keys.
fn kind_of(operation: &str) -> Option<UsageKind> {
    if USES.contains(&operation) {
        Some(UsageKind::Use)
    } else {
        operation.starts_with(READS_BEGIN).then_some(UsageKind::Read)
    }
}

/// Makes room for a new caller where there is none: the oldest of his own object id goes, else the
/// oldest of all.
fn evict(
    callers: &mut BTreeMap<(UsageKind, Caller), Use>,
    (kind, caller): &(UsageKind, Caller),
    is_full: bool,
) -> Option<Use> {
    let of_kind = callers.iter().filter(|((other, _), _)| other == kind);
    let of_object = of_kind.clone().filter(|((_, other), _)| other.object_id == caller.object_id);
    let oldest = if of_object.clone().count() >= CALLERS_PER_OBJECT_MAX {
        of_object.min_by(|one, other| one.1.last.cmp(&other.1.last))
    } else if is_full || of_kind.clone().count() >= CALLERS_MAX {
        of_kind.min_by(|one, other| one.1.last.cmp(&other.1.last))
    } else {
        None
    };
    let goes = oldest.map(|(who, _)| who.clone())?;
    callers.remove(&goes)
}

/// Names of keys are compared without case.
fn in_lower_case(name: &str) -> Cow<'_, str> {
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../tests/golden-line.json");

    fn index() -> UsageIndex {
        let mut index = UsageIndex::default();
        let other = GOLDEN.replace("\"name\":\"pay\"", "\"name\":\"Other\"");
        let later =
            GOLDEN.replace("00:00:00.123Z", "00:00:09.000Z").replace("KeySign", "KeyVerify");
        let failed = GOLDEN.replace("\"Success\"", "\"Failed\"");
        let read = GOLDEN.replace("KeySign", "KeyGet").replace("00:00:00.123Z", "00:00:20.000Z");
        let asked = GOLDEN.replace("KeySign", "AuditUsageGet");
        for line in [GOLDEN, &later, &other, &failed, &read, &asked, "no record", ""] {
            assert_eq!(index.see(line.as_bytes()), line.starts_with('{'));
        }
        index
    }

    #[test]
    fn who_hangs_up_is_seen_to_use_the_key() {
        let given_up = GOLDEN.replace("\"Success\"", "\"Unknown\"");
        let refused = given_up.replace("\"phase\":\"use\"", "\"phase\":\"refusal\"");
        for (line, count) in [(&given_up, 1), (&refused, 0)] {
            let mut index = UsageIndex::default();
            assert!(index.see(line.as_bytes()));
            assert_eq!(index.keys.len(), count, "{line}");
        }
    }

    /// A use by this object id from this application, so many seconds later.
    fn used(object: usize, application: usize, second: usize) -> String {
        let time = format!("{:02}:{:02}:{:02}.123Z", second / 3600, second / 60 % 60, second % 60);
        GOLDEN
            .replace("000000000001", &format!("{object:012}"))
            .replace("\\\"app\\\"", &format!("\\\"app{application}\\\""))
            .replace("00:00:00.123Z", &time)
    }

    #[test]
    fn uses_that_were_done_are_counted_by_key_and_caller() {
        let index = index();
        assert_eq!((index.covered(), index.left_out()), (8, 0));
        let [row, read] = index.rows(Some("PAY")).try_into().unwrap();
        assert_eq!((row.kind, row.count), (UsageKind::Use, 2));
        assert_eq!(row.last_operation, "KeyVerify");
        assert!(row.last_used.ends_with("00:00:09.000Z"), "{}", row.last_used);
        assert_eq!(row.caller.object_id, "00000000-0000-0000-0000-000000000001");
        assert_eq!((row.caller.app_id.as_str(), row.caller.user_name.as_str()), ("app", "a@b"));
        assert_eq!((read.kind, read.count), (UsageKind::Read, 1));
        assert_eq!(read.last_operation, "KeyGet", "asking for the usage is neither");
        assert_eq!(index.rows(None).len(), 3);
        assert!(index.rows(Some("pa")).is_empty());
    }

    #[test]
    fn it_is_taken_up_again_and_other_bytes_are_not() {
        let index = index();
        let again = UsageIndex::decode(&index.encode()).unwrap();
        assert_eq!(again.rows(None), index.rows(None));
        assert_eq!(again.covered(), 8);
        for bad in [&b""[..], b"{}", b"{\"version\":1,\"covered\":1,\"left_out\":0,\"rows\":[]}"] {
            assert!(UsageIndex::decode(bad).is_none());
        }
    }

    #[test]
    fn the_latest_callers_stay_and_what_had_no_room_is_said() {
        let mut index = UsageIndex::default();
        for caller in 0..CALLERS_MAX + 3 {
            assert!(index.see(used(caller, 0, caller).as_bytes()));
        }
        let rows = index.rows(Some("pay"));
        assert_eq!((rows.len(), index.left_out()), (CALLERS_MAX, 3));
        let ends = |row: &UsageRow, caller: usize| {
            row.caller.object_id.ends_with(&format!("{caller:012}"))
        };
        assert!(
            ends(&rows[0], CALLERS_MAX + 2) && ends(&rows[CALLERS_MAX - 1], 3),
            "the oldest go"
        );
        // Who reads takes no room from those who use.
        let read = used(9_999, 0, 5_000).replace("KeySign", "KeyGet");
        assert!(index.see(read.as_bytes()));
        assert_eq!((index.rows(Some("pay")).len(), index.left_out()), (CALLERS_MAX + 1, 3));
        assert_eq!(UsageIndex::decode(&index.encode()).unwrap().rows(None).len(), CALLERS_MAX + 1);
    }

    #[test]
    fn one_principal_cannot_put_the_others_out() {
        let mut index = UsageIndex::default();
        assert!(index.see(used(1, 0, 0).as_bytes()));
        for application in 1..2 * CALLERS_MAX {
            assert!(index.see(used(2, application, application).as_bytes()));
        }
        let rows = index.rows(Some("pay"));
        assert_eq!(rows.len(), 1 + CALLERS_PER_OBJECT_MAX);
        assert!(rows.iter().any(|row| row.caller.object_id.ends_with('1')), "he is still there");
        let put_out = 2 * CALLERS_MAX - 1 - CALLERS_PER_OBJECT_MAX;
        assert_eq!(index.left_out(), u64::try_from(put_out).unwrap());
    }
}
