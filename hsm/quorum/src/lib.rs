//! The officers' quorum: a secret is split so that M of N holders bring it back, and what a managed
//! HSM gives out and takes in of it as its *security domain*.
//!
//! The byte formats are those that Azure's own clients read and write; docs/design/
//! security-domain.md specifies them. This crate depends on nothing of ours, does no I/O and holds
//! no cryptography: what it needs of that is handed in as [`Primitives`]. It does not know what the
//! items of a domain mean, and not who may ask for one.
//!
//! What splitting protects: fewer than M shares say nothing at all about the secret. What it does
//! not: shares are not verifiable. Wrong ones show only when what they open is not authentic, and
//! then nobody can tell whose was wrong.
//!
//! Invariants:
//! - Nothing decrypted is handed out before its tag was compared, whole and in constant time.
//! - A [`Quorum`] that exists is within the rules: enough holders, none twice, none weak.

mod approval;
mod blob;
mod certificate;
mod field;
mod hidden;
pub mod jwe;
mod kdf;
mod primitives;
mod quorum;
mod request;
mod share;
mod upload;

pub use approval::{APPROVALS_MAX, Approval, ApprovalRefusal, Rotation, Terms, approved};
pub use blob::{
    BLOB_BYTES_MAX, Blob, BlobError, Facts, Item, OpenError, OpenedBlob, SealError, seal,
};
pub use certificate::{CertificateError, Holder, Jwk, RSA_BITS};
pub use hidden::Hidden;
pub use jwe::JweError;
pub use kdf::{ITEM_KEY_BYTES, derive, item_key};
pub use primitives::{Primitives, PrivateKey, RsaPublic};
pub use quorum::{HOLDERS, Quorum, QuorumRefusal, REQUIRED};
pub use request::{DownloadRequest, RequestError};
pub use share::{CombineError, SECRET_BYTES, Share, ShareError, combine, split};
pub use upload::{Upload, UploadError, wrap};

/// Decodes base64url without padding; anything else is none.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes as base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
