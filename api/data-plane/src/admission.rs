//! How many requests one caller may have under way.
//!
//! Counted without a lock and without a table of callers: each is counted in two places that a
//! random hash of its object id chooses, and the smaller count is taken for its own. Another
//! caller would have to share both places to be counted with it. A guess at who shares a place
//! with whom needs the hash's keys, which are made anew at each start.
//!
//! Who has too many under way is refused with 429 until some have ended; nobody else notices.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use uuid::Uuid;

/// Places of one row.
const PLACES: usize = 4096;

/// The callers' requests.
pub(crate) struct Admission {
    rows: [Row<AtomicU32>; 2],
    of_caller_max: u32,
    refused: AtomicU64,
}

/// Places that callers are counted in, each in the one that the hash of this row chooses.
pub(crate) struct Row<T> {
    hash: RandomState,
    places: Box<[T]>,
}

/// One request under way; counted until it is dropped.
pub(crate) struct UnderWay {
    admission: Arc<Admission>,
    at: [usize; 2],
}

/// Too many are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller has {max} requests under way, the most that one may have")]
pub(crate) struct TooManyUnderWay {
    pub(crate) max: u32,
}

impl<T: Default> Row<T> {
    pub(crate) fn new() -> Self {
        let places = std::iter::repeat_with(T::default).take(PLACES).collect();
        Self { hash: RandomState::new(), places }
    }

    fn place(&self, caller: impl Hash) -> usize {
        let hash = self.hash.hash_one(caller) % u64::try_from(PLACES).unwrap_or(1);
        usize::try_from(hash).unwrap_or(0)
    }

    fn count(&self, at: usize) -> &T {
        self.places.get(at).expect("a place is within its row")
    }

    /// The caller's place.
    pub(crate) fn of(&self, caller: impl Hash) -> &T {
        self.count(self.place(caller))
    }
}

impl Admission {
    /// For so many requests of one caller.
    pub(crate) fn new(of_caller_max: usize) -> Arc<Self> {
        let of_caller_max = u32::try_from(of_caller_max).unwrap_or(u32::MAX);
        Arc::new(Self { rows: [Row::new(), Row::new()], of_caller_max, refused: 0.into() })
    }

    /// Counts a request of this caller.
    pub(crate) fn enter(self: &Arc<Self>, caller: Uuid) -> Result<UnderWay, TooManyUnderWay> {
        let [one, other] = &self.rows;
        let at = [one.place(caller), other.place(caller)];
        let before = [
            one.count(at[0]).fetch_add(1, Ordering::Relaxed),
            other.count(at[1]).fetch_add(1, Ordering::Relaxed),
        ];
        let under_way = UnderWay { admission: Arc::clone(self), at };
        if before[0].min(before[1]) < self.of_caller_max {
            return Ok(under_way);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(TooManyUnderWay { max: self.of_caller_max })
    }

    /// How many were refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        for (row, at) in self.admission.rows.iter().zip(self.at) {
            row.count(at).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_so_many_and_others_are_not_counted_with_him() {
        let admission = Admission::new(3);
        let storm = Uuid::from_u128(1);
        let mut held: Vec<_> = (0..3).map(|_| admission.enter(storm).unwrap()).collect();
        for _ in 0..100 {
            assert_eq!(admission.enter(storm).err(), Some(TooManyUnderWay { max: 3 }));
        }
        assert_eq!(admission.refused(), 100);
        for other in 2..500 {
            assert!(admission.enter(Uuid::from_u128(other)).is_ok(), "{other}");
        }
        held.pop();
        held.push(admission.enter(storm).unwrap());
        assert!(admission.enter(storm).is_err());
        drop(held);
        let all = admission.rows.iter().flat_map(|row| row.places.iter());
        assert!(all.clone().all(|place| place.load(Ordering::Relaxed) == 0));
    }
}
