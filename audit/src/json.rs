//! A record as one line of JSON, written straight into a buffer.
//!
//! Whatever the strings hold, the line is valid JSON and bounded: each string is cut at its own
//! limit, bytes that are no UTF-8 become U+FFFD, and everything below U+0020 is escaped.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Instant;

use uuid::Uuid;

use crate::record::{
    Call, Detail, DetailValue, Identity, KeyFacts, PermitFacts, Phase, Record, Verdict,
};

/// Longest strings of the HSM's own settings, in bytes.
pub(crate) const ORIGIN_BYTES_MAX: usize = 512;
/// Longest operation names, api-versions, error codes, roles, algorithms, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Longest key names, in bytes (the API allows 127).
const NAME_BYTES_MAX: usize = 127;
/// Longest user agents, in bytes.
const AGENT_BYTES_MAX: usize = 256;
/// Longest correlation ids, application ids and token ids, in bytes.
const ID_BYTES_MAX: usize = 128;
/// Longest user names, in bytes.
const USER_BYTES_MAX: usize = 256;
/// Longest request paths, in bytes.
const URI_BYTES_MAX: usize = 1024;
/// What a refused call may say for itself in its record, in bytes: its caller may be anybody who
/// has a token, and refused as often as he likes.
const REFUSED: Most = Most { agent: 64, id: 64, uri: 256, details: 1024 };
/// What any other call may say for itself, in bytes.
const USUAL: Most = Most {
    agent: AGENT_BYTES_MAX,
    id: ID_BYTES_MAX,
    uri: URI_BYTES_MAX,
    details: DETAILS_BYTES_MAX,
};
/// Longest descriptions, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 512;
/// Most marks of one record.
const MARKS_MAX: usize = 8;
/// Longest text among the details of a change, in bytes.
const DETAIL_BYTES_MAX: usize = 512;
/// The details of one record, in bytes as they are written: what would begin beyond is left out.
const DETAILS_BYTES_MAX: usize = 8 * 1024;
/// What is said of a call whose caller did not wait.
const ABANDONED: &str = "the call broke off before its answer, which nobody got: most likely the \
                         caller hung up; what it was allowed to do may have been done";
/// Longest usual line, in bytes: what a buffer is made for, not a limit.
pub(crate) const LINE_BYTES_USUAL: usize = 4096;

/// Puts a line together: its number, its own fields, the end that all lines share. Says where
/// its own fields begin.
pub(crate) fn assemble(out: &mut Vec<u8>, sequence: u64, fields: &[u8], line_end: &[u8]) -> usize {
    out.reserve(32 + fields.len() + line_end.len());
    out.extend_from_slice(b"{\"seq\":");
    decimal(out, sequence);
    let begin = out.len();
    out.extend_from_slice(fields);
    out.extend_from_slice(line_end);
    begin
}

/// How much a call may say for itself, in bytes.
#[derive(Clone, Copy)]
struct Most {
    agent: usize,
    id: usize,
    uri: usize,
    details: usize,
}

/// Where in a line the values stand that say who did what with which key, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) time: Range<usize>,
    pub(crate) operation: Range<usize>,
    /// Empty without one.
    pub(crate) identity: Range<usize>,
    /// The key's name; empty without one.
    pub(crate) key: Range<usize>,
}

impl Places {
    /// The same in a text before which so many bytes were put.
    pub(crate) fn shifted(self, by: usize) -> Self {
        let shifted = |range: Range<usize>| range.start + by..range.end + by;
        let Self { time, operation, identity, key } = self;
        Self {
            time: shifted(time),
            operation: shifted(operation),
            identity: shifted(identity),
            key: shifted(key),
        }
    }
}

