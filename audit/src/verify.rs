//! Checks every byte of a log, or of a sink's copy of it. Needs no key but the one that is trusted.
//!
//! Nothing is repaired. What is found is counted, and the first of it listed.

mod carried;
mod copy;
mod finding;
mod folder;
mod stray;

pub use carried::carried;
pub use copy::copy;
pub use finding::{Finding, TileFault};
pub use folder::folder;

use crate::checkpoint::{Certificate, Checkpoint, Head};
use crate::loss;
use crate::merkle::Hash;
use crate::note::{NoteError, VerifierKey};

/// What the asker knows and puts up with. By default nothing: then only a log or a copy that is
/// whole and signed to its end is clean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// The audit key or the identity key.
    pub trust: Option<&'a VerifierKey>,
    /// What the log must be a continuation of.
    pub seen: Option<&'a Seen>,
    /// Records of a copy need not be tied to a signed root.
    pub untied: bool,
    /// So many records of a copy may stand behind its last checkpoint.
    pub unsigned_max: u64,
    /// So many logs before this one may have been lost and given up.
    pub losses_max: usize,
}

/// What was seen of a log at an earlier time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many records were signed.
    Size(u64),
    /// A checkpoint, as its signed note.
    Note(String),
}

impl<'a> From<Option<&'a VerifierKey>> for Terms<'a> {
    fn from(trust: Option<&'a VerifierKey>) -> Self {
        Self { trust, ..Self::default() }
    }
}

/// Most findings that are listed.
const FINDINGS_MAX: usize = 100;
/// The names of identity keys begin with this.
const IDENTITY_PREFIX: &str = "casemate/hsm/";

/// What a verification says.
#[derive(Debug, Default)]
pub struct Report {
    /// What is wrong, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// How much more there was than is listed.
    pub more: u64,
    /// Records that were read.
    pub records: u64,
    /// The index of the first of them.
    pub first: u64,
    /// The newest checkpoint that holds.
    pub head: Option<Head>,
    /// The key that signed it.
    pub key: Option<VerifierKey>,
    /// The key was taken from what was checked, not from the asker.
    pub key_is_its_own: bool,
    /// Records of a copy that are tied to no signed root.
    pub untied: u64,
    /// Records of a copy behind the last checkpoint.
    pub unsigned: u64,
    /// The logs before this one that were lost and given up, in words.
    pub losses: Vec<String>,
    /// A process writes the log at present.
    pub in_use: bool,
}

impl Report {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// Whatever record it is, one of a loss is named.
    fn look_at(&mut self, record: &[u8]) {
        if loss::tells(record) && self.losses.len() < FINDINGS_MAX {
            self.losses.push(loss::words(record));
        }
    }

    /// Losses are findings, unless the asker knows of as many.
    fn settle_losses(&mut self, most: usize) {
        if self.losses.len() > most {
            for words in self.losses.clone() {
                self.find(Finding::BegunAnew { words });
            }
        }
    }

    /// The key that signs checkpoints: the trusted one, or the one that the trusted identity key
    /// certifies, or, without trust, the certificate's.
    fn settle_key(&mut self, certificate: Option<&str>, trust: Option<&VerifierKey>) {
        let read = certificate.map(Certificate::read);
        let certified = match read {
            Some(Ok(certificate)) => Some(certificate),
            Some(Err(error)) => {
                self.find(Finding::Certificate { error });
                None
            }
            None => {
                self.find(Finding::NoCertificate);
                None
            }
        };
        let of_identity = trust.is_some_and(|trust| trust.name().starts_with(IDENTITY_PREFIX));
        self.key = match (trust, certified) {
            (Some(trust), Some(certified)) => {
                let named = if of_identity { &certified.identity } else { &certified.log };
                if named == trust {
                    Some(certified.log)
                } else {
                    self.find(Finding::OtherKey { found: Box::new(named.clone()) });
                    (!of_identity).then(|| trust.clone())
                }
            }
            (Some(trust), None) => (!of_identity).then(|| trust.clone()),
            (None, certified) => {
                self.key_is_its_own = true;
                certified.map(|certified| certified.log)
            }
        };
    }

    /// How many records the asker has seen signed, and the root over them if he has that too.
    fn settle_seen(&mut self, seen: Option<&Seen>) -> Option<(u64, Option<Hash>)> {
        match seen? {
            Seen::Size(size) => Some((*size, None)),
            Seen::Note(note) => {
                let key = self.key.clone()?;
                match verified_alone(note, &key) {
                    Ok(Checkpoint { head, .. }) => Some((head.size, Some(head.root))),
                    Err(error) => {
                        self.find(Finding::Seen { error });
                        None
                    }
                }
            }
        }
    }

    /// A checkpoint by the settled key.
    fn checked(&mut self, note: &str) -> Option<Checkpoint> {
        let key = self.key.clone()?;
        match verified_alone(note, &key) {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                self.find(Finding::Checkpoint { error });
                None
            }
        }
    }
}

/// A checkpoint with this key's signature and no other.
fn verified_alone(note: &str, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
    let signatures = note.rsplit_once("\n\n").map_or("", |(_, signatures)| signatures);
    if signatures.lines().count() != 1 {
        return Err(NoteError::Form);
    }
    Checkpoint::verified(note, key)
}

#[cfg(test)]
mod tests;
