//! The paths of the security domain.

use super::{Route, RouteRefusal, by_method, is};

/// What is done with the security domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operations are those of the API")]
pub enum DomainCall {
    Download,
    DownloadStatus,
    ExchangeKey,
    Upload,
    UploadStatus,
    /// A new secret: our own.
    Rotate,
    RotateStatus,
}

/// From the segments behind `securitydomain` to the operation.
pub(super) fn find(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    let route = |call| move || Ok(Route::SecurityDomain(call));
    let download = route(DomainCall::Download);
    let rotate = route(DomainCall::Rotate);
    let (exchange_key, upload) = (route(DomainCall::ExchangeKey), route(DomainCall::Upload));
    match segments {
        [kind] if is(kind, "download") => by_method(method, &[("POST", &download)]),
        [kind] if is(kind, "rotate") => by_method(method, &[("POST", &rotate)]),
        [kind] if is(kind, "upload") => {
            by_method(method, &[("GET", &exchange_key), ("POST", &upload)])
        }
        [kind, pending] if is(pending, "pending") => {
            let status = match kind {
                kind if is(kind, "download") => route(DomainCall::DownloadStatus),
                kind if is(kind, "rotate") => route(DomainCall::RotateStatus),
                kind if is(kind, "upload") => route(DomainCall::UploadStatus),
                _ => return Err(RouteRefusal::UnknownPath),
            };
            by_method(method, &[("GET", &status)])
        }
        _ => Err(RouteRefusal::UnknownPath),
    }
}
