//! A line of the log, as far as sinks and alerts look into it. What is missing or of another type
//! is empty: a courier passes on what it does not understand.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry(Value);

/// A point in time, as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(OffsetDateTime);

impl Entry {
    pub(crate) fn parse(line: &[u8]) -> Self {
        Self(serde_json::from_slice(line).unwrap_or(Value::Null))
    }

    /// The line again.
    #[cfg(test)]
    pub(crate) fn line(&self) -> String {
        self.0.to_string()
    }

    /// A member that is text; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A member that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// Whether it carries this mark.
    pub(crate) fn is_marked(&self, mark: &str) -> bool {
        let marks = self.0.get("marks").and_then(Value::as_array);
        marks.is_some_and(|marks| marks.iter().any(|one| one.as_str() == Some(mark)))
    }

    /// A member of a member that is text.
    pub(crate) fn inner(&self, outer: &str, name: &str) -> &str {
        self.0.get(outer).and_then(|it| it.get(name)).and_then(Value::as_str).unwrap_or_default()
    }

    /// When it was recorded; none if it does not say.
    pub(crate) fn moment(&self) -> Option<Moment> {
        OffsetDateTime::parse(self.text("time"), &Rfc3339).ok().map(Moment)
    }

    /// The caller: object id, else application, else address.
    pub(crate) fn caller(&self) -> String {
        let identity: Value = serde_json::from_str(self.text("identity")).unwrap_or_default();
        let claim = |path: &str| identity.pointer(path).and_then(Value::as_str).map(str::to_owned);
        claim("/claim/http_schemas_microsoft_com_identity/claims/objectidentifier")
            .or_else(|| claim("/claim/appid"))
            .unwrap_or_else(|| self.text("callerIpAddress").to_owned())
    }

    /// Whether what was asked for was done.
    pub(crate) fn succeeded(&self) -> bool {
        self.text("resultType") == "Success"
    }
}

impl Moment {
    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// Nanoseconds since 1970; zero for what lies before.
    pub(crate) fn nanoseconds(self) -> u64 {
        u64::try_from(self.0.unix_timestamp_nanos()).unwrap_or_default()
    }

    /// Year, month, day, hour, UTC.
    pub(crate) fn hour(self) -> (i32, u8, u8, u8) {
        let utc = self.0.to_offset(time::UtcOffset::UTC);
        (utc.year(), u8::from(utc.month()), utc.day(), utc.hour())
    }

    /// By RFC 3339.
    pub(crate) fn text(self) -> String {
        self.0.format(&Rfc3339).unwrap_or_default()
    }

    /// The present.
    pub(crate) fn now() -> Self {
        Self(OffsetDateTime::now_utc())
    }
}

#[cfg(test)]
pub(crate) mod samples {
    /// A line like those of the log.
    pub(crate) fn line(operation: &str, more: &str) -> String {
        let claims =
            r#"{\"claims\":{\"objectidentifier\":\"00000000-0000-0000-0000-000000000001\"}}"#;
        let schema = "http_schemas_microsoft_com_identity";
        let identity = format!(r#"{{\"claim\":{{\"appid\":\"app\",\"{schema}\":{claims}}}}}"#);
        format!(
            "{{\"seq\":1,\"time\":\"2026-01-01T00:00:00.123Z\",\"phase\":\"use\",\
             \"operationName\":\"{operation}\",{more}\"callerIpAddress\":\"10.0.0.1\",\
             \"identity\":\"{identity}\",\"key\":{{\"name\":\"pay\"}}}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found() {
        let line = samples::line("KeySign", r#""resultType":"Success","httpStatusCode":200,"#);
        let entry = Entry::parse(line.as_bytes());
        assert_eq!(entry.text("operationName"), "KeySign");
        assert_eq!(entry.number("httpStatusCode"), Some(200));
        assert_eq!(entry.inner("key", "name"), "pay");
        assert_eq!(entry.caller(), "00000000-0000-0000-0000-000000000001");
        assert!(entry.succeeded());
        let moment = entry.moment().unwrap();
        assert_eq!((moment.seconds(), moment.hour()), (1_767_225_600, (2026, 1, 1, 0)));
        assert_eq!(moment.nanoseconds() % 1_000_000_000, 123_000_000);
    }

    #[test]
    fn what_is_not_there_is_empty() {
        for line in ["", "{", "[]", "null", r#"{"time":"no","identity":"{","key":7}"#] {
            let entry = Entry::parse(line.as_bytes());
            assert_eq!(entry.text("operationName"), "");
            assert_eq!((entry.caller().as_str(), entry.inner("key", "name")), ("", ""));
            assert!(
                entry.moment().is_none()
                    && !entry.succeeded()
                    && !entry.is_marked("grantToOneself")
            );
        }
    }
}
