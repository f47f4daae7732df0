//! Where traces of requests go, and which requests are traced.

use serde::{Deserialize, Serialize};

use crate::error::SinksError;
use crate::secret::{SECRET_BYTES_MAX, SinkSecret};
use crate::sink::{Endpoint, endpoint, is_header_value};

/// What refusals call it: it has no name of its own.
const NAME: &str = "traces";
/// Share of the requests that is traced where none was sent.
const RATIO_USUAL: f64 = 0.01;
/// The same in parts of this is how it is kept.
const PARTS: f64 = 1_000_000.0;
/// Most of the requests, per second, that are traced because their callers wish it.
const PER_SECOND_MAX: u32 = 1_000;
const PER_SECOND_USUAL: u32 = 10;

/// The collector of traces, by OTLP over HTTPS, and which requests are traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The header `Authorization`, if it needs one.
    pub secret: Option<SinkSecret>,
    /// So many of a million requests whose callers say nothing about traces.
    pub sample_ppm: u32,
    /// So many of those whose callers wish it, per second.
    pub callers_per_second: u32,
}

/// The same as JSON; the secret goes in and never comes out.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawTraces {
    endpoint: Option<String>,
    trust_anchors: Option<String>,
    #[serde(default = "usual_ratio")]
    sample_ratio: f64,
    #[serde(default = "usual_per_second")]
    callers_per_second: u32,
    #[serde(default, skip_serializing)]
    secret: Option<String>,
}

fn usual_ratio() -> f64 {
    RATIO_USUAL
}

fn usual_per_second() -> u32 {
    PER_SECOND_USUAL
}

impl Traces {
    /// Whether a secret that was set for `other` may go to this one: the same address.
    pub(crate) fn may_keep_secret_of(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }

