//! What stands in front of everything sealed for a backup, in clear and authenticated.
//!
//! ```text
//! offset  bytes  field
//! 0       8      magic: what it is
//! 8       1      format version: 2 of a manifest of an increment, 1 of all else
//! 9       4      epoch, big endian
//! 13      16     the domain's sign in that epoch
//! ```

use super::{BackupCipher, DOMAIN_SIGN_BYTES};

/// The format of everything but manifests of increments.
const FORMAT_VERSION: u8 = 1;

/// The format of those: a release that would take an increment for a whole backup must not.
const FORMAT_OF_INCREMENTS: u8 = 2;

const MAGIC_BYTES: usize = 8;

/// Length of the envelope in bytes.
pub(super) const ENVELOPE_BYTES: usize = MAGIC_BYTES + 1 + 4 + DOMAIN_SIGN_BYTES;

/// What something sealed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// The backup of one key.
    Key,
    /// A part of a full backup.
    Part,
    /// The manifest of a full backup.
    Manifest,
    /// The manifest of an increment.
    Increment,
}

impl Sealed {
    fn magic(self) -> &'static [u8; MAGIC_BYTES] {
        match self {
            Self::Key => b"CMATKEYB",
            Self::Part => b"CMATPART",
            Self::Manifest | Self::Increment => b"CMATMANI",
        }
    }

    fn version(self) -> u8 {
        match self {
            Self::Key | Self::Part | Self::Manifest => FORMAT_VERSION,
            Self::Increment => FORMAT_OF_INCREMENTS,
        }
    }

    /// What a manifest says that it is of. It is authentic when it has opened as that.
    pub(super) fn of_manifest(bytes: &[u8]) -> Self {
        match bytes.get(MAGIC_BYTES) {
            Some(&FORMAT_OF_INCREMENTS) => Self::Increment,
            _ => Self::Manifest,
        }
    }
}

/// Why a backup is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// It does not begin like one.
    #[error("this is no backup of Casemate: give the bytes as they were handed out")]
    NotABackup,
    /// A format of another release.
    #[error(
        "the backup has the format {version}, which this release does not read; use a newer one"
    )]
    Format {
        /// The format.
        version: u8,
    },
    /// Sealed in an epoch that this HSM cannot open.
    #[error(
        "the backup was sealed in epoch {epoch} of a security domain, which this HSM cannot open; \
         restore it into an HSM of that epoch"
    )]
    OtherEpoch {
        /// The epoch.
        epoch: u32,
    },
    /// Sealed in another security domain.
    #[error(
        "the backup was made in another security domain; restore it into an HSM that was \
         recovered from that domain"
    )]
    OtherDomain,
    /// It does not open: cut off, or a byte is another one.
    #[error("the backup was altered or cut off; use another copy")]
    Altered,
    /// It opens, but holds something that this release does not know.
    #[error("the backup holds what this release cannot take in; use the release that made it")]
    Content,
    /// Longer than can be.
    #[error(
        "the backup of a key has at most {most} bytes, not {bytes}; a full backup takes longer ones"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// A set in another folder than the one that it was made in.
    #[error("the backup was made in another folder: an older one put in the place of a newer?")]
    Moved,
    /// It is of another key than was asked for.
    #[error("the backup is of another key")]
    OtherKey,
    /// What an increment was made on is not there.
    #[error("the set that the increment was made on is not there; put it back, or use another")]
    BaseIsMissing,
    /// Something else stands in its place.
    #[error(
        "this is not the set that the increment was made on: it was altered, or another one was \
         put in its place; put the right one back, or use another backup"
    )]
    NotTheBase,
    /// No increments can be made on it: an earlier release made it.
    #[error("a set of an earlier release takes no increments; make a full backup first")]
    BaseWithoutLineage,
    /// It is of another HSM, whose changes are counted otherwise.
    #[error("the base was made by another HSM; make a full backup first")]
    BaseOfAnotherHsm,
    /// It was sealed in another epoch.
    #[error("the base was sealed in another epoch of the domain; make a full backup first")]
    BaseOfAnotherEpoch,
    /// It holds changes that this HSM does not have.
    #[error(
        "the base holds later changes than this HSM has: an older state of it was put back? make \
         a full backup"
    )]
    BaseIsNewer,
    /// Too many increments on one another.
    #[error("at most {most} increments follow a full backup; make a full backup")]
    ChainTooLong {
        /// The limit.
        most: u32,
    },
    /// It does not lie where the increment shall.
    #[error("an increment lies in the same container as its base; name the base's folder alone")]
    BaseElsewhere,
}

