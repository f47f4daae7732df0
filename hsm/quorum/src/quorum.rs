//! Who holds shares, and how many of them are needed: the rules, checked once.

use std::ops::RangeInclusive;

use crate::Holder;

/// How many holders there may be.
pub const HOLDERS: RangeInclusive<usize> = 3..=10;
/// How many may be needed; never more than there are.
pub const REQUIRED: RangeInclusive<u64> = 2..=10;

/// Holders, and how many of them are needed. Within the rules, or there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    required: u8,
    holders: Vec<Holder>,
}

/// Why these are no quorum. Certificates are counted from 1, in the order sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumRefusal {
    /// Too few or too many certificates.
    #[error(
        "a security domain is held by {} to {} certificates, not {found}",
        HOLDERS.start(),
        HOLDERS.end()
    )]
    Holders {
        /// How many there are.
        found: usize,
    },
    /// It does not say how many are needed.
    #[error("`required` is missing: how many of the certificates' keys a recovery needs")]
    RequiredMissing,
    /// Too few or too many needed.
    #[error(
        "a quorum is {} to {} keys, not {found}",
        REQUIRED.start(),
        REQUIRED.end()
    )]
    Required {
        /// How many are asked for.
        found: u64,
    },
    /// More needed than there are.
    #[error("a quorum of {required} needs at least as many certificates, not {holders}")]
    Beyond {
        /// How many are asked for.
        required: u64,
        /// How many there are.
        holders: usize,
    },
    /// A certificate twice.
    #[error("certificates {first} and {second} are the same; each holder has one of its own")]
    SameCertificate {
        /// One place.
        first: usize,
        /// The other.
        second: usize,
    },
    /// A key twice, in two certificates.
    #[error(
        "certificates {first} and {second} are of the same key; each holder has one of its own"
    )]
    SameKey {
        /// One place.
        first: usize,
        /// The other.
        second: usize,
    },
}

impl Quorum {
    /// Checks the rules.
    pub fn new(holders: Vec<Holder>, required: Option<u64>) -> Result<Self, QuorumRefusal> {
        if !HOLDERS.contains(&holders.len()) {
            return Err(QuorumRefusal::Holders { found: holders.len() });
        }
        let required = required.ok_or(QuorumRefusal::RequiredMissing)?;
        if !REQUIRED.contains(&required) {
            return Err(QuorumRefusal::Required { found: required });
        }
        let needed = u8::try_from(required)
            .ok()
            .filter(|needed| usize::from(*needed) <= holders.len())
            .ok_or(QuorumRefusal::Beyond { required, holders: holders.len() })?;
        for (at, holder) in holders.iter().enumerate() {
            let same = |other: &&Holder| other.public() == holder.public();
            let before = holders.iter().take(at);
            if let Some((other, twin)) = before.enumerate().find(|(_, other)| same(other)) {
                let (first, second) = (other + 1, at + 1);
                return Err(match twin.thumbprint() == holder.thumbprint() {
                    true => QuorumRefusal::SameCertificate { first, second },
                    false => QuorumRefusal::SameKey { first, second },
                });
            }
        }
        Ok(Self { required: needed, holders })
    }

    /// How many holders are needed.
    pub fn required(&self) -> u8 {
        self.required
    }

    /// The holders, in the order in which they were named.
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }
}
