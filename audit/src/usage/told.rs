//! Uses that whoever writes the lines tells of: where in a line everything stands was known when
//! it was written, so that counting it reads nothing again.
//!
//! What is counted is the same as by reading the line; a test compares them.

use std::borrow::Cow;

use super::{Caller, UsageIndex, UsageKind, kind_of};
use crate::json::Places;
use crate::{Phase, Record, Verdict};

/// One use or reading of a key, among lines that are written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    kind: UsageKind,
    /// Where its line begins.
    begin: usize,
    places: Places,
}

impl Told {
    /// What is to be counted of a record; none if nothing is.
    pub(crate) fn of(record: &Record<'_>, begin: usize, places: Places) -> Option<Self> {
        let done = matches!(record.verdict, Verdict::Success | Verdict::Abandoned);
        let counts = record.phase == Phase::Use && done && record.key.is_some();
        let kind = kind_of(record.operation).filter(|_| counts)?;
        Some(Self { kind, begin, places })
    }
}

impl UsageIndex {
    /// Counts the next lines, up to the record before the one of this index, of which these are
    /// the uses.
    pub(crate) fn see_told(&mut self, lines: &[u8], told: &[Told], next: u64) {
        for one in told {
            if self.count_told(lines, one).is_none() {
                // Escaped, or not where it was said to be: it is read like any other.
                let line = lines.get(one.begin..).unwrap_or_default();
                self.see(line.split(|&byte| byte == b'\n').next().unwrap_or_default());
            }
        }
        self.covered = next;
    }

    fn count_told(&mut self, lines: &[u8], told: &Told) -> Option<()> {
        let Places { time, operation, identity, key } = &told.places;
        let text = |place: &std::ops::Range<usize>| {
            let text = std::str::from_utf8(lines.get(place.clone())?).ok()?;
            (!text.contains('\\')).then_some(text)
        };
        let (time, operation, key) = (text(time)?, text(operation)?, text(key)?);
        let identity = lines.get(identity.clone())?;
        if self.last_told.0 != identity {
            self.last_told = (identity.to_vec(), read_identity(identity)?);
        }
        // Taken and put back: no clone for a caller who is known.
        let who = (told.kind, std::mem::take(&mut self.last_told.1));
        self.count(&who, key, time, operation);
        self.last_told.1 = who.1;
        Some(())
    }
}

/// Reads the member `identity` as it is written between its quotation marks.
fn read_identity(written: &[u8]) -> Option<Caller> {
    let quoted = [b"\"", written, b"\""].concat();
    let text: Cow<'_, str> = serde_json::from_slice(&quoted).ok()?;
    Some(Caller::from_identity(&text))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{Call, Identity, KeyFacts, json};

    /// Lines as they are written together, what is told of them, and how many they are.
    #[derive(Default)]
    struct Written {
        lines: Vec<u8>,
        told: Vec<Told>,
        count: u64,
    }

    impl Written {
        fn add(&mut self, record: &Record<'_>) {
            let mut fields = Vec::new();
            let places = json::line(&mut fields, i64::try_from(self.count).unwrap() * 1000, record);
            let begin = self.lines.len();
            self.count += 1;
            let at = json::assemble(&mut self.lines, self.count, &fields, b",\"end\":1}\n");
            self.told.extend(Told::of(record, begin, places.shifted(at)));
        }
    }

    fn written() -> Written {
        let mut written = Written::default();
        let names = ["pay", "Pay", "other", "quo\"te", "tab\t", "\u{fc}"];
        let apps = ["app", "", "ba\\ck\"slash", "app"];
        let operations = ["KeySign", "KeyGet", "KeyDecrypt", "AuditUsageGet", "Odd\"Operation"];
        let failed = Verdict::Failure { status: Some(403), code: "Forbidden", description: "no" };
        let verdicts = [Verdict::Success, Verdict::Abandoned, failed];
        for phase in [Phase::Use, Phase::Refusal, Phase::Outcome] {
            for (number, name) in names.into_iter().enumerate() {
                for app_id in apps {
                    for operation in operations {
                        for verdict in verdicts {
                            let id = Uuid::from_u128(u128::try_from(number % 3).unwrap());
                            let object_id = Some(id).filter(|_| app_id != "app");
                            let user_name = if number % 2 == 0 { "a@b" } else { "" };
                            let identity = Identity { object_id, app_id, user_name, token_id: "" };
                            let call = Call { identity, ..Call::default() };
                            let key = KeyFacts { name, ..KeyFacts::default() };
                            let key = Some(key).filter(|_| operation != "KeyDecrypt");
                            written.add(&Record {
                                phase,
                                operation,
                                call: &call,
                                verdict,
                                permit: None,
                                key,
                                intent: None,
                            });
                        }
                    }
                }
            }
        }
        written
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        let Written { lines, told, count } = written();
        let mut read = UsageIndex::default();
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(read.see(line), "{}", String::from_utf8_lossy(line));
        }
        let mut index = UsageIndex::default();
        index.see_told(&lines, &told, count);
        assert_eq!((index.covered(), index.left_out()), (read.covered(), read.left_out()));
        assert_eq!(index.rows(None), read.rows(None));
        assert!(index.rows(None).len() > 30, "there is something to compare");
    }

    #[test]
    fn places_that_are_wrong_are_not_believed_blindly() {
        let Written { lines, told, count } = written();
        let mut off = told.clone();
        for one in &mut off {
            one.places = one.places.clone().shifted(lines.len());
        }
        let mut index = UsageIndex::default();
        index.see_told(&lines, &off, count);
        let mut right = UsageIndex::default();
        right.see_told(&lines, &told, count);
        assert_eq!(index.rows(None), right.rows(None), "the lines are read instead");
    }
}
