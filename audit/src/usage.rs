//! Who used which key, how often, and when last: counted from the records, one after the other.
//!
//! Bounded: what has no room is counted as left out, and never silently.

mod follow;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use follow::start;

/// Most callers that are told apart for one key.
const CALLERS_MAX: usize = 256;
/// Most pairs of key and caller.
const PAIRS_MAX: usize = 500_000;
/// Version of the encoded index.
const VERSION: u8 = 1;

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

/// How one caller used one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRow {
    /// The key's name, in lower case.
    pub key: String,
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
    /// Each caller's use, the latest first.
    pub rows: Vec<UsageRow>,
    /// How many records were counted.
    pub covered: u64,
    /// How many records are durable.
    pub durable: u64,
    /// Uses, of whatever key, that had no room.
    pub left_out: u64,
}

/// All uses of all keys, in the first `covered` records.
#[derive(Debug, Default)]
pub struct UsageIndex {
    covered: u64,
    pairs: usize,
    keys: BTreeMap<String, BTreeMap<Caller, Use>>,
    left_out: u64,
    /// The last `identity`, as written and as read: who calls once mostly calls again.
    last_identity: (String, Caller),
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

    /// Uses that had no room.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Looks at the next record.
    pub fn see(&mut self, record: &[u8]) {
        self.covered += 1;
        let Ok(line) = serde_json::from_slice::<Line<'_>>(record) else { return };
        let done = line.phase == "use" && line.result_type == "Success";
        let Some(key) = line.key.filter(|_| done) else { return };
        self.identify(line.identity.as_deref().unwrap_or_default());
        let caller = &self.last_identity.1;
        let key = in_lower_case(key.name);
        if let Some(used) = self.keys.get_mut(&*key).and_then(|callers| callers.get_mut(caller)) {
            used.count += 1;
            line.time.as_ref().clone_into(&mut used.last);
            line.operation_name.as_ref().clone_into(&mut used.operation);
            return;
        }
        let row = UsageRow {
            key: key.into_owned(),
            caller: caller.clone(),
            count: 1,
            last_used: line.time.into_owned(),
            last_operation: line.operation_name.into_owned(),
        };
        self.add(row);
    }

    /// Reads an identity, unless it is the last one again.
    fn identify(&mut self, identity: &str) {
        if self.last_identity.0 != identity {
            self.last_identity = (identity.to_owned(), Caller::from_identity(identity));
        }
    }

    /// The uses of a key, or of all; of a key the latest first.
    #[must_use]
    pub fn rows(&self, key: Option<&str>) -> Vec<UsageRow> {
        let row = |name: &String, (caller, used): (&Caller, &Use)| UsageRow {
            key: name.clone(),
            caller: caller.clone(),
            count: used.count,
            last_used: used.last.clone(),
            last_operation: used.operation.clone(),
        };
        let of = |(name, callers): (&String, &BTreeMap<Caller, Use>)| -> Vec<UsageRow> {
            callers.iter().map(|entry| row(name, entry)).collect()
        };
        let mut rows: Vec<UsageRow> = match key.map(str::to_lowercase) {
            Some(key) => self.keys.get_key_value(&key).into_iter().flat_map(of).collect(),
            None => self.keys.iter().flat_map(of).collect(),
        };
        if key.is_some() {
            rows.sort_by(|one, other| other.last_used.cmp(&one.last_used));
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
        index.left_out += stored.left_out;
        (stored.version == VERSION).then_some(index)
    }

    fn add(&mut self, row: UsageRow) {
        let callers = self.keys.entry(row.key).or_default();
        if let Some(used) = callers.get_mut(&row.caller) {
            used.count += row.count;
            used.last = row.last_used;
            used.operation = row.last_operation;
        } else if self.pairs < PAIRS_MAX && callers.len() < CALLERS_MAX {
            self.pairs += 1;
            let (last, operation) = (row.last_used, row.last_operation);
            callers.insert(row.caller, Use { count: row.count, last, operation });
        } else {
            self.left_out += row.count;
        }
    }
}

/// Names of keys are compared without case.
fn in_lower_case(name: Cow<'_, str>) -> Cow<'_, str> {
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_lower { name } else { Cow::Owned(name.to_ascii_lowercase()) }
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
        for line in [GOLDEN, &later, &other, &failed, "no record", ""] {
            index.see(line.as_bytes());
        }
        index
    }

    #[test]
    fn uses_that_were_done_are_counted_by_key_and_caller() {
        let index = index();
        assert_eq!((index.covered(), index.left_out()), (6, 0));
        let [row] = index.rows(Some("PAY")).try_into().unwrap();
        assert_eq!((row.count, row.last_operation.as_str()), (2, "KeyVerify"));
        assert!(row.last_used.ends_with("00:00:09.000Z"), "{}", row.last_used);
        assert_eq!(row.caller.object_id, "00000000-0000-0000-0000-000000000001");
        assert_eq!((row.caller.app_id.as_str(), row.caller.user_name.as_str()), ("app", "a@b"));
        assert_eq!(index.rows(None).len(), 2);
        assert!(index.rows(Some("pa")).is_empty());
    }

    #[test]
    fn it_is_taken_up_again_and_other_bytes_are_not() {
        let index = index();
        let again = UsageIndex::decode(&index.encode()).unwrap();
        assert_eq!(again.rows(None), index.rows(None));
        assert_eq!(again.covered(), 6);
        for bad in [&b""[..], b"{}", b"{\"version\":2,\"covered\":1,\"left_out\":0,\"rows\":[]}"] {
            assert!(UsageIndex::decode(bad).is_none());
        }
    }

    #[test]
    fn what_has_no_room_is_said() {
        let mut index = UsageIndex::default();
        for caller in 0..CALLERS_MAX + 3 {
            let one = GOLDEN.replace("000000000001", &format!("{caller:012}"));
            index.see(one.as_bytes());
        }
        assert_eq!(index.rows(Some("pay")).len(), CALLERS_MAX);
        assert_eq!(index.left_out(), 3);
    }
}
