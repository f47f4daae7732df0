//! Cut off the tokens that a principal holds: those issued until now are refused, by every process
//! and after every restart; its roles stay, and a token issued later is good again.
//!
//! The HSM keeps the times; whoever checks tokens applies them. The right asked for is that to
//! change settings: of the built-in roles only the Administrator holds it.

use std::sync::Arc;

use casemate_audit::Recorded;
use casemate_store_port::{Change, Condition, Write};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commit::{Attempt, CommitRefusal};
use crate::rbac::{Permit, act};
use crate::records;
use crate::state::Applied;
use crate::{Hsm, UnixSeconds};

/// Most principals whose tokens are cut off. None is ever forgotten: nobody knows how long an
/// issuer lets its tokens live.
const CUT_OFFS_MAX: usize = 4_000;

/// From when on a principal's tokens must have been issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// The principal's object id.
    pub principal: Uuid,
    /// Tokens issued before this are refused.
    pub not_before: UnixSeconds,
}

/// Why the tokens were not cut off.
#[derive(Debug, thiserror::Error)]
pub enum CutOffRefusal {
    /// As many as can be kept.
    #[error("the tokens of {CUT_OFFS_MAX} principals are cut off, the most there can be")]
    TooMany,
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

impl Hsm {
    /// All cut-offs, for those who check tokens.
    pub fn cut_offs(&self) -> Arc<Vec<CutOff>> {
        Arc::clone(&self.state.read().cut_offs.0)
    }

    /// Refuses from now on all tokens of the principal that were issued up to this second. Who
    /// checks tokens must be told before the answer leaves.
    pub async fn cut_off_tokens(
        self: &Arc<Self>,
        permit: &Permit<act::SettingsWrite>,
        _intent: &Recorded,
        principal: Uuid,
    ) -> Result<CutOff, CutOffRefusal> {
        // A token of this very second cannot be told from one issued after the call.
        let not_before = UnixSeconds(self.clock.now().0.saturating_add(1));
        self.attempt_by(permit, "token-cut-offs", || {
            let (before, generation) = self.state.read().cut_offs.clone();
            let (all, made) = decide(&before, CutOff { principal, not_before })?;
            let path = records::cut_offs_path();
            let condition = generation.map_or(Condition::Absent, Condition::At);
            Ok(Attempt {
                change: Change {
                    expect: vec![(path.clone(), condition)],
                    writes: vec![Write::Put(path, records::encode(&all))],
                },
                applied: vec![Applied::CutOffs(Arc::new(all))],
                result: made,
            })
        })
        .await
    }
}

/// All cut-offs with this one, and the one that holds: a cut-off only moves forward.
fn decide(before: &[CutOff], asked: CutOff) -> Result<(Vec<CutOff>, CutOff), CutOffRefusal> {
    let mut all = before.to_vec();
    if let Some(known) = all.iter_mut().find(|known| known.principal == asked.principal) {
        known.not_before = known.not_before.max(asked.not_before);
        let made = *known;
        return Ok((all, made));
    }
    if all.len() >= CUT_OFFS_MAX {
        return Err(CutOffRefusal::TooMany);
    }
    all.push(asked);
    Ok((all, asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_off(principal: u128, not_before: i64) -> CutOff {
        let principal = Uuid::from_u128(principal);
        CutOff { principal, not_before: UnixSeconds(not_before) }
    }

    #[test]
    fn a_cut_off_only_moves_forward_and_touches_nobody_else() {
        let (all, made) = decide(&[], cut_off(1, 50)).unwrap();
        assert_eq!((all.as_slice(), made), (&[cut_off(1, 50)][..], cut_off(1, 50)));
        let (all, _) = decide(&all, cut_off(2, 60)).unwrap();
        let (all, made) = decide(&all, cut_off(1, 40)).unwrap();
        assert_eq!(made, cut_off(1, 50));
        assert_eq!(all, [cut_off(1, 50), cut_off(2, 60)]);
        let (all, _) = decide(&all, cut_off(1, 70)).unwrap();
        assert_eq!(all, [cut_off(1, 70), cut_off(2, 60)]);
    }

    #[test]
    fn there_is_an_end_to_them_but_not_for_those_who_have_one() {
        let many: u128 = CUT_OFFS_MAX.try_into().unwrap();
        let all: Vec<_> = (0..many).map(|principal| cut_off(principal, 1)).collect();
        assert!(matches!(decide(&all, cut_off(many, 2)), Err(CutOffRefusal::TooMany)));
        assert!(decide(&all, cut_off(0, 2)).is_ok());
    }
}
