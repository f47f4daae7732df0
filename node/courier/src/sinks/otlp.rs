//! OTLP logs over HTTPS (`POST …/v1/logs`, protobuf). The body of a log record is the line of the
//! log, byte by byte; some of its members stand as attributes beside it.

pub(crate) mod message;

use bytes::Bytes;
use casemate_audit_sinks::{Endpoint, SinkSecret};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::Full;
use prost::Message as _;

use crate::batch::Batch;
use crate::entry::{Entry, Moment};
use crate::failure::SinkFailure;
use crate::feed::Origin;
use crate::https::Https;

use message::{
    AnyValue, Export, Exported, KeyValue, LogRecord, Resource, ResourceLogs, Scope, ScopeLogs,
};

/// `SEVERITY_NUMBER_INFO` and `SEVERITY_NUMBER_WARN`.
const INFO: (i32, &str) = (9, "INFO");
const WARN: (i32, &str) = (13, "WARN");
/// Members that become attributes under the same name.
const ATTRIBUTES: [&str; 6] = [
    "operationName",
    "resultType",
    "resultSignature",
    "callerIpAddress",
    "correlationId",
    "resourceId",
];

/// One OTLP receiver.
pub(crate) struct OtlpSink {
    origin: Origin,
    https: Https,
    authorization: Option<HeaderValue>,
}

impl OtlpSink {
    pub(crate) fn new(
        origin: &Origin,
        endpoint: &Endpoint,
        secret: Option<&SinkSecret>,
    ) -> Result<Self, SinkFailure> {
        let authorization = authorization(secret)?;
        Ok(Self { origin: origin.clone(), https: Https::new(endpoint)?, authorization })
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        let message = self.export(batch);
        let request = request(&self.https, self.authorization.as_ref(), &message)?;
        let answer = self.https.send(request).await?;
        // The protocol forbids to send again what a receiver took in part.
        let rejected = Exported::decode(answer.body).ok().and_then(|answer| answer.partial_success);
        if let Some(rejected) = rejected.filter(|rejected| rejected.rejected_log_records > 0) {
            let count = rejected.rejected_log_records;
            tracing::warn!(count, from = batch.from(), "the OTLP receiver rejected log records");
        }
        Ok(())
    }

    pub(crate) fn hang_up(&mut self) -> Option<u64> {
        self.https.hang_up();
        None
    }

    fn export(&self, batch: &Batch) -> Export {
        let observed = Moment::now().nanoseconds();
        let mut log_records: Vec<LogRecord> =
            batch.entries().map(|(index, line)| record(index, line, observed)).collect();
        for line in batch.checkpoint.iter().flat_map(|checkpoint| checkpoint.lines()) {
            log_records.push(LogRecord {
                observed_time_unix_nano: observed,
                severity_number: INFO.0,
                severity_text: INFO.1.to_owned(),
                body: Some(AnyValue::text(line)),
                event_name: "casemate.audit.checkpoint".to_owned(),
                ..LogRecord::default()
            });
        }
        let scope = Scope::named("casemate.audit");
        Export {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource::of(&self.origin)),
                scope_logs: vec![ScopeLogs { scope: Some(scope), log_records }],
            }],
        }
    }
}

/// The header that a secret is.
pub(crate) fn authorization(
    secret: Option<&SinkSecret>,
) -> Result<Option<HeaderValue>, SinkFailure> {
    let Some(secret) = secret else { return Ok(None) };
    let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| SinkFailure::Secret)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A message, as it is posted to a receiver.
pub(crate) fn request(
    https: &Https,
    authorization: Option<&HeaderValue>,
    message: &impl prost::Message,
) -> Result<Request<Full<Bytes>>, SinkFailure> {
    let mut request =
        Request::post(https.endpoint().path()).header(CONTENT_TYPE, "application/x-protobuf");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let body = Full::new(Bytes::from(message.encode_to_vec()));
    request.body(body).map_err(|_| SinkFailure::Secret)
}

fn record(index: u64, line: &[u8], observed: u64) -> LogRecord {
    let entry = Entry::parse(line);
    let (severity_number, severity_text) =
        if entry.text("resultType") == "Failed" { WARN } else { INFO };
    let mut attributes = vec![KeyValue::number("casemate.audit.index", index)];
    for name in ATTRIBUTES.into_iter().filter(|name| !entry.text(name).is_empty()) {
        attributes.push(KeyValue::text(name, entry.text(name)));
    }
    LogRecord {
        time_unix_nano: entry.moment().map_or(0, Moment::nanoseconds),
        observed_time_unix_nano: observed,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue::text(String::from_utf8_lossy(line).into_owned())),
        attributes,
        event_name: "casemate.audit.record".to_owned(),
    }
}
