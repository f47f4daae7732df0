//! The lines of a copy in what receivers keep: syslog messages, and OTLP in JSON.

use serde_json::Value;

/// What lines of a copy begin with.
const BEGINS: [&str; 5] =
    ["{\"seq\":", "{\"certificate\":", "{\"checkpoint\":", "{\"frontier\":", "{\"consistency\":"];
/// What a line of OTLP in JSON begins with.
const OTLP_BEGIN: &str = "{\"resourceLogs\":";
/// Name of our structured data in a syslog message.
const DATA_BEGIN: &str = "[casemate@32473 index=\"";

/// The lines of a copy that this line of a receiver's file carries, in order; none if it is
/// somebody else's. Either a syslog message (RFC 5424, with or without the length before it), or
/// what an OTLP receiver writes as JSON (`ExportLogsServiceRequest`).
#[must_use]
pub fn carried(line: &str) -> Vec<String> {
    let line = line.trim_end_matches(['\r', '\n']);
    let found = if line.starts_with(OTLP_BEGIN) {
        of_otlp(line)
    } else {
        of_syslog(line).map(str::to_owned).into_iter().collect()
    };
    let is_ours = |text: &String| BEGINS.iter().any(|begin| text.starts_with(begin));
    let is_one_line = |text: &String| !text.contains(['\n', '\r']);
    found.into_iter().filter(|text| is_ours(text) && is_one_line(text)).collect()
}

/// `<PRIORITY>1 TIME HOST casemate - ID DATA TEXT`. Only the head is looked at: a record may hold
/// whatever a caller sent.
fn of_syslog(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let rest = if rest.len() == line.len() { line } else { rest.strip_prefix(' ')? };
    let (priority, rest) = rest.strip_prefix('<')?.split_once(">1 ")?;
    let mut parts = rest.splitn(6, ' ');
    let (_time, _host) = (parts.next()?, parts.next()?);
    let (application, process, _id) = (parts.next()?, parts.next()?, parts.next()?);
    let rest = parts.next()?;
    let is_ours = application == "casemate" && process == "-";
    if !is_ours || priority.is_empty() || !priority.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match rest.strip_prefix("- ") {
        Some(text) => Some(text),
        None => {
            let (index, text) = rest.strip_prefix(DATA_BEGIN)?.split_once("\"] ")?;
            index.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
        }
    }
}

fn of_otlp(line: &str) -> Vec<String> {
    let read: Value = serde_json::from_str(line).unwrap_or_default();
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut texts = Vec::new();
    for resource in list(&read, "resourceLogs") {
        for scope in list(&resource, "scopeLogs") {
            for record in list(&scope, "logRecords") {
                texts.extend(record["body"]["stringValue"].as_str().map(str::to_owned));
            }
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RECORD: &str = "{\"seq\":1,\"clientInfo\":\"<1>1 - - casemate - X - {\\\"seq\\\":9}\"}";

    #[test]
    fn a_syslog_message_carries_one_line() {
        let head = "<110>1 2026-01-01T00:00:00.123Z dev casemate - KeySign";
        for message in [
            format!("{head} [casemate@32473 index=\"0\"] {RECORD}"),
            format!("{head} [casemate@32473 index=\"0\"] {RECORD}\r\n"),
            format!("412 {head} [casemate@32473 index=\"0\"] {RECORD}\n"),
            format!("<108>1 - dev casemate - - - {RECORD}"),
        ] {
            assert_eq!(carried(&message), [RECORD], "{message}");
        }
        let note = "{\"checkpoint\":\"log\\n1\\nroot\\n\"}";
        assert_eq!(carried(&format!("<110>1 - dev casemate - Checkpoint - {note}")), [note]);
    }

    #[test]
    fn what_others_say_is_left_out() {
        for message in [
            "",
            RECORD,
            "<110>1 - dev casemate - KeySign - no record",
            "<110>1 - dev casemate - KeySign {\"seq\":1}",
            "<110>1 - dev casemate 7 KeySign - {\"seq\":1}",
            "<110>1 - dev sshd - KeySign - {\"seq\":1}",
            "<110>2 - dev casemate - KeySign - {\"seq\":1}",
            "<>1 - dev casemate - KeySign - {\"seq\":1}",
            "<x>1 - dev casemate - KeySign - {\"seq\":1}",
            "12<110>1 - dev casemate - KeySign - {\"seq\":1}",
            "<110>1 - dev casemate - KeySign [other@1 index=\"0\"] {\"seq\":1}",
            "<110>1 - dev casemate - KeySign [casemate@32473 index=\"x\"] {\"seq\":1}",
            "<110>1 - dev casemate - KeySign [casemate@32473 index=\"0\"]{\"seq\":1}",
            "{\"resourceLogs\":",
            "{\"resourceLogs\":[]}",
            "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"intValue\":1}}]}]}]}",
        ] {
            assert!(carried(message).is_empty(), "{message}");
        }
    }

    #[test]
    fn a_line_of_otlp_carries_many() {
        let record = |text: &str| json!({"timeUnixNano": "1", "body": {"stringValue": text}});
        let line = json!({"resourceLogs": [
            {"resource": {}, "scopeLogs": [{"logRecords": [record(RECORD), record("hello")]}]},
            {"scopeLogs": [{"logRecords": [record("{\"seq\":2}"), record("{\"seq\":3}\nx")]}]},
        ]});
        assert_eq!(carried(&line.to_string()), [RECORD, "{\"seq\":2}"]);
    }
}
