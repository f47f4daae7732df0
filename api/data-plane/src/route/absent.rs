//! The operations of the API that this release does not have.

use super::{Make, Route, RouteRefusal, by_method, is};

/// Operations of the API that this release does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operations are those of the API")]
pub enum Absent {
    Rotate,
    RotationPolicy,
    Attestation,
    Release,
    SecureWrap,
    ExternalKeyManager,
}

impl Absent {
    /// Its name in audit records.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Rotate => "KeyRotate",
            Self::RotationPolicy => "KeyRotationPolicy",
            Self::Attestation => "KeyGetAttestation",
            Self::Release => "KeyRelease",
            Self::SecureWrap => "KeySecureWrap",
            Self::ExternalKeyManager => "EkmProxyOperation",
        }
    }

    /// What it is called towards people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotating a key (create a new version under the same name instead)",
            Self::RotationPolicy => "a rotation policy",
            Self::Attestation => "key attestation",
            Self::Release => "secure key release",
            Self::SecureWrap => "secure wrap",
            Self::ExternalKeyManager => "an external key manager",
        }
    }
}

/// From the segments behind `ekm` to the operation: the API's paths and methods, and no others.
pub(super) fn external_keys(method: &str, segments: &[&str]) -> Result<Route, RouteRefusal> {
    let absent: Make<'_> = &|| Ok(Route::NotInRelease(Absent::ExternalKeyManager));
    let taken: &[&str] = match segments {
        [] => &["GET", "PATCH", "DELETE"],
        [one] if is(one, "create") || is(one, "check") => &["POST"],
        [one] if is(one, "certificate") || is(one, "privateendpoint") => &["GET"],
        [one, operations, _] if is(one, "privateendpoint") && is(operations, "operations") => {
            &["GET"]
        }
        [one, _] if is(one, "privateendpoint") => &["GET", "POST", "DELETE"],
        _ => return Err(RouteRefusal::UnknownPath),
    };
    let offered: Vec<_> = taken.iter().map(|method| (*method, absent)).collect();
    by_method(method, &offered)
}
