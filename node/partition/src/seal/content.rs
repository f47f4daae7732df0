//! What the node seal holds, as bytes; docs/design/partition.md has the layout.

use casemate_engine_port::Secret;
use casemate_engine_soft::domain::domain_id;
use casemate_hsm::UnixSeconds;
use casemate_hsm::security_domain::{Domain, Epoch, EpochKeys};

use super::SECRET_BYTES;

/// The epoch of records that are sealed under the provisional secret: no domain has it.
pub(super) const PROVISIONAL_EPOCH: u32 = 0;

/// The version that is written.
const VERSION: u8 = 2;
/// The version of the first releases: one domain secret, of an HSM that was active from the start.
const VERSION_ACTIVE: u8 = 1;
/// HSM id, creation, last change, node secret, domain id, number of entries.
const HEAD_BYTES: usize = 16 + 8 + 8 + SECRET_BYTES + 16 + 1;
/// Epoch, kind, secret.
const ENTRY_BYTES: usize = 4 + 1 + SECRET_BYTES;
const PROVISIONAL: u8 = 0;
const WHOLE: u8 = 1;
const BACKUP_ONLY: u8 = 2;

/// What is sealed. At least one of the two secrets is there; both between the moment when a domain
/// is prepared and the one when the records are known to be sealed under it.
pub(super) struct Content {
    pub(super) hsm: [u8; 16],
    pub(super) created: UnixSeconds,
    pub(super) last_sequence: u64,
    pub(super) node_secret: Secret,
    pub(super) provisional: Option<Secret>,
    pub(super) domain: Option<Domain>,
}

impl Content {
    /// The epoch and the secret that the records are sealed under, as far as is known.
    pub(super) fn in_force(&self) -> (u32, &Secret) {
        match (&self.provisional, &self.domain) {
            (Some(secret), _) => (PROVISIONAL_EPOCH, secret),
            (None, Some(domain)) => (domain.epoch(), domain.secret()),
            (None, None) => (PROVISIONAL_EPOCH, &self.node_secret),
        }
    }

    pub(super) fn encode(&self) -> Secret {
        let epochs = self.domain.as_ref().map_or(&[][..], Domain::epochs);
        let count = epochs.len() + usize::from(self.provisional.is_some());
        let mut bytes = Vec::with_capacity(1 + HEAD_BYTES + count * ENTRY_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.hsm);
        bytes.extend_from_slice(&self.created.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_sequence.to_be_bytes());
        bytes.extend_from_slice(self.node_secret.expose());
        bytes.extend_from_slice(&self.domain.as_ref().map_or([0; 16], Domain::id));
        bytes.push(u8::try_from(count).expect("a domain has at most 200 epochs"));
        let mut entry = |number: u32, kind: u8, secret: &Secret| {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.push(kind);
            bytes.extend_from_slice(secret.expose());
        };
        if let Some(secret) = &self.provisional {
            entry(PROVISIONAL_EPOCH, PROVISIONAL, secret);
        }
        for epoch in epochs {
            let kind = match epoch.keys {
                EpochKeys::Whole(_) => WHOLE,
                EpochKeys::BackupOnly(_) => BACKUP_ONLY,
            };
            entry(epoch.number, kind, epoch.keys.secret());
        }
        Secret::new(bytes)
    }

    pub(super) fn decode(sealed: &Secret) -> Option<Self> {
        let (version, rest) = sealed.expose().split_first()?;
        match *version {
            VERSION => Self::decode_this(rest),
            VERSION_ACTIVE => Self::decode_active(rest),
            _ => None,
        }
    }

