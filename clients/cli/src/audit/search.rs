//! `casemate audit search`.

use std::io::Write;
use std::path::Path;

use casemate_audit::{Caller, Reader};
use serde_json::Value;

use super::AuditError;
use super::arguments::Filter;
use super::tail::print;

/// Prints the records that fit.
pub(crate) fn search(log: &Path, filter: &Filter, out: &mut dyn Write) -> Result<(), AuditError> {
    let mut cursor = Reader::new(log).from(0);
    let mut left = filter.limit.unwrap_or(u64::MAX);
    while left > 0
        && let Some(entry) = cursor.next_written()?
    {
        let fits =
            serde_json::from_slice::<Value>(entry.bytes).is_ok_and(|record| filter.fits(&record));
        if fits {
            print(entry.bytes, out)?;
            left -= 1;
        }
    }
    out.flush()?;
    Ok(())
}

impl Filter {
    /// Whether all that is given applies to the record.
    fn fits(&self, record: &Value) -> bool {
        let is = |wanted: &Option<String>, value: &Value| match wanted {
            Some(wanted) => value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(wanted)),
            None => true,
        };
        let time = record["time"].as_str().unwrap_or_default();
        self.since.as_deref().is_none_or(|since| time >= since)
            && self.until.as_deref().is_none_or(|until| time < until)
            && is(&self.key, &record["key"]["name"])
            && is(&self.operation, &record["operationName"])
            && is(&self.activity, &record["activityId"])
            && self.caller.as_deref().is_none_or(|wanted| is_caller(record, wanted))
            && self.result.as_deref().is_none_or(|wanted| is_result(record, wanted))
    }
}

fn is_caller(record: &Value, wanted: &str) -> bool {
    let caller = Caller::from_identity(record["identity"].as_str().unwrap_or_default());
    let names = [&caller.object_id, &caller.app_id, &caller.user_name];
    let token = record["tokenId"].as_str().unwrap_or_default();
    names
        .into_iter()
        .map(String::as_str)
        .chain([token])
        .any(|name| name.eq_ignore_ascii_case(wanted))
}

fn is_result(record: &Value, wanted: &str) -> bool {
    let words = ["resultType", "errorCode", "resultSignature"];
    let status = record["httpStatusCode"].as_u64().map(|status| status.to_string());
    let mut words = words.iter().filter_map(|name| record[*name].as_str());
    words.any(|word| word.eq_ignore_ascii_case(wanted)) || status.as_deref() == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../../audit/tests/golden-line.json");

    fn fits(filter: &Filter) -> bool {
        filter.fits(&serde_json::from_str(GOLDEN).unwrap())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_part_of_a_record_can_be_asked_for() {
        assert!(fits(&Filter::default()));
        for caller in ["00000000-0000-0000-0000-000000000001", "APP", "a@b", "t1"] {
            assert!(fits(&Filter { caller: some(caller), ..Filter::default() }), "{caller}");
        }
        for result in ["success", "200", "OK"] {
            assert!(fits(&Filter { result: some(result), ..Filter::default() }), "{result}");
        }
        assert!(fits(&Filter {
            since: some("2026-01-01T00:00:00.123"),
            until: some("2026-01-01T00:00:00.124"),
            key: some("PAY"),
            operation: some("keysign"),
            activity: some("5F6C1D3E-0000-4000-8000-000000000007"),
            ..Filter::default()
        }));
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        for filter in [
            Filter { since: some("2026-01-02"), ..Filter::default() },
            Filter { until: some("2026-01-01"), ..Filter::default() },
            Filter { caller: some("app2"), ..Filter::default() },
            Filter { caller: some(""), ..Filter::default() },
            Filter { key: some("pa"), ..Filter::default() },
            Filter { operation: some("KeyVerify"), ..Filter::default() },
            Filter { activity: some("c-1"), ..Filter::default() },
            Filter { activity: some(""), ..Filter::default() },
            Filter { result: some("Failed"), ..Filter::default() },
            Filter { result: some("403"), ..Filter::default() },
        ] {
            assert!(!fits(&filter), "{filter:?}");
        }
    }
}
