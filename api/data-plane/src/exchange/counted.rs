//! Refusals beyond their caller's budget: they are counted, and the counts recorded.

use std::sync::Arc;

use casemate_audit::{Append, Call, Detail, DetailValue, Identity, Phase, Record, Verdict};
use tokio::runtime::Handle;

use super::{Exchange, Mark};
use crate::plane::DataPlane;
use crate::refusal::Refusal;
use crate::refusals::{Recording, Sum, Whose};

/// What counts of refusals are recorded as.
const OPERATION: &str = "RefusalsCounted";

const STATUS: u16 = 429;
const CODE: &str = "Throttled";
const DESCRIPTION: &str = "calls of this caller were refused, and counted instead of recorded one \
                           by one";
const DESCRIPTION_OTHERS: &str = "calls of callers who are too many to be told apart were refused, \
                                  and counted instead of recorded one by one";

impl<S> Exchange<S> {
    /// The refusal as its caller is told of it, and whether it is counted and has no record.
    ///
    /// What there was a permit for is recorded in any case: it shows how often a key was tried.
    pub(super) fn within_budget(&mut self, refusal: Refusal) -> (Refusal, bool) {
        if self.noted.permit.is_some() || refusal.is_of_the_trail() {
            return (refusal, false);
        }
        let recording = self.taken();
        // Who is sent for a new token must hear of it: whoever else has an old one of his could
        // keep that from him otherwise. It says nothing that the token itself does not.
        if recording == Recording::Each || matches!(refusal, Refusal::Token(_)) {
            return (refusal, recording == Recording::Counted);
        }
        let too_many = Refusal::TooManyRefused(self.plane.refusals.too_many());
        (too_many, recording == Recording::Counted)
    }

    /// Whether a call that nobody waits for any more is counted and has no record.
    pub(super) fn is_counted(&mut self) -> bool {
        self.taken() == Recording::Counted
    }

    fn taken(&mut self) -> Recording {
        let recording = self.plane.refusals.take(&self.caller, self.peer);
        match recording {
            Recording::Each => {}
            Recording::Begins(whose) => {
                self.mark(Mark::FurtherCounted);
                self.plane.sum_up_later(whose);
            }
            Recording::Counted => self.noted.recorded = true,
        }
        recording
    }
}

impl DataPlane {
    /// Puts in line what was counted and not recorded yet. To be called when nobody is served any
    /// more, before the trail is closed.
    pub fn sum_up_refusals(&self) {
        for whose in self.refusals.all() {
            if let Some(sum) = self.refusals.sum(whose) {
                drop(self.sum_up(&sum));
            }
        }
    }

    /// Records from time to time what was counted of them, until there is nothing.
    fn sum_up_later(self: &Arc<Self>, whose: Whose) {
        // A runtime that ends takes the last count along, unless it was asked for before.
        let Ok(runtime) = Handle::try_current() else { return };
        let (plane, interval) = (Arc::downgrade(self), self.limits.refusals_summary_interval);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(plane) = plane.upgrade() else { return };
                let Some(sum) = plane.refusals.sum(whose) else { return };
                if let Err(error) = plane.sum_up(&sum).await {
                    tracing::warn!(%error, "the count of refusals is recorded later");
                    plane.refusals.put_back(whose, sum);
                }
            }
        });
    }

    fn sum_up(&self, sum: &Sum) -> Append {
        let identity = sum.who.as_ref().map(|(caller, _)| Identity {
            object_id: Some(caller.object_id),
            app_id: caller.app_id.as_deref().unwrap_or_default(),
            user_name: caller.upn.as_deref().unwrap_or_default(),
            token_id: &caller.token_id,
        });
        let description = if identity.is_some() { DESCRIPTION } else { DESCRIPTION_OTHERS };
        let count = i64::try_from(sum.count).unwrap_or(i64::MAX);
        let details = [Detail { name: "count".into(), value: DetailValue::Number(count) }];
        let call = Call {
            started: Some(sum.since),
            caller_address: sum.who.as_ref().map(|(_, peer)| *peer),
            identity: identity.unwrap_or_default(),
            details: &details,
            ..Call::default()
        };
        self.trail.append(&Record {
            phase: Phase::Refusal,
            operation: OPERATION,
            call: &call,
            verdict: Verdict::Failure { status: Some(STATUS), code: CODE, description },
            permit: None,
            key: None,
            intent: None,
        })
    }
}
