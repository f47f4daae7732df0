//! Error bodies.

use serde::{Deserialize, Serialize};

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody<'a> {
    /// The one member.
    #[serde(borrow)]
    pub error: ErrorDetail<'a>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail<'a> {
    /// For programs.
    pub code: &'a str,
    /// For people. A text with escapes cannot be borrowed; see [`std::borrow::Cow`].
    #[serde(borrow)]
    pub message: std::borrow::Cow<'a, str>,
    /// More for programs.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub innererror: Option<InnerError<'a>>,
}

/// The finer reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InnerError<'a> {
    /// For programs.
    pub code: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_inner_error_is_left_out() {
        let detail = ErrorDetail { code: "A", message: "b \"c\"".into(), innererror: None };
        let text = serde_json::to_string(&ErrorBody { error: detail.clone() }).unwrap();
        assert_eq!(text, r#"{"error":{"code":"A","message":"b \"c\""}}"#);
        let inner = Some(InnerError { code: "D" });
        let error = ErrorDetail { innererror: inner, ..detail };
        let text = serde_json::to_string(&ErrorBody { error }).unwrap();
        let read: ErrorBody<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.error.innererror, inner);
        assert_eq!(read.error.message, "b \"c\"");
    }
}
