//! Hourly append blobs in a container, in the layout of Azure's own diagnostic logs:
//! `resourceId=/SUBSCRIPTIONS/…/y=2026/m=01/d=31/h=23/m=00/PT1H.json`, a line per record.
//!
//! A block is appended under the condition that the blob ends where the last one ended, so that a
//! block whose answer was lost is found and not appended twice. A shared access signature is sent
//! as the query; one with the rights to create, add and read is enough, and none of them lets its
//! holder change or remove what is there.

use bytes::Bytes;
use casemate_audit_sinks::{Endpoint, SinkSecret};
use http::header::{CONTENT_LENGTH, IF_NONE_MATCH};
use http::request::Builder;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;

use crate::batch::Batch;
use crate::entry::{Entry, Moment};
use crate::failure::SinkFailure;
use crate::feed::Origin;
use crate::https::{Answer, Https};

/// The version of the storage API.
const API_VERSION: &str = "2021-12-02";
const APPEND_OFFSET: &str = "x-ms-blob-append-offset";

/// One container.
pub(crate) struct AzureBlobSink {
    resource: String,
    https: Https,
    secret: SinkSecret,
    /// The blob that is appended to.
    blob: Option<Blob>,
    /// What of the batch under way is there already.
    done: Progress,
}

struct Blob {
    hour: Hour,
    /// Where it ends; unknown where the signature does not allow to ask.
    end: Option<u64>,
    /// The length of a block whose answer did not come.
    unanswered: Option<u64>,
}

/// Pieces of a batch that have been appended.
#[derive(Default)]
struct Progress {
    batch: (u64, u64),
    pieces: usize,
}

/// Year, month, day, hour.
type Hour = (i32, u8, u8, u8);

impl AzureBlobSink {
    pub(crate) fn new(
        origin: &Origin,
        endpoint: &Endpoint,
        secret: Option<&SinkSecret>,
    ) -> Result<Self, SinkFailure> {
        Ok(Self {
            resource: origin.resource_id.to_ascii_uppercase(),
            https: Https::new(endpoint)?,
            secret: secret.ok_or(SinkFailure::Secret)?.clone(),
            blob: None,
            done: Progress::default(),
        })
    }

    pub(crate) async fn deliver(&mut self, batch: &Batch) -> Result<(), SinkFailure> {
        let current = (batch.from(), batch.end());
        if self.done.batch != current {
            self.done = Progress { batch: current, pieces: 0 };
        }
        let pieces = pieces(batch, self.blob.as_ref().map(|blob| blob.hour));
        while let Some((hour, bytes)) = pieces.get(self.done.pieces) {
            self.append(*hour, bytes).await?;
            self.done.pieces += 1;
        }
        self.done = Progress::default();
        Ok(())
    }

    /// The indexes at which the batch goes on in another blob.
    pub(crate) fn begin(&self, batch: &Batch) -> Vec<u64> {
        begins(batch, self.blob.as_ref().map(|blob| blob.hour))
    }

    pub(crate) fn hang_up(&mut self) -> Option<u64> {
        self.https.hang_up();
        None
    }

    /// Appends one block to the blob of its hour.
    async fn append(&mut self, hour: Hour, bytes: &[u8]) -> Result<(), SinkFailure> {
        let length = u64::try_from(bytes.len()).unwrap_or_default();
        if self.blob.as_ref().is_none_or(|blob| blob.hour != hour) {
            let end = self.create(hour).await?;
            self.blob = Some(Blob { hour, end, unanswered: None });
        }
        if self.arrived_after_all(hour, length).await? {
            return Ok(());
        }
        let Some(blob) = &mut self.blob else { return Err(SinkFailure::Position) };
        blob.unanswered = Some(length);
        let mut request = builder(Method::PUT, &self.resource, self.https.endpoint()).target(
            hour,
            "comp=appendblock",
            &self.secret,
        );
        if let Some(end) = blob.end {
            request = request.header("x-ms-blob-condition-appendpos", end);
        }
        let answer = exchange(&mut self.https, request, bytes).await?;
        let Some(blob) = &mut self.blob else { return Err(SinkFailure::Position) };
        match answer.status {
            StatusCode::CREATED => {
                blob.unanswered = None;
                blob.end = number(&answer.headers, APPEND_OFFSET).map(|at| at + length);
                Ok(())
            }
            // Somebody removed it, or it holds as many blocks as it can.
            StatusCode::NOT_FOUND => {
                self.blob = None;
                Err(self.https.refusal(answer.status))
            }
            StatusCode::PRECONDITION_FAILED => {
                // Asked for anew at the next try.
                blob.end = None;
                Err(SinkFailure::Position)
            }
            status => {
                // Refused before anything was appended.
                blob.unanswered = None;
                Err(self.https.refusal(status))
            }
        }
    }