/// In which epoch of its domain a manifest says that it was sealed. Nothing is authentic yet.
///
/// # Errors
/// When it is no manifest of a full backup, or one of another release.
pub fn epoch_of_manifest(bytes: &[u8]) -> Result<u32, BackupError> {
    let (epoch, ..) = fields(Sealed::of_manifest(bytes), bytes)?;
    Ok(epoch)
}

/// Seals something, with what says where it belongs.
pub(super) fn seal(
    sealed: Sealed,
    cipher: &dyn BackupCipher,
    place: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, BackupError> {
    let envelope = envelope(sealed, cipher)?;
    let aad = [envelope.as_slice(), place].concat();
    let body = cipher.seal(&aad, plaintext).map_err(|_| BackupError::Content)?;
    Ok([envelope, body].concat())
}

/// Opens what was sealed for the same place.
pub(super) fn open(
    sealed: Sealed,
    cipher: &dyn BackupCipher,
    place: &[u8],
    bytes: &[u8],
) -> Result<Vec<u8>, BackupError> {
    let (epoch, envelope, body) = split(sealed, cipher, bytes)?;
    let aad = [envelope, place].concat();
    cipher.open(epoch, &aad, body).map_err(|_| BackupError::Altered)
}

fn envelope(sealed: Sealed, cipher: &dyn BackupCipher) -> Result<Vec<u8>, BackupError> {
    let epoch = cipher.epoch();
    let sign = cipher.sign(epoch).ok_or(BackupError::OtherEpoch { epoch })?;
    let mut bytes = Vec::with_capacity(ENVELOPE_BYTES);
    bytes.extend_from_slice(sealed.magic());
    bytes.push(sealed.version());
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&sign);
    Ok(bytes)
}

/// Reads an envelope: the epoch, the envelope itself, and what follows it.
fn split<'a>(
    sealed: Sealed,
    cipher: &dyn BackupCipher,
    bytes: &'a [u8],
) -> Result<(u32, &'a [u8], &'a [u8]), BackupError> {
    let (epoch, sign, envelope, rest) = fields(sealed, bytes)?;
    let own = cipher.sign(epoch).ok_or(BackupError::OtherEpoch { epoch })?;
    if sign != own {
        return Err(BackupError::OtherDomain);
    }
    Ok((epoch, envelope, rest))
}

/// What an envelope says, and what follows it.
type Fields<'a> = (u32, &'a [u8], &'a [u8], &'a [u8]);

/// Reads an envelope: the epoch, the domain's sign, the envelope itself, and what follows it.
fn fields(sealed: Sealed, bytes: &[u8]) -> Result<Fields<'_>, BackupError> {
    if !bytes.starts_with(sealed.magic()) {
        return Err(BackupError::NotABackup);
    }
    let (envelope, rest) = bytes.split_at_checked(ENVELOPE_BYTES).ok_or(BackupError::Altered)?;
    let fields = envelope.get(MAGIC_BYTES..).unwrap_or_default();
    let (&version, fields) = fields.split_first().ok_or(BackupError::Altered)?;
    if version != sealed.version() {
        return Err(BackupError::Format { version });
    }
    let (epoch, sign) = fields.split_first_chunk::<4>().ok_or(BackupError::Altered)?;
    Ok((u32::from_be_bytes(*epoch), sign, envelope, rest))
}
