//! The sealing keys of one HSM, as a slot holds them.

use casemate_engine_port::Secret;
use casemate_engine_soft::random;

/// Length of one, in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// Most that a slot holds: the next one, that of the slot before, and the one in use.
const KEYS_MAX: usize = 3;
/// The version of the layout.
const VERSION: u8 = 1;
/// Most bytes of the layout.
pub(crate) const LAYOUT_BYTES_MAX: usize = 2 + KEYS_MAX * KEY_BYTES;

/// At least one; what is sealed from now on is sealed with the first, and the others still open.
#[derive(PartialEq, Eq)]
pub struct SealingKeys(Vec<Secret>);

impl SealingKeys {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(vec![fresh()])
    }

    /// The one of a key file.
    pub(crate) fn of_file(key: Secret) -> Self {
        Self(vec![key])
    }

    /// Some that are there: one to three; `None` for another number.
    #[must_use]
    pub fn of(keys: Vec<Secret>) -> Option<Self> {
        (1..=KEYS_MAX).contains(&keys.len()).then_some(Self(keys))
    }

    /// All, the first one first.
    #[must_use]
    pub fn into_all(self) -> Vec<Secret> {
        self.0
    }

    /// The keys, the first one first.
    pub(crate) fn all(&self) -> &[Secret] {
        &self.0
    }

    /// A new one before those that are needed for a while yet: the first of these, which a
    /// partition that is being started may be about to use, and the one in use.
    pub(crate) fn renewed(mut self, in_use: usize) -> Self {
        let mut keys = vec![fresh()];
        if in_use != 0 && in_use < self.0.len() {
            let used = self.0.swap_remove(in_use);
            self.0.truncate(1);
            self.0.push(used);
        } else {
            self.0.truncate(1);
        }
        keys.append(&mut self.0);
        Self(keys)
    }

    pub(crate) fn encode(&self) -> Secret {
        let mut bytes = Vec::with_capacity(LAYOUT_BYTES_MAX);
        bytes.push(VERSION);
        bytes.push(u8::try_from(self.0.len()).expect("there are at most three"));
        for key in &self.0 {
            bytes.extend_from_slice(key.expose());
        }
        Secret::new(bytes)
    }

    pub(crate) fn decode(layout: &Secret) -> Option<Self> {
        let (head, keys) = layout.expose().split_first_chunk::<2>()?;
        let count = usize::from(head[1]);
        let fits = head[0] == VERSION
            && (1..=KEYS_MAX).contains(&count)
            && keys.len() == count * KEY_BYTES;
        fits.then(|| {
            Self(keys.chunks_exact(KEY_BYTES).map(|key| Secret::new(key.to_vec())).collect())
        })
    }
}

/// A new key.
pub(crate) fn fresh() -> Secret {
    let mut bytes = vec![0; KEY_BYTES];
    random(&mut bytes);
    Secret::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> SealingKeys {
        SealingKeys(bytes.iter().map(|byte| Secret::new(vec![*byte; KEY_BYTES])).collect())
    }

    fn firsts(keys: &SealingKeys) -> Vec<u8> {
        keys.0.iter().skip(1).map(|key| key.expose()[0]).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        for some in [keys(&[1]), keys(&[1, 2]), keys(&[1, 2, 3])] {
            let read = SealingKeys::decode(&some.encode()).unwrap();
            assert_eq!(read.0, some.0);
        }
    }

    #[test]
    fn what_is_not_whole_is_not_read() {
        let good = keys(&[1, 2]).encode();
        for length in 0..good.len() {
            let cut = Secret::new(good.expose()[..length].to_vec());
            assert!(SealingKeys::decode(&cut).is_none(), "{length}");
        }
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 1), (1, 3), (1, 255)] {
            let mut bytes = good.expose().to_vec();
            bytes[at] = value;
            assert!(SealingKeys::decode(&Secret::new(bytes)).is_none(), "{at} {value}");
        }
        let mut four = keys(&[1, 2, 3, 4]).encode().expose().to_vec();
        assert!(SealingKeys::decode(&Secret::new(four.clone())).is_none());
        four.push(0);
        assert!(SealingKeys::decode(&Secret::new(four)).is_none());
    }

    #[test]
    fn a_renewal_keeps_the_first_and_the_one_in_use_and_no_other() {
        for (before, in_use, after) in [
            (vec![1], 0, vec![1]),
            (vec![1, 2], 0, vec![1]),
            (vec![1, 2], 1, vec![1, 2]),
            (vec![1, 2, 3], 2, vec![1, 3]),
            (vec![1, 2, 3], 1, vec![1, 2]),
        ] {
            let renewed = keys(&before).renewed(in_use);
            assert_eq!(firsts(&renewed), after, "{before:?} {in_use}");
        }
        assert_ne!(keys(&[1]).renewed(0).0[0], keys(&[1]).renewed(0).0[0], "each is new");
    }
}