/// Appends the record's own fields, each with its comma before it.
pub(crate) fn line(out: &mut Vec<u8>, now_ms: i64, record: &Record<'_>) -> Places {
    let mut places = Places::default();
    out.extend_from_slice(b",\"time\":\"");
    places.time = written(out, |out| rfc3339(out, now_ms));
    out.extend_from_slice(b"\",\"phase\":\"");
    out.extend_from_slice(record.phase.name().as_bytes());
    out.push(b'"');
    places.operation = text(out, "operationName", record.operation, WORD_BYTES_MAX);
    verdict(out, record.verdict, record.call.success_status);
    let most = if record.phase == Phase::Refusal { REFUSED } else { USUAL };
    places.identity = call(out, record.call, most);
    if let Some(permit) = &record.permit {
        permit_facts(out, permit);
    }
    if let Some(key) = &record.key {
        places.key = key_facts(out, key);
    }
    if let Some(intent) = record.intent {
        number(out, "intent", intent.sequence());
    }
    places
}

/// Where that stands which is written.
fn written(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let begin = out.len();
    write(out);
    begin..out.len()
}

/// Appends a string member, unless it is empty; says where its value stands.
pub(crate) fn text(out: &mut Vec<u8>, name: &str, value: &str, bytes_max: usize) -> Range<usize> {
    if value.is_empty() {
        return 0..0;
    }
    member(out, name);
    out.push(b'"');
    let place = written(out, |out| escape(out, cut(value, bytes_max)));
    out.push(b'"');
    place
}

/// Appends a member that holds a UUID.
pub(crate) fn uuid(out: &mut Vec<u8>, name: &str, value: Uuid) {
    member(out, name);
    out.push(b'"');
    plain_uuid(out, value);
    out.push(b'"');
}

fn verdict(out: &mut Vec<u8>, verdict: Verdict<'_>, success_status: u16) {
    match verdict {
        Verdict::Pending => out.extend_from_slice(b",\"resultType\":\"Pending\""),
        Verdict::Abandoned => {
            text(out, "resultType", "Unknown", WORD_BYTES_MAX);
            text(out, "errorCode", "Abandoned", WORD_BYTES_MAX);
            text(out, "resultDescription", ABANDONED, DESCRIPTION_BYTES_MAX);
        }
        Verdict::Success => {
            out.extend_from_slice(b",\"resultType\":\"Success\"");
            if success_status != 0 {
                text(out, "resultSignature", signature(success_status), WORD_BYTES_MAX);
                number(out, "httpStatusCode", u64::from(success_status));
            }
        }
        Verdict::Resolved { done, description } => {
            let result = match done {
                Some(true) => "Success",
                Some(false) => "Failed",
                None => "Unknown",
            };
            text(out, "resultType", result, WORD_BYTES_MAX);
            text(out, "errorCode", "Interrupted", WORD_BYTES_MAX);
            text(out, "resultDescription", description, DESCRIPTION_BYTES_MAX);
        }
        Verdict::Failure { status, code, description } => {
            out.extend_from_slice(b",\"resultType\":\"Failed\"");
            let shown = match status {
                Some(status) => signature(status),
                None => code,
            };
            text(out, "resultSignature", shown, WORD_BYTES_MAX);
            text(out, "errorCode", code, WORD_BYTES_MAX);
            text(out, "resultDescription", description, DESCRIPTION_BYTES_MAX);
            if let Some(status) = status {
                number(out, "httpStatusCode", u64::from(status));
            }
        }
    }
}

fn call(out: &mut Vec<u8>, call: &Call<'_>, most: Most) -> Range<usize> {
    text(out, "operationVersion", call.api_version, WORD_BYTES_MAX);
    text(out, "requestUri", call.request_uri, most.uri);
    if let Some(started) = call.started {
        number(out, "durationMs", elapsed_ms(started));
    }
    if let Some(address) = call.caller_address {
        caller_address(out, address);
    }
    bytes(out, "clientInfo", call.user_agent, most.agent);
    bytes(out, "correlationId", call.correlation_id, most.id);
    text(out, "activityId", call.activity_id, ID_BYTES_MAX);
    let identity = identity(out, &call.identity);
    text(out, "tokenId", call.identity.token_id, ID_BYTES_MAX);
    if call.consistency != 0 {
        number(out, "consistencyRevision", call.consistency);
    }
    if !call.marks.is_empty() {
        marks(out, call.marks);
    }
    if !call.details.is_empty() {
        details(out, call.details, most.details);
    }
    identity
}