    /// Looks whether a block without an answer is there; brings the end up to date.
    async fn arrived_after_all(&mut self, hour: Hour, length: u64) -> Result<bool, SinkFailure> {
        let Some(blob) = &self.blob else { return Ok(false) };
        let (Some(unanswered), before) = (blob.unanswered, blob.end) else { return Ok(false) };
        let found = self.end(hour).await?;
        let Some(blob) = &mut self.blob else { return Ok(false) };
        blob.unanswered = None;
        blob.end = found;
        let grown = found.zip(before).map(|(found, before)| found.saturating_sub(before));
        Ok(unanswered == length && grown == Some(length))
    }

    /// Makes the blob unless it is there, and says where it ends.
    async fn create(&mut self, hour: Hour) -> Result<Option<u64>, SinkFailure> {
        let request = builder(Method::PUT, &self.resource, self.https.endpoint())
            .target(hour, "", &self.secret)
            .header("x-ms-blob-type", "AppendBlob")
            .header(IF_NONE_MATCH, "*");
        let answer = exchange(&mut self.https, request, &[]).await?;
        match answer.status {
            StatusCode::CREATED => Ok(Some(0)),
            // It is there already; without the right to overwrite, that is said with 403.
            StatusCode::CONFLICT | StatusCode::FORBIDDEN => self.end(hour).await,
            status => Err(self.https.refusal(status)),
        }
    }

    /// Where the blob ends; none where the signature does not allow to ask.
    async fn end(&mut self, hour: Hour) -> Result<Option<u64>, SinkFailure> {
        let request = builder(Method::HEAD, &self.resource, self.https.endpoint()).target(
            hour,
            "",
            &self.secret,
        );
        let answer = exchange(&mut self.https, request, &[]).await?;
        match answer.status {
            StatusCode::OK => Ok(number(&answer.headers, CONTENT_LENGTH.as_str())),
            StatusCode::FORBIDDEN => Ok(None),
            status => Err(self.https.refusal(status)),
        }
    }
}

struct Target<'a> {
    method: Method,
    resource: &'a str,
    container: &'a str,
}

fn builder<'a>(method: Method, resource: &'a str, endpoint: &'a Endpoint) -> Target<'a> {
    Target { method, resource, container: endpoint.path().trim_end_matches('/') }
}

impl Target<'_> {
    /// The request to the blob of an hour. Its address holds the secret.
    fn target(self, hour: Hour, query: &str, secret: &SinkSecret) -> Builder {
        let path = blob_path(self.resource, hour);
        let mark = if query.is_empty() { "" } else { "&" };
        let address = format!("{}/{path}?{query}{mark}{}", self.container, secret.expose());
        Request::builder().method(self.method).uri(address).header("x-ms-version", API_VERSION)
    }
}

