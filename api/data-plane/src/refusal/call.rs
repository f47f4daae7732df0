//! What callers are told of a call as such, whatever it asks for.

use casemate_wire::ApiVersion;
use http::StatusCode as S;

use super::Problem;
use crate::copies::CopyMissing;

/// A host that is not the HSM's.
pub(super) fn misdirected() -> Problem {
    Problem::new(
        S::MISDIRECTED_REQUEST,
        "MisdirectedRequest",
        "This HSM does not answer for the host that the request names; use its own name.",
    )
}

/// No api-version, or one that is not known.
pub(super) fn version(wrong: &str) -> Problem {
    let newest = ApiVersion::NEWEST_STABLE;
    Problem::bad(format!("{wrong}; the newest supported is {newest}."))
}

/// A record without its second copy.
pub(super) fn not_copied(cause: &CopyMissing) -> Problem {
    Problem::unavailable(format!(
        "The audit sink '{}' has not acknowledged the record of this call in time; what was asked \
         for may have been done. An Administrator can look at /audit/sinks.",
        cause.sink
    ))
}

/// A trail before this one was lost, and an Administrator has not accepted that.
pub(super) fn audit_lost(lost: &str) -> Problem {
    Problem::unavailable(format!(
        "An audit log of this HSM was lost and given up by its operator: {lost}. The HSM answers \
         about settings alone until an Administrator accepts that (az keyvault setting update \
         --name CasemateAuditLossAccepted --value true)."
    ))
    .inner("AuditLogLost")
}