/// Bounded as a whole: what no longer fits is left out, and the member `cut` says so.
fn details(out: &mut Vec<u8>, details: &[Detail], bytes_max: usize) {
    member(out, "details");
    out.push(b'{');
    let end = out.len() + bytes_max;
    let mut is_cut = false;
    for (index, detail) in details.iter().enumerate() {
        if out.len() >= end {
            is_cut = true;
            break;
        }
        if index > 0 {
            out.push(b',');
        }
        quoted(out, &detail.name);
        out.push(b':');
        match &detail.value {
            DetailValue::Text(text) => quoted(out, text),
            DetailValue::Texts(texts) => is_cut |= listed(out, texts, end),
            DetailValue::Number(number) => {
                if *number < 0 {
                    out.push(b'-');
                }
                decimal(out, number.unsigned_abs());
            }
        }
    }
    if is_cut {
        out.extend_from_slice(b",\"cut\":true");
    }
    out.push(b'}');
}

/// Appends a list of texts as far as it goes; says whether some were left out.
fn listed(out: &mut Vec<u8>, texts: &[String], end: usize) -> bool {
    out.push(b'[');
    let mut is_cut = false;
    for (index, text) in texts.iter().enumerate() {
        if out.len() >= end {
            is_cut = true;
            break;
        }
        if index > 0 {
            out.push(b',');
        }
        quoted(out, text);
    }
    out.push(b']');
    is_cut
}

fn quoted(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    escape(out, cut(value, DETAIL_BYTES_MAX));
    out.push(b'"');
}