async fn exchange(
    https: &mut Https,
    request: Builder,
    bytes: &[u8],
) -> Result<Answer, SinkFailure> {
    let body = Full::new(Bytes::copy_from_slice(bytes));
    let mut request = request.body(body).map_err(|_| SinkFailure::Secret)?;
    // Asked for by the API even where there is nothing, and not always sent by itself then.
    if request.method() == Method::PUT {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    https.exchange(request).await
}

/// The path of an hour's blob in its container.
fn blob_path(resource: &str, (year, month, day, hour): Hour) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._".contains(c);
    let resource: String = resource.chars().filter(|c| plain(*c)).collect();
    format!("resourceId={resource}/y={year:04}/m={month:02}/d={day:02}/h={hour:02}/m=00/PT1H.json")
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Where another hour begins than the one before.
fn begins(batch: &Batch, mut hour: Option<Hour>) -> Vec<u64> {
    let mut begins = Vec::new();
    for (index, line) in batch.entries() {
        let of_entry = Entry::parse(line).moment().map(Moment::hour);
        if of_entry.is_some() && of_entry != hour {
            hour = of_entry;
            begins.push(index);
        }
    }
    begins
}

/// The batch cut at the hours of its entries; what has no hour stays with the entry before it,
/// which may be in the last blob.
fn pieces(batch: &Batch, last_blob: Option<Hour>) -> Vec<(Hour, Vec<u8>)> {
    let mut pieces: Vec<(Hour, Vec<u8>)> = Vec::new();
    let mut add = |hour: Option<Hour>, line: &[u8]| {
        let last = pieces.last().map(|(hour, _)| *hour);
        let hour = hour.or(last).or(last_blob).unwrap_or_else(|| Moment::now().hour());
        match pieces.last_mut().filter(|(known, _)| *known == hour) {
            Some((_, piece)) => piece.extend_from_slice(line),
            None => pieces.push((hour, line.to_vec())),
        }
        if let Some((_, piece)) = pieces.last_mut() {
            piece.push(b'\n');
        }
    };
    for (index, line) in batch.entries() {
        let hour = Entry::parse(line).moment().map(Moment::hour);
        if let Some(frontier) = batch.frontier(index) {
            add(hour, frontier.as_bytes());
        }
        add(hour, line);
    }
    for line in batch.checkpoint.iter().flat_map(|checkpoint| checkpoint.lines()) {
        add(None, line.as_bytes());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::{Bounds, Chunk};
    use crate::checkpoint::Checkpoint;

    #[test]
    fn the_path_is_that_of_azures_diagnostic_logs() {
        let resource = "/SUBSCRIPTIONS/S/PROVIDERS/MICROSOFT.KEYVAULT/MANAGEDHSMS/DEV?x=y%";
        assert_eq!(
            blob_path(resource, (2026, 1, 2, 3)),
            "resourceId=/SUBSCRIPTIONS/S/PROVIDERS/MICROSOFT.KEYVAULT/MANAGEDHSMS/DEVxy/y=2026/m=01\
             /d=02/h=03/m=00/PT1H.json"
        );
    }

    #[test]
    fn a_batch_is_cut_at_the_hours_and_keeps_its_order() {
        let lines = [
            r#"{"time":"2026-01-01T00:59:59.999Z"}"#,
            r#"{"time":"2026-01-01T01:00:00.000Z"}"#,
            r#"{"notime":1}"#,
            r#"{"time":"2026-01-01T00:00:00.000Z"}"#,
        ];
        let text = lines.map(|line| format!("{line}\n")).concat();
        let chunk = Arc::new(Chunk::new(0, text.clone().into_bytes()));
        let mut batch = chunk.batch(0, Bounds { entries_max: 9, bytes_max: 999 }).unwrap();
        batch.checkpoint = Checkpoint::parse("o\n4\nr\n".to_owned(), None).map(Arc::new);
        let pieces = pieces(&batch, None);
        let hours: Vec<_> = pieces.iter().map(|((.., hour), _)| *hour).collect();
        assert_eq!(hours, [0, 1, 0]);
        let together: Vec<u8> = pieces.into_iter().flat_map(|(_, piece)| piece).collect();
        assert_eq!(together, batch.copy());
        let checkpoint = batch.checkpoint.clone().unwrap();
        let hours: Vec<u64> = vec![0, 1, 3];
        assert_eq!(begins(&batch, None), hours);
        assert_eq!(begins(&batch, Some((2026, 1, 1, 0))), [1, 3]);
        for index in hours {
            batch.tie(index, &index.to_string());
        }
        let pieces = super::pieces(&batch, None);
        for ((_, piece), begin) in pieces.iter().zip(["\"0\"", "\"1\"", "\"3\""]) {
            let text = String::from_utf8(piece.clone()).unwrap();
            assert!(text.starts_with(&format!("{{\"frontier\":{begin}}}\n")), "{text}");
        }
        let alone = Batch::of_checkpoint(4, checkpoint);
        assert_eq!(super::pieces(&alone, Some((2025, 12, 31, 7)))[0].0, (2025, 12, 31, 7));
    }
}