    fn decode_this(bytes: &[u8]) -> Option<Self> {
        let (hsm, rest) = bytes.split_first_chunk::<16>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (last, rest) = rest.split_first_chunk::<8>()?;
        let (node_secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (count, rest) = rest.split_first()?;
        if rest.len() != usize::from(*count) * ENTRY_BYTES {
            return None;
        }
        let (mut provisional, mut epochs) = (None, Vec::new());
        for entry in rest.chunks_exact(ENTRY_BYTES) {
            let (number, entry) = entry.split_first_chunk::<4>()?;
            let (kind, secret) = entry.split_first()?;
            let (number, secret) = (u32::from_be_bytes(*number), Secret::new(secret.to_vec()));
            match *kind {
                PROVISIONAL if number == PROVISIONAL_EPOCH && provisional.is_none() => {
                    provisional = Some(secret);
                }
                WHOLE => epochs.push(Epoch { number, keys: EpochKeys::Whole(secret) }),
                BACKUP_ONLY => epochs.push(Epoch { number, keys: EpochKeys::BackupOnly(secret) }),
                _ => return None,
            }
        }
        let domain = match epochs.is_empty() {
            true => None,
            false => Some(Domain::new(*id, epochs).ok()?),
        };
        if provisional.is_none() && domain.is_none() {
            return None;
        }
        Some(Self {
            hsm: *hsm,
            created: UnixSeconds(i64::from_be_bytes(*created)),
            last_sequence: u64::from_be_bytes(*last),
            node_secret: Secret::new(node_secret.to_vec()),
            provisional,
            domain,
        })
    }

    /// Its one secret sealed the files of this node too, and goes on doing so.
    fn decode_active(bytes: &[u8]) -> Option<Self> {
        let (secret, rest) = bytes.split_first_chunk::<SECRET_BYTES>()?;
        let (hsm, rest) = rest.split_first_chunk::<16>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (last, rest) = rest.split_first_chunk::<8>()?;
        if !rest.is_empty() {
            return None;
        }
        let secret = || Secret::new(secret.to_vec());
        let number = u32::from_be_bytes(*epoch);
        let epochs = vec![Epoch { number, keys: EpochKeys::Whole(secret()) }];
        Some(Self {
            hsm: *hsm,
            created: UnixSeconds(i64::from_be_bytes(*created)),
            last_sequence: u64::from_be_bytes(*last),
            node_secret: secret(),
            provisional: None,
            domain: Some(Domain::new(domain_id(&secret()), epochs).ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new(vec![byte; SECRET_BYTES])
    }

    fn domain() -> Domain {
        let epochs = vec![
            Epoch { number: 1, keys: EpochKeys::BackupOnly(secret(3)) },
            Epoch { number: 2, keys: EpochKeys::Whole(secret(4)) },
        ];
        Domain::new([9; 16], epochs).unwrap()
    }

    fn content(provisional: Option<Secret>, domain: Option<Domain>) -> Content {
        let (created, last_sequence) = (UnixSeconds(5), 6);
        let node_secret = secret(1);
        Content { hsm: [7; 16], created, last_sequence, node_secret, provisional, domain }
    }

    #[test]
    fn every_state_is_read_as_it_was_written() {
        let states = [
            (content(Some(secret(2)), None), 0, 2),
            (content(Some(secret(2)), Some(domain())), 0, 2),
            (content(None, Some(domain())), 2, 4),
        ];
        for (written, epoch, byte) in states {
            let read = Content::decode(&written.encode()).unwrap();
            assert_eq!(read.in_force(), (epoch, &secret(byte)));
            assert_eq!((read.hsm, read.last_sequence, read.created.0), ([7; 16], 6, 5));
            assert_eq!(read.node_secret, secret(1));
            assert_eq!(read.domain.is_some(), written.domain.is_some());
            let epochs = |content: &Content| content.domain.as_ref().map(|one| one.epochs().len());
            assert_eq!(epochs(&read), epochs(&written));
        }
    }

    #[test]
    fn the_seal_of_an_earlier_release_is_of_an_active_hsm() {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&[8; 32]);
        bytes.extend_from_slice(&[7; 16]);
        bytes.extend_from_slice(&1_u32.to_be_bytes());
        bytes.extend_from_slice(&5_i64.to_be_bytes());
        bytes.extend_from_slice(&6_u64.to_be_bytes());
        let read = Content::decode(&Secret::new(bytes.clone())).unwrap();
        assert_eq!(read.in_force(), (1, &secret(8)));
        assert_eq!(read.node_secret, secret(8), "its files go on opening");
        assert_eq!(read.domain.as_ref().unwrap().id(), domain_id(&secret(8)));
        let again = Content::decode(&read.encode()).unwrap();
        assert_eq!(again.in_force(), (1, &secret(8)));
        for cut in 0..bytes.len() {
            assert!(Content::decode(&Secret::new(bytes[..cut].to_vec())).is_none(), "{cut}");
        }
    }

    #[test]
    fn cut_lengthened_empty_and_contradicting_contents_are_refused() {
        let whole = content(Some(secret(2)), Some(domain())).encode();
        let bytes = whole.expose();
        let read = |bytes: &[u8]| Content::decode(&Secret::new(bytes.to_vec()));
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_none(), "{cut}");
        }
        assert!(read(&[bytes, &[0]].concat()).is_none());
        for version in (0..=u8::MAX).filter(|version| *version != 2) {
            let mut other = bytes.to_vec();
            other[0] = version;
            assert!(read(&other).is_none(), "{version}");
        }
        let empty = content(None, None).encode();
        assert!(Content::decode(&empty).is_none(), "no secret at all");
        let kind = 1 + HEAD_BYTES + 4;
        for other in [1, 2, 3, 255] {
            let mut changed = bytes.to_vec();
            changed[kind] = other;
            assert!(read(&changed).is_none(), "epoch 0 is no epoch of a domain: {other}");
        }
    }
}
