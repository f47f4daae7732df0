//! `casemate audit search`.

use std::io::Write;
use std::path::Path;

use casemate_audit::Caller;
use serde_json::Value;

use super::AuditError;
use super::arguments::Filter;
use super::each::Records;
use super::tail::print;

/// Prints the records that fit.
pub(crate) fn search(log: &Path, filter: &Filter, out: &mut dyn Write) -> Result<(), AuditError> {
    let mut records = Records::from(log, 0)?;
    let mut left = filter.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let sequence = records.sequence() + 1;
        let Some(line) = records.next()? else { break };
        let Ok(record) = serde_json::from_slice::<Value>(line) else {
            return Err(AuditError::Damaged { sequence });
        };
        if filter.fits(&record) {
            print(line, out)?;
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
            && self.key.as_deref().is_none_or(|wanted| is_about(record, wanted))
            && is(&self.scope, &record["details"]["scope"])
            && self.principal.as_deref().is_none_or(|wanted| is_of_principal(record, wanted))
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

/// Whether the record is about the key, or about a right at it: at its name, or at a beginning of
/// its name.
fn is_about(record: &Value, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    let name = record["key"]["name"].as_str().unwrap_or_default().to_ascii_lowercase();
    let scope = record["details"]["scope"].as_str().unwrap_or_default().to_ascii_lowercase();
    let at = scope.strip_prefix("/keys/").filter(|at| !at.is_empty());
    let covers = |at: &str| match at.strip_suffix('*') {
        Some(begin) => wanted.starts_with(begin),
        None => wanted == at,
    };
    !wanted.is_empty() && (name == wanted || at.is_some_and(covers))
}

/// Whether the record says that the principal gets or loses a role, has its tokens cut off, or is
/// asked about.
fn is_of_principal(record: &Value, wanted: &str) -> bool {
    let details = &record["details"];
    let named = details["principalId"].as_str().is_some_and(|id| id.eq_ignore_ascii_case(wanted));
    let listed = details["assignments"].as_array().into_iter().flatten().any(|one| {
        let id = one.as_str().and_then(|one| one.rsplit(' ').next()).unwrap_or_default();
        id.eq_ignore_ascii_case(wanted)
    });
    named || listed
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
    use crate::audit::each;

    const GOLDEN: &str = include_str!("../../../../audit/tests/golden-line.json");

    fn fits(filter: &Filter) -> bool {
        filter.fits(&serde_json::from_str(GOLDEN).unwrap())
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_the_end() {
        let dir = tempfile::tempdir().unwrap();
        each::samples::log(dir.path(), 20);
        let found = |filter: &Filter| {
            let mut out = Vec::new();
            let searched = search(dir.path(), filter, &mut out);
            (searched, String::from_utf8(out).unwrap().lines().count())
        };
        let (searched, count) = found(&Filter::default());
        assert!(searched.is_ok() && count == 20);
        each::samples::harm(dir.path(), |text| text.replacen("{\"seq\":12,", "{\"seq\":21,", 1));
        let (searched, count) = found(&Filter::default());
        assert!(matches!(searched, Err(AuditError::Read(_))), "{searched:?}");
        assert_eq!(count, 11);
        let (searched, _) = found(&Filter { limit: Some(11), ..Filter::default() });
        assert!(searched.is_ok(), "what was asked for is there");
        each::samples::log(dir.path(), 20);
        each::samples::harm(dir.path(), |text| text.replacen("\"time\"", "\"time", 1));
        let (searched, count) = found(&Filter::default());
        assert!(matches!(searched, Err(AuditError::Damaged { sequence: 1 })), "{searched:?}");
        assert_eq!(count, 0);
        each::samples::log(dir.path(), 20);
        each::samples::harm(dir.path(), |_| String::new());
        assert!(matches!(found(&Filter::default()).0, Err(AuditError::Read(_))));
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
    fn rights_are_found_by_principal_scope_and_key() {
        let principal = "00000000-0000-0000-0000-00000000000a";
        let of = |details: Value| serde_json::json!({"details": details});
        let at = |scope: &str| of(serde_json::json!({"principalId": principal, "scope": scope}));
        let by_key = |name: &str| Filter { key: some(name), ..Filter::default() };
        for (scope, key, found) in [
            ("/keys/Pay-*", "pay-1", true),
            ("/keys/pay-1", "PAY-1", true),
            ("/keys/pay-*", "pay", false),
            ("/keys/pay-1", "pay-12", false),
            ("/keys", "pay-1", false),
            ("/", "pay-1", false),
            ("/keys/", "", false),
            ("/keys/pay-1", "", false),
        ] {
            assert_eq!(by_key(key).fits(&at(scope)), found, "{scope} {key}");
        }
        let by_scope = |scope: &str| Filter { scope: some(scope), ..Filter::default() };
        assert!(by_scope("/KEYS/pay-*").fits(&at("/keys/Pay-*")));
        assert!(!by_scope("/keys").fits(&at("/keys/pay")) && !fits(&by_scope("/keys")));
        let by_principal = |id: &str| Filter { principal: some(id), ..Filter::default() };
        assert!(by_principal(&principal.to_uppercase()).fits(&at("/")));
        let purged =
            of(serde_json::json!({"assignments": [format!("n role r principal {principal}")]}));
        assert!(by_principal(principal).fits(&purged));
        for other in ["", "a", "00000000-0000-0000-0000-00000000000b", "r"] {
            let filter = by_principal(other);
            assert!(!filter.fits(&at("/")) && !filter.fits(&purged) && !fits(&filter), "{other}");
        }
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
