//! What the node seal holds, as bytes; docs/design/partition.md has the layout.

use casemate_engine_port::Secret;
use casemate_engine_soft::domain::domain_id;
use casemate_hsm::UnixSeconds;
use casemate_hsm::security_domain::{Domain, Epoch, EpochKeys};

use super::SECRET_BYTES;

/// The epoch of records that are sealed under the provisional secret: no domain has it.
pub(super) const PROVISIONAL_EPOCH: u32 = 0;

/// The version that is written of a domain with more than one epoch.
const VERSION: u8 = 3;
/// The version that is written of one with a single epoch, or none: an older release reads it too.
const VERSION_ONE_EPOCH: u8 = 2;
/// The version of the first releases: one domain secret, of an HSM that was active from the start.
const VERSION_ACTIVE: u8 = 1;
/// HSM id, creation, last change, node secret, domain id, what is forgotten, number of entries.
const HEAD_BYTES: usize = 16 + 8 + 8 + SECRET_BYTES + 16 + 4 + 1;
/// Epoch, kind, and the longer of the two kinds of secrets.
const ENTRY_BYTES_MAX: usize = 4 + 1 + 2 * SECRET_BYTES;
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
    /// Its newest epoch is the one in force. The one before is whole while records may be sealed
    /// under it.
    pub(super) domain: Option<Domain>,
    /// Of epochs before this one nothing opens backups any more, once the newest epoch is known to
    /// be in force; 0 where nothing is to be forgotten.
    pub(super) forget_before: u32,
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

    /// The epoch before the one in force, while it is whole.
    pub(super) fn leaving(&self) -> Option<&Epoch> {
        let (_, earlier) = self.domain.as_ref()?.epochs().split_last()?;
        earlier.last().filter(|epoch| matches!(epoch.keys, EpochKeys::Whole(_)))
    }

    /// Takes the newest epoch away, which has not begun.
    pub(super) fn drop_newest(&mut self) {
        let domain = self.domain.take().map(Domain::without_newest);
        self.domain = domain.map(|domain| domain.expect("the epoch before it is whole"));
        self.forget_before = 0;
    }

    pub(super) fn encode(&self) -> Secret {
        let epochs = self.domain.as_ref().map_or(&[][..], Domain::epochs);
        let count = epochs.len() + usize::from(self.provisional.is_some());
        let mut bytes = Vec::with_capacity(1 + HEAD_BYTES + count * ENTRY_BYTES_MAX);
        let version = if epochs.len() > 1 { VERSION } else { VERSION_ONE_EPOCH };
        bytes.push(version);
        bytes.extend_from_slice(&self.hsm);
        bytes.extend_from_slice(&self.created.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_sequence.to_be_bytes());
        bytes.extend_from_slice(self.node_secret.expose());
        bytes.extend_from_slice(&self.domain.as_ref().map_or([0; 16], Domain::id));
        if version == VERSION {
            bytes.extend_from_slice(&self.forget_before.to_be_bytes());
        }
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
            VERSION | VERSION_ONE_EPOCH => Self::decode_this(*version, rest),
            VERSION_ACTIVE => Self::decode_active(rest),
            _ => None,
        }
    }

    fn decode_this(version: u8, bytes: &[u8]) -> Option<Self> {
        let (hsm, rest) = bytes.split_first_chunk::<16>()?;
        let (created, rest) = rest.split_first_chunk::<8>()?;
        let (last, rest) = rest.split_first_chunk::<8>()?;
        let (node_secret, rest) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (forget_before, rest) = match version {
            VERSION => rest.split_first_chunk::<4>()?,
            _ => (&[0; 4], rest),
        };
        let (count, mut rest) = rest.split_first()?;
        let (mut provisional, mut epochs) = (None, Vec::new());
        for _ in 0..*count {
            let (number, entry) = rest.split_first_chunk::<4>()?;
            let (kind, entry) = entry.split_first()?;
            let length = if *kind == BACKUP_ONLY { 2 * SECRET_BYTES } else { SECRET_BYTES };
            let (secret, after) = entry.split_at_checked(length)?;
            rest = after;
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
        let is_one = domain.as_ref().is_none_or(|domain| domain.epochs().len() == 1);
        let is_its_version = is_one == (version == VERSION_ONE_EPOCH);
        if !rest.is_empty() || !is_its_version || (provisional.is_none() && domain.is_none()) {
            return None;
        }
        Some(Self {
            hsm: *hsm,
            created: UnixSeconds(i64::from_be_bytes(*created)),
            last_sequence: u64::from_be_bytes(*last),
            node_secret: Secret::new(node_secret.to_vec()),
            provisional,
            domain,
            forget_before: u32::from_be_bytes(*forget_before),
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
            forget_before: 0,
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
            Epoch { number: 1, keys: EpochKeys::BackupOnly(Secret::new(vec![3; 64])) },
            Epoch { number: 2, keys: EpochKeys::Whole(secret(4)) },
        ];
        Domain::new([9; 16], epochs).unwrap()
    }

    fn young() -> Domain {
        let epochs = vec![Epoch { number: 1, keys: EpochKeys::Whole(secret(5)) }];
        Domain::new([9; 16], epochs).unwrap()
    }

    fn leaving() -> Domain {
        let epochs = [(1, 5), (2, 6)];
        let whole = |(number, byte)| Epoch { number, keys: EpochKeys::Whole(secret(byte)) };
        Domain::new([9; 16], epochs.map(whole).into()).unwrap()
    }

    fn content(provisional: Option<Secret>, domain: Option<Domain>) -> Content {
        let (created, last_sequence) = (UnixSeconds(5), 6);
        let node_secret = secret(1);
        let (hsm, forget_before) = ([7; 16], u32::from(domain.is_some()));
        let several = domain.as_ref().is_some_and(|domain| domain.epochs().len() > 1);
        let forget_before = if several { forget_before } else { 0 };
        Content { hsm, created, last_sequence, node_secret, provisional, domain, forget_before }
    }

    #[test]
    fn every_state_is_read_as_it_was_written() {
        let states = [
            (content(Some(secret(2)), None), 0, 2),
            (content(Some(secret(2)), Some(domain())), 0, 2),
            (content(None, Some(domain())), 2, 4),
            (content(Some(secret(2)), Some(young())), 0, 2),
            (content(None, Some(young())), 1, 5),
            (content(None, Some(leaving())), 2, 6),
        ];
        for (written, epoch, byte) in states {
            let read = Content::decode(&written.encode()).unwrap();
            assert_eq!(read.in_force(), (epoch, &secret(byte)));
            assert_eq!((read.hsm, read.last_sequence, read.created.0), ([7; 16], 6, 5));
            assert_eq!(read.node_secret, secret(1));
            assert_eq!(read.domain.is_some(), written.domain.is_some());
            let epochs = |content: &Content| content.domain.as_ref().map(|one| one.epochs().len());
            assert_eq!(epochs(&read), epochs(&written));
            assert_eq!(read.forget_before, written.forget_before);
            let left = |content: &Content| content.leaving().map(|epoch| epoch.number);
            assert_eq!(left(&read), left(&written));
        }
    }

    #[test]
    fn a_domain_of_one_epoch_is_written_as_an_older_release_reads_it() {
        for (content, version) in [
            (content(Some(secret(2)), None), 2),
            (content(None, Some(young())), 2),
            (content(None, Some(leaving())), 3),
            (content(None, Some(domain())), 3),
        ] {
            assert_eq!(content.encode().expose()[0], version);
        }
        assert_eq!(content(None, Some(leaving())).leaving().unwrap().number, 1);
        assert!(content(None, Some(domain())).leaving().is_none());
        assert!(content(None, Some(young())).leaving().is_none());
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
        for version in (0..=u8::MAX).filter(|version| *version != 3) {
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