    pub(crate) fn check_secret(&self) -> Result<(), SinksError> {
        let refuse = |form| Err(SinksError::Secret { name: NAME.to_owned(), form });
        match self.secret.as_ref().map(SinkSecret::expose) {
            Some(text) if text.len() > SECRET_BYTES_MAX => refuse("at most 4096 bytes"),
            Some(text) if !is_header_value(text) => {
                refuse("the value of the header Authorization, in visible ASCII")
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn raw(&self) -> RawTraces {
        RawTraces {
            endpoint: Some(self.endpoint.as_str().to_owned()),
            trust_anchors: Some(self.endpoint.trust_anchors.clone()),
            sample_ratio: f64::from(self.sample_ppm) / PARTS,
            callers_per_second: self.callers_per_second,
            secret: None,
        }
    }
}

impl TryFrom<RawTraces> for Traces {
    type Error = SinksError;

    /// Checks everything but the secret, which may be kept from before.
    fn try_from(raw: RawTraces) -> Result<Self, SinksError> {
        let (address, anchors) = (raw.endpoint.as_deref(), raw.trust_anchors.as_deref());
        let endpoint = endpoint(NAME, address, anchors, "https")?;
        let sample_ppm = parts(raw.sample_ratio).ok_or(SinksError::SampleRatio)?;
        if raw.callers_per_second > PER_SECOND_MAX {
            let (name, member) = (NAME.to_owned(), "callersPerSecond");
            return Err(SinksError::Number { name, member, min: 0, max: PER_SECOND_MAX.into() });
        }
        let secret = raw.secret.map(SinkSecret::new);
        Ok(Self { endpoint, secret, sample_ppm, callers_per_second: raw.callers_per_second })
    }
}

/// A ratio from 0 to 1 in parts of a million.
fn parts(ratio: f64) -> Option<u32> {
    if !(0.0..=1.0).contains(&ratio) {
        return None;
    }
    // Within the range of the type by the line above.
    #[expect(clippy::as_conversions, reason = "there is no other way from f64 to u32")]
    Some((ratio * PARTS).round() as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{SealedSinks, Sinks, SinksRequest};

    const SECRET: &str = "Bearer hidden-token";

    fn settings(traces: Value) -> Value {
        json!({ "sinks": [{ "name": "traces", "kind": "file" }], "traces": traces })
    }

    fn whole() -> Value {
        json!({
            "endpoint": "https://collector.example:4318/v1/traces",
            "trustAnchors": "-----BEGIN CERTIFICATE-----",
            "sampleRatio": 0.25, "callersPerSecond": 50, "secret": SECRET,
        })
    }

    fn parse(traces: Value, before: &Sinks) -> Result<Sinks, String> {
        let request = SinksRequest::parse(settings(traces).to_string().as_bytes());
        let sinks = request.and_then(|request| request.complete(before));
        sinks.map_err(|error| error.to_string())
    }

    fn with(member: &str, value: Value) -> Value {
        let mut changed = whole();
        changed[member] = value;
        changed
    }

    #[test]
    fn whole_settings_are_taken_shown_without_the_secret_and_sealed_with_it() {
        let sinks = parse(whole(), &Sinks::default()).unwrap();
        let traces = sinks.traces().unwrap();
        assert_eq!((traces.sample_ppm, traces.callers_per_second), (250_000, 50));
        assert_eq!((traces.endpoint.port(), traces.endpoint.path()), (4318, "/v1/traces"));
        let shown = serde_json::to_value(&sinks).unwrap();
        assert_eq!(shown["traces"]["sampleRatio"], 0.25);
        let shown = format!("{shown} {sinks:?}");
        assert!(!shown.contains("hidden-token"), "{shown}");
        let text = serde_json::to_string(&sinks.seal()).unwrap();
        let back: SealedSinks = serde_json::from_str(&text).unwrap();
        assert_eq!(back.open().unwrap(), sinks);
        let mut bytes = Vec::new();
        ciborium::into_writer(&sinks.seal(), &mut bytes).unwrap();
        let back: SealedSinks = ciborium::from_reader(bytes.as_slice()).unwrap();
        assert_eq!(back.open().unwrap(), sinks);
    }

    #[test]
    fn what_was_sealed_before_there_were_traces_is_read() {
        let sealed = r#"{"settings":{"sinks":[],"synchronous":null,"synchronousDeadlineMs":5000},
                         "secrets":{}}"#;
        let sealed: SealedSinks = serde_json::from_str(sealed).unwrap();
        assert_eq!(sealed.open().unwrap(), Sinks::default());
        let none = serde_json::to_value(Sinks::default().seal()).unwrap();
        assert!(none.get("traces_secret").is_none() && none["settings"].get("traces").is_none());
    }

    #[test]
    fn a_secret_is_kept_for_the_same_address_only() {
        let before = parse(whole(), &Sinks::default()).unwrap();
        let kept = |mut traces: Value| {
            traces.as_object_mut().unwrap().remove("secret");
            let sinks = parse(traces, &before).unwrap();
            sinks.traces().unwrap().secret.is_some()
        };
        assert!(kept(with("sampleRatio", json!(1))));
        let other = "https://collector.example:4318/v2/traces";
        assert!(!kept(with("endpoint", json!(other))));
        let root = "-----BEGIN CERTIFICATE----- of another";
        assert!(!kept(with("trustAnchors", json!(root))));
        let off = SinksRequest::parse(br#"{"sinks":[]}"#).unwrap().complete(&before).unwrap();
        assert!(off.traces().is_none(), "left out means off");
        let mut again = whole();
        again.as_object_mut().unwrap().remove("secret");
        assert!(parse(again, &off).unwrap().traces().unwrap().secret.is_none());
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let mut least = whole();
        for member in ["sampleRatio", "callersPerSecond", "secret"] {
            least.as_object_mut().unwrap().remove(member);
        }
        let sinks = parse(least, &Sinks::default()).unwrap();
        let traces = sinks.traces().unwrap();
        assert_eq!((traces.sample_ppm, traces.callers_per_second), (10_000, 10));
        assert!(traces.secret.is_none());
        for (ratio, ppm) in [(json!(0), 0), (json!(1), 1_000_000), (json!(0.0000014), 1)] {
            let sinks = parse(with("sampleRatio", ratio), &Sinks::default()).unwrap();
            assert_eq!(sinks.traces().unwrap().sample_ppm, ppm);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_not_repeated() {
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        for (member, value, says) in [
            ("endpoint", json!("http://collector.example/v1/traces"), "https://HOST"),
            ("endpoint", json!("https://user@collector.example/"), "https://HOST"),
            ("endpoint", json!("https://collector.example/?q"), "https://HOST"),
            ("endpoint", json!("nothing"), "https://HOST"),
            ("endpoint", Value::Null, "needs 'endpoint'"),
            ("trustAnchors", Value::Null, "needs 'trustAnchors'"),
            ("trustAnchors", json!("no PEM"), "certificates in PEM"),
            ("sampleRatio", json!(1.01), "sampleRatio"),
            ("sampleRatio", json!(-0.01), "sampleRatio"),
            ("sampleRatio", json!("1"), "not of their shape"),
            ("callersPerSecond", json!(1_001), "0 to 1000"),
            ("callersPerSecond", json!(-1), "not of their shape"),
            ("callersPerSecond", json!(1.5), "not of their shape"),
            ("secret", json!("hidden-token\r\nx: y"), "visible ASCII"),
            ("secret", json!(""), "visible ASCII"),
            ("secret", json!(long), "at most 4096 bytes"),
            ("headers", json!({}), "not of their shape"),
            ("name", json!("traces"), "not of their shape"),
        ] {
            let refused = parse(with(member, value.clone()), &Sinks::default()).unwrap_err();
            assert!(refused.contains(says), "{member} {value}: {refused}");
            assert!(!refused.contains("hidden-token"), "{refused}");
        }
        for traces in [json!([]), json!("x"), json!({}), json!(1)] {
            assert!(parse(traces, &Sinks::default()).is_err());
        }
        let infinite = settings(whole()).to_string().replace("0.25", "1e999");
        assert!(SinksRequest::parse(infinite.as_bytes()).is_err());
    }
}
