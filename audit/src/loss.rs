//! A log that was lost and begun anew. What is remembered of the lost one outside its folder is the
//! first thing that the new one says, and stays in it for ever.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Head;
use crate::merkle::hash_text;
use crate::{Call, Detail, DetailValue, Phase, Reader, Record, Trail, TrailError, Verdict};

/// What the record of a loss is called.
const OPERATION: &str = "AuditLogBegunAnew";
/// How a line that holds such a record can be told: no value of a caller's can hold these quotes.
const MARK: &[u8] = b",\"operationName\":\"AuditLogBegunAnew\",";
/// The record stands within so many bytes from the beginning of its line: `seq`, `time` and `phase`
/// alone go before it.
const MARK_WITHIN: usize = 160;
/// So many other records may stand before or among those of losses: of torn rests that were cut.
const AMONG_MAX: u64 = 16;
/// Its error code.
const CODE: &str = "AuditLogLost";
/// Most losses of one HSM.
pub const LOSSES_MAX: usize = 64;
/// Longest word of the operator's, in bytes.
pub const WORDS_BYTES_MAX: usize = 256;

/// A log that was lost, and given up by an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// How many records are remembered of it; there may have been more.
    pub records: u64,
    /// The root over them, in base64.
    pub root: String,
    /// How many of them were on disk, as the operator's command counted.
    pub found: u64,
    /// Who gave them up, in the operator's own words: nobody has checked them.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Where what was left of the log lies now.
    pub kept_in: String,
    /// When, in seconds since 1970.
    pub time: i64,
}

impl Loss {
    /// The list as bytes, to be kept in a sealed record.
    #[must_use]
    pub fn encode(losses: &[Self]) -> Vec<u8> {
        serde_json::to_vec(losses).unwrap_or_default()
    }

    /// From bytes; `None` when this release does not know them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Vec<Self>> {
        serde_json::from_slice(bytes).ok()
    }

    /// How a root is written here.
    #[must_use]
    pub fn root_text(head: Option<Head>) -> String {
        head.map(|head| hash_text(&head.root)).unwrap_or_default()
    }

    fn details(&self) -> Vec<Detail> {
        let number = |value: u64| DetailValue::Number(i64::try_from(value).unwrap_or(i64::MAX));
        let text = |text: &String| DetailValue::Text(text.clone());
        let detail = |name: &'static str, value| Detail { name: name.into(), value };
        vec![
            detail("recordsLost", number(self.records)),
            detail("rootLost", text(&self.root)),
            detail("recordsFound", number(self.found)),
            detail("givenUpBy", text(&self.by)),
            detail("reason", text(&self.reason)),
            detail("keptIn", text(&self.kept_in)),
            detail("givenUpAt", DetailValue::Number(self.time)),
        ]
    }
}

/// What an operator asks for who gives a lost log up: a file beside the log's folder, which the HSM
/// reads at its next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GiveUp {
    version: u32,
    /// How many records the HSM remembers, as it said when it refused to start.
    pub records: u64,
    /// How many of them are on disk.
    pub found: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// The name of that file.
pub const GIVE_UP_FILE: &str = "audit.give-up";
/// Its longest form, in bytes.
pub const GIVE_UP_BYTES_MAX: u64 = 4096;
/// The version of its form.
const GIVE_UP_VERSION: u32 = 1;

/// Why it is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUpError {
    /// Not of this form.
    #[error("it is not what `casemate audit accept-loss` writes: run that again")]
    Form,
    /// Words that are none.
    #[error(
        "who gives a log up, and why, is said in 1 to {WORDS_BYTES_MAX} bytes without control \
         characters"
    )]
    Words,
}

impl GiveUp {
    /// What will be asked for.
    ///
    /// # Errors
    /// When nobody or nothing is named.
    pub fn new(records: u64, found: u64, by: &str, reason: &str) -> Result<Self, GiveUpError> {
        let (by, reason) = (by.trim().to_owned(), reason.trim().to_owned());
        Self { version: GIVE_UP_VERSION, records, found, by, reason }.checked()
    }

