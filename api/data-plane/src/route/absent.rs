//! The operations of the API that this release does not have.

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
