//! Remembers the certificate assertions that were used, until they run out.
//!
//! A `jti` that returns in another assertion is refused. The very same assertion may be used again
//! within its life: Microsoft's Python library keeps one for nine minutes and sends it for every
//! resource, and Entra accepts that.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use uuid::Uuid;

use crate::refusal::Refusal;

/// The most assertions remembered at a time.
const REMEMBERED_MAX: usize = 10_000;

/// The assertions in use.
#[derive(Default)]
pub(crate) struct Replays {
    used: HashMap<(Uuid, String), Use>,
}

struct Use {
    assertion: [u8; 32],
    expires_at: i64,
}

impl Replays {
    /// Notes a verified assertion, or refuses it.
    pub(crate) fn note(
        &mut self,
        app_id: Uuid,
        jti: String,
        assertion: &str,
        expires_at: i64,
        now: i64,
    ) -> Result<(), Refusal> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, assertion.as_bytes()).as_ref());
        let key = (app_id, jti);
        if let Some(known) = self.used.get(&key).filter(|known| known.expires_at > now) {
            return if known.assertion == hash { Ok(()) } else { Err(Refusal::Replayed) };
        }
        if self.used.len() >= REMEMBERED_MAX {
            self.used.retain(|_, one| one.expires_at > now);
        }
        if self.used.len() >= REMEMBERED_MAX {
            return Err(Refusal::TooManyAssertions);
        }
        self.used.insert(key, Use { assertion: hash, expires_at });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: Uuid = Uuid::from_u128(7);

    #[test]
    fn one_jti_means_one_assertion_until_it_runs_out() {
        let mut replays = Replays::default();
        let mut note = |assertion, now| replays.note(APP, "j".to_owned(), assertion, now + 10, now);
        assert_eq!(note("first", 100), Ok(()));
        assert_eq!(note("first", 105), Ok(()));
        assert_eq!(note("second", 109), Err(Refusal::Replayed));
        assert_eq!(note("second", 110), Ok(()));
        assert_eq!(note("first", 111), Err(Refusal::Replayed));
    }

    #[test]
    fn another_app_has_its_own_jti() {
        let mut replays = Replays::default();
        assert_eq!(replays.note(APP, "j".to_owned(), "a", 10, 0), Ok(()));
        assert_eq!(replays.note(Uuid::nil(), "j".to_owned(), "b", 10, 0), Ok(()));
    }

    #[test]
    fn the_memory_is_bounded_and_lets_go_of_what_ran_out() {
        let mut replays = Replays::default();
        for number in 0..REMEMBERED_MAX {
            assert_eq!(replays.note(APP, number.to_string(), "a", 10, 0), Ok(()));
        }
        assert_eq!(
            replays.note(APP, "more".to_owned(), "a", 10, 9),
            Err(Refusal::TooManyAssertions)
        );
        assert_eq!(replays.note(APP, "more".to_owned(), "a", 20, 10), Ok(()));
        assert_eq!(replays.used.len(), 1);
    }
}