    /// The file's content.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, GiveUpError> {
        let read: Self = serde_json::from_slice(bytes).map_err(|_| GiveUpError::Form)?;
        if read.version == GIVE_UP_VERSION { read.checked() } else { Err(GiveUpError::Form) }
    }

    fn checked(self) -> Result<Self, GiveUpError> {
        let is_word = |text: &str| {
            (1..=WORDS_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if is_word(&self.by) && is_word(&self.reason) { Ok(self) } else { Err(GiveUpError::Words) }
    }
}

impl Trail {
    /// Records the losses that the log does not tell of yet: the first records of a new log.
    ///
    /// # Errors
    /// When the trail does not take them.
    pub async fn tell_of(&self, losses: &[Loss], reader: &Reader) -> Result<(), TrailError> {
        let told = told(reader, self.durable(), losses.len());
        for loss in losses.iter().skip(told) {
            let details = loss.details();
            let call = Call { details: &details, ..Call::default() };
            let description = format!(
                "the log before this one was lost, {} records at least, and given up",
                loss.records
            );
            let verdict = Verdict::Failure { status: None, code: CODE, description: &description };
            let record = Record {
                phase: Phase::Service,
                operation: OPERATION,
                call: &call,
                verdict,
                permit: None,
                key: None,
                intent: None,
            };
            self.append(&record).await?;
        }
        Ok(())
    }
}

/// How many losses the beginning of the log tells of. A torn rest that was cut may stand between.
fn told(reader: &Reader, durable: u64, most: usize) -> usize {
    let (mut cursor, mut told) = (reader.from(0), 0);
    let end = durable.min(u64::try_from(2 * most).unwrap_or(u64::MAX).saturating_add(AMONG_MAX));
    while let Ok(Some(entry)) = cursor.next(end) {
        told += usize::from(tells(entry.bytes));
    }
    told
}

/// Whether the line is the record of a loss.
pub(crate) fn tells(line: &[u8]) -> bool {
    let head = line.get(..MARK_WITHIN).unwrap_or(line);
    memchr::memmem::find(head, MARK).is_some()
}

/// What the record of a loss says, in words.
pub(crate) fn words(line: &[u8]) -> String {
    let record: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
    let details = &record["details"];
    let text = |name: &str| {
        let text = details[name].as_str().unwrap_or("?");
        text.chars().filter(|each| !each.is_control()).collect::<String>()
    };
    let number = |name: &str| details[name].as_i64().unwrap_or_default();
    format!(
        "{} records with the root {}, of which {} were found, were given up by '{}' (reason: \
         '{}'); what was left lies in {}",
        number("recordsLost"),
        text("rootLost"),
        number("recordsFound"),
        text("givenUpBy"),
        text("reason"),
        text("keptIn")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::ledger;
    use crate::{Origin, verify};

    fn loss(by: &str) -> Loss {
        Loss {
            records: 812,
            root: "cm9vdA==".to_owned(),
            found: 7,
            by: by.to_owned(),
            reason: "the disk died".to_owned(),
            kept_in: "audit.lost-1".to_owned(),
            time: 1_700_000_000,
        }
    }

    /// How many findings are losses: the log is not certified here.
    fn begun_anew(report: &verify::Report) -> usize {
        let is_loss = |one: &&verify::Finding| matches!(one, verify::Finding::BegunAnew { .. });
        report.findings.iter().filter(is_loss).count()
    }

    fn open(dir: &std::path::Path) -> Trail {
        Trail::open(dir, &Origin::default(), ledger(), Arc::new(|| 0)).unwrap()
    }

    #[tokio::test]
    async fn a_new_log_tells_of_each_loss_once_and_verify_names_it_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let losses = [loss("ada"), loss("a \"quoted\" \u{7f} name")];
        // A death after the first record; then the rest, and no more at any later start.
        for known in [1, 2, 2, 2] {
            let trail = open(dir.path());
            trail.tell_of(&losses[..known], &Reader::new(dir.path())).await.unwrap();
            trail.close();
        }
        let report = verify::folder(dir.path(), verify::Terms::default());
        assert_eq!((report.records, report.losses.len()), (2, 2));
        assert!(report.losses[0].contains("812 records with the root cm9vdA==, of which 7"));
        assert!(report.losses[0].contains("'ada'") && report.losses[0].contains("audit.lost-1"));
        assert_eq!(begun_anew(&report), 2, "{:?}", report.findings);
        let allowed = |losses_max| verify::Terms { losses_max, ..verify::Terms::default() };
        assert_eq!(begun_anew(&verify::folder(dir.path(), allowed(1))), 2, "one is not two");
        let known = verify::folder(dir.path(), allowed(2));
        assert_eq!(begun_anew(&known), 0, "{:?}", known.findings);
        assert_eq!(known.losses.len(), 2, "named all the same");
    }

    #[tokio::test]
    async fn nothing_else_passes_for_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let trail = open(dir.path());
        let forged = ",\"operationName\":\"AuditLogBegunAnew\",";
        let call = Call { request_uri: forged, user_agent: forged.as_bytes(), ..Call::default() };
        let record = Record {
            phase: Phase::Use,
            operation: "KeySign",
            call: &call,
            verdict: Verdict::Success,
            permit: None,
            key: None,
            intent: None,
        };
        trail.append(&record).await.unwrap();
        trail.close();
        let report = verify::folder(dir.path(), verify::Terms::default());
        assert_eq!(report.records, 1);
        assert!(report.losses.is_empty() && begun_anew(&report) == 0, "{:?}", report.findings);
    }

    #[test]
    fn what_an_operator_writes_is_read_again_and_nothing_else() {
        let asked = GiveUp::new(812, 7, " ada ", "the disk died").unwrap();
        assert_eq!((asked.by.as_str(), asked.records, asked.found), ("ada", 812, 7));
        assert_eq!(GiveUp::parse(&asked.encode()), Ok(asked.clone()));
        let text = String::from_utf8(asked.encode()).unwrap();
        for bad in ["", "{}", "null", &text.replace(":1,", ":2,"), &text.replace("by", "for")] {
            assert_eq!(GiveUp::parse(bad.as_bytes()), Err(GiveUpError::Form), "{bad}");
        }
        let long = "x".repeat(WORDS_BYTES_MAX + 1);
        for (by, reason) in [("", "why"), ("ada", " "), ("a\nb", "why"), ("ada", &*long)] {
            assert_eq!(GiveUp::new(1, 0, by, reason), Err(GiveUpError::Words), "{by} {reason}");
        }
        let altered = text.replace("ada", "a\\u0000b");
        assert_eq!(GiveUp::parse(altered.as_bytes()), Err(GiveUpError::Words));
    }

    #[test]
    fn losses_are_kept_as_bytes() {
        let losses = vec![loss("ada"), loss("bob")];
        assert_eq!(Loss::decode(&Loss::encode(&losses)), Some(losses));
        assert_eq!(Loss::decode(b"[]"), Some(Vec::new()));
        for bad in [&b""[..], b"{}", b"[{}]", b"[1]"] {
            assert_eq!(Loss::decode(bad), None);
        }
    }
}
