//! What a key may be used for (`key_ops` of RFC 7517, 4.3, with the service's own additions).

use casemate_engine_port::KeySpec;
use serde::{Deserialize, Serialize};

/// An operation that a key permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyOp {
    /// Encrypt.
    Encrypt,
    /// Decrypt.
    Decrypt,
    /// Sign.
    Sign,
    /// Verify.
    Verify,
    /// Wrap keys.
    WrapKey,
    /// Unwrap keys.
    UnwrapKey,
    /// Wrap a key that is being imported: excludes every other operation.
    Import,
}

impl KeyOp {
    /// All operations.
    pub const ALL: [Self; 7] = [
        Self::Encrypt,
        Self::Decrypt,
        Self::Sign,
        Self::Verify,
        Self::WrapKey,
        Self::UnwrapKey,
        Self::Import,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
            Self::Import => "import",
        }
    }

    /// The operation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    /// Whether a key of this kind can do it.
    pub fn fits(self, spec: KeySpec) -> bool {
        match (spec, self) {
            (KeySpec::Rsa(_), _)
            | (KeySpec::Ec(_), Self::Sign | Self::Verify)
            | (
                KeySpec::Oct(_),
                Self::Encrypt
                | Self::Decrypt
                | Self::Sign
                | Self::Verify
                | Self::WrapKey
                | Self::UnwrapKey,
            ) => true,
            (KeySpec::Ec(_) | KeySpec::Oct(_), _) => false,
        }
    }

    /// What a new key of this kind permits when its maker does not say.
    pub fn defaults(spec: KeySpec) -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|op| *op != Self::Import && op.fits(spec)).collect()
    }

    /// Whether the operation works outside the window from `nbf` to `exp`: what undoes an earlier
    /// use does, so that old data stays readable.
    pub fn works_outside_window(self) -> bool {
        matches!(self, Self::Decrypt | Self::UnwrapKey | Self::Verify)
    }
}
