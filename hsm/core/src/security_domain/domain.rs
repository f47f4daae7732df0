//! The domain: one secret per epoch.

use casemate_engine_port::Secret;

/// Length of a domain secret, in bytes.
const SECRET_BYTES: usize = 32;
/// Length of what opens an epoch's backups: its backup key and its material key, in bytes.
const BACKUP_KEYS_BYTES: usize = 64;
/// Most epochs of a domain.
const EPOCHS_MAX: usize = 200;

/// The secrets of a domain, oldest epoch first. The newest epoch's whole secret is there; of an
/// earlier epoch perhaps only what opens its backups.
#[derive(Debug)]
pub struct Domain {
    id: [u8; 16],
    epochs: Vec<Epoch>,
}

/// One epoch.
#[derive(Debug)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: u32,
    /// What is kept of it.
    pub keys: EpochKeys,
}

/// What is kept of an epoch.
#[derive(Debug)]
pub enum EpochKeys {
    /// The secret that all its keys are derived from.
    Whole(Secret),
    /// Its backup key, then its material key: its backups open, and nothing else.
    BackupOnly(Secret),
}

/// Why epochs make no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a domain has 1 to 200 epochs in order, and all of the newest")]
pub struct DomainError;

impl Domain {
    /// Checks that the epochs make a domain.
    pub fn new(id: [u8; 16], epochs: Vec<Epoch>) -> Result<Self, DomainError> {
        let in_order = epochs.is_sorted_by(|one, next| one.number < next.number);
        let numbered = epochs.first().is_some_and(|first| first.number > 0);
        let newest = epochs.last().map(|epoch| &epoch.keys);
        let is_whole = matches!(newest, Some(EpochKeys::Whole(_)));
        let lengths = epochs.iter().all(|epoch| epoch.keys.has_its_length());
        if in_order && numbered && is_whole && lengths && epochs.len() <= EPOCHS_MAX {
            return Ok(Self { id, epochs });
        }
        Err(DomainError)
    }

    /// The domain as it was before its newest epoch.
    ///
    /// # Errors
    /// When the epoch before is not whole, or there is none.
    pub fn without_newest(mut self) -> Result<Self, DomainError> {
        self.epochs.pop();
        Self::new(self.id, self.epochs)
    }

    /// What tells it from other domains, whatever its epoch.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Its epochs, oldest first.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The newest epoch's number.
    pub fn epoch(&self) -> u32 {
        self.newest().number
    }

    /// The newest epoch's secret.
    pub fn secret(&self) -> &Secret {
        self.newest().keys.secret()
    }

    fn newest(&self) -> &Epoch {
        self.epochs.last().expect("a domain has an epoch")
    }
}

impl EpochKeys {
    fn has_its_length(&self) -> bool {
        match self {
            Self::Whole(secret) => secret.len() == SECRET_BYTES,
            Self::BackupOnly(keys) => keys.len() == BACKUP_KEYS_BYTES,
        }
    }

    /// The secret or the backup keys.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Whole(secret) | Self::BackupOnly(secret) => secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u32, whole: bool, bytes: usize) -> Epoch {
        let secret = Secret::new(vec![7; bytes]);
        let keys = if whole { EpochKeys::Whole(secret) } else { EpochKeys::BackupOnly(secret) };
        Epoch { number, keys }
    }

    #[test]
    fn only_epochs_in_order_with_a_whole_newest_make_a_domain() {
        let made = |epochs: Vec<Epoch>| Domain::new([1; 16], epochs);
        let domain = made(vec![epoch(1, false, 64), epoch(4, true, 32)]).unwrap();
        assert_eq!((domain.epoch(), domain.epochs().len()), (4, 2));
        assert!(domain.without_newest().is_err(), "the epoch before is not whole");
        let both = made(vec![epoch(1, true, 32), epoch(2, true, 32)]).unwrap();
        let first = both.without_newest().unwrap();
        assert_eq!(first.epoch(), 1);
        assert!(first.without_newest().is_err());
        assert!(made(Vec::new()).is_err());
        assert!(made(vec![epoch(0, true, 32)]).is_err(), "0 is no epoch of a domain");
        assert!(made(vec![epoch(1, false, 64)]).is_err(), "the newest must be whole");
        assert!(made(vec![epoch(2, true, 32), epoch(1, true, 32)]).is_err());
        assert!(made(vec![epoch(1, true, 32), epoch(1, true, 32)]).is_err());
        assert!(made(vec![epoch(1, true, 31)]).is_err());
        assert!(made(vec![epoch(1, false, 32), epoch(4, true, 32)]).is_err());
        assert!(made(vec![epoch(1, false, 64), epoch(4, true, 64)]).is_err());
        assert!(made((1..=201).map(|number| epoch(number, true, 32)).collect()).is_err());
    }
}