fn marks(out: &mut Vec<u8>, marks: &[&'static str]) {
    member(out, "marks");
    for (index, mark) in marks.iter().take(MARKS_MAX).enumerate() {
        out.extend_from_slice(if index == 0 { b"[\"" } else { b",\"" });
        escape(out, cut(mark, WORD_BYTES_MAX));
        out.push(b'"');
    }
    out.push(b']');
}

/// Azure's `identity` is a string that holds JSON: its strings are escaped twice.
fn identity(out: &mut Vec<u8>, identity: &Identity<'_>) -> Range<usize> {
    if identity.object_id.is_none() && identity.app_id.is_empty() {
        return 0..0;
    }
    member(out, "identity");
    out.push(b'"');
    let place = written(out, |out| claims(out, identity));
    out.push(b'"');
    place
}

fn claims(out: &mut Vec<u8>, identity: &Identity<'_>) {
    out.extend_from_slice(br#"{\"claim\":{\"appid\":\""#);
    escape_twice(out, cut(identity.app_id, ID_BYTES_MAX));
    out.extend_from_slice(
        br#"\",\"http_schemas_microsoft_com_identity\":{\"claims\":{\"objectidentifier\":\""#,
    );
    if let Some(object_id) = identity.object_id {
        plain_uuid(out, object_id);
    }
    out.extend_from_slice(br#"\"}}"#);
    if !identity.user_name.is_empty() {
        out.extend_from_slice(
            br#",\"http_schemas_xmlsoap_org_ws_2005_05_identity\":{\"claims\":{\"upn\":\""#,
        );
        escape_twice(out, cut(identity.user_name, USER_BYTES_MAX));
        out.extend_from_slice(br#"\"}}"#);
    }
    out.extend_from_slice(b"}}");
}

fn permit_facts(out: &mut Vec<u8>, permit: &PermitFacts<'_>) {
    out.extend_from_slice(b",\"permit\":{\"assignment\":\"");
    plain_uuid(out, permit.assignment);
    out.push(b'"');
    text(out, "role", permit.role, WORD_BYTES_MAX);
    uuid(out, "roleId", permit.role_id);
    number(out, "revision", permit.revision);
    out.push(b'}');
}

fn key_facts(out: &mut Vec<u8>, key: &KeyFacts<'_>) -> Range<usize> {
    out.extend_from_slice(b",\"key\":{\"name\":\"");
    let place = written(out, |out| escape(out, cut(key.name, NAME_BYTES_MAX)));
    out.push(b'"');
    if let Some(version) = key.version {
        member(out, "version");
        out.push(b'"');
        for byte in version {
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
        out.push(b'"');
    }
    text(out, "algorithm", key.algorithm, WORD_BYTES_MAX);
    out.push(b'}');
    place
}

fn caller_address(out: &mut Vec<u8>, address: IpAddr) {
    member(out, "callerIpAddress");
    out.push(b'"');
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, part) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                decimal(out, u64::from(part));
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
    out.push(b'"');
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The status line's text, as Azure writes it into `resultSignature`.
fn signature(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn member(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    member(out, name);
    decimal(out, value);
}

/// Appends a member of bytes that should be text, unless there are none.
fn bytes(out: &mut Vec<u8>, name: &str, value: &[u8], bytes_max: usize) {
    let bounded = value.get(..bytes_max + 4).unwrap_or(value);
    match std::str::from_utf8(value) {
        Ok(value) => text(out, name, value, bytes_max),
        Err(_) => text(out, name, &String::from_utf8_lossy(bounded), bytes_max),
    };
}

/// The longest beginning of the text within the limit that ends between two characters.
fn cut(value: &str, bytes_max: usize) -> &str {
    if value.len() <= bytes_max {
        return value;
    }
    &value[..value.floor_char_boundary(bytes_max)]
}

fn escape(out: &mut Vec<u8>, value: &str) {
    if !any_needs_escape(value) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn escape_twice(out: &mut Vec<u8>, value: &str) {
    if !any_needs_escape(value) {
        out.extend_from_slice(value.as_bytes());
        return;
    }
    let mut once = Vec::new();
    escape(&mut once, value);
    escape(out, &String::from_utf8_lossy(&once));
}

/// Looks at all bytes without stopping early, which the compiler turns into vector instructions.
fn any_needs_escape(value: &str) -> bool {
    value.bytes().fold(false, |any, byte| any | needs_escape(byte))
}

/// The control characters, DEL among them: a line shown on a terminal must not move its cursor.
fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0x7f)
}

fn plain_uuid(out: &mut Vec<u8>, value: Uuid) {
    let mut digits = Uuid::encode_buffer();
    out.extend_from_slice(value.hyphenated().encode_lower(&mut digits).as_bytes());
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = digit(value % 10);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn digit(value: u64) -> u8 {
    HEX[usize::try_from(value).map_or(0, |value| value % 10)]
}

/// UTC with milliseconds. Years beyond 0000 to 9999 are shown as the nearest of them.
fn rfc3339(out: &mut Vec<u8>, now_ms: i64) {
    const DAY_MS: i64 = 86_400_000;
    const FIRST_MS: i64 = -62_167_219_200_000;
    const LAST_MS: i64 = 253_402_300_799_999;
    let now_ms = now_ms.clamp(FIRST_MS, LAST_MS);
    let (year, month, day) = civil(now_ms.div_euclid(DAY_MS));
    let ms = now_ms.rem_euclid(DAY_MS);
    padded(out, year, 4);
    out.push(b'-');
    padded(out, month, 2);
    out.push(b'-');
    padded(out, day, 2);
    out.push(b'T');
    padded(out, ms / 3_600_000, 2);
    out.push(b':');
    padded(out, ms / 60_000 % 60, 2);
    out.push(b':');
    padded(out, ms / 1000 % 60, 2);
    out.push(b'.');
    padded(out, ms % 1000, 3);
    out.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. The year is
/// counted from March, so that the leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn padded(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut digits = [b'0'; 4];
    let mut value = value.unsigned_abs();
    for place in digits.iter_mut().rev() {
        *place = digit(value % 10);
        value /= 10;
    }
    out.extend_from_slice(&digits[digits.len() - width..]);
}

#[cfg(test)]
mod tests;
