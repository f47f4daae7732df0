//! Refusals beyond their caller's budget: they are counted, and the counts recorded.

use std::sync::Arc;

use casemate_audit::{
    Append, Call, Detail, DetailValue, Identity, Phase, Record, Recorded, TrailError, Verdict,
};
use tokio::runtime::Handle;

use super::{Exchange, Mark};
use crate::plane::DataPlane;
use crate::refusal::Refusal;
use crate::refusals::{Fault, Recording, Sum, Whose};

/// What a count is recorded as.
struct Named {
    operation: &'static str,
    status: u16,
    code: &'static str,
    description: &'static str,
}

const REFUSALS: Named = Named {
    operation: "RefusalsCounted",
    status: 429,
    code: "Throttled",
    description: "calls of this caller were refused, and counted instead of recorded one by one",
};
const REFUSALS_OF_OTHERS: Named = Named {
    description: "calls of callers who are too many to be told apart were refused, and counted \
                  instead of recorded one by one",
    ..REFUSALS
};
const FAILURES: Named = Named {
    operation: "FailuresCounted",
    status: 503,
    code: "ServiceUnavailable",
    description: "calls of this caller could not be served, by no fault of his, and were counted \
                  instead of recorded one by one",
};
const FAILURES_OF_OTHERS: Named = Named {
    description: "calls of callers who are too many to be told apart could not be served, by no \
                  fault of theirs, and were counted instead of recorded one by one",
    ..FAILURES
};

/// Most operations that a count names; the rest is told as one.
const OPERATIONS_TOLD_MAX: usize = 16;

impl<S> Exchange<S> {
    /// The refusal as its caller is told of it, and what is to be done about its record.
    ///
    /// What there was a permit for is recorded in any case: it shows how often a key was tried.
    pub(super) fn within_budget(&mut self, refusal: Refusal) -> (Refusal, Recording) {
        if self.noted.permit.is_some() || refusal.is_of_the_trail() {
            return (refusal, Recording::Each);
        }
        let fault = self.fault(&refusal);
        let recording = self.taken(fault);
        // Who is sent for a new token must hear of it: whoever else has an old one of his could
        // keep that from him otherwise. And what is no fault of the caller's is not told as one.
        if recording == Recording::Each || fault != Fault::OfCaller {
            return (refusal, recording);
        }
        (Refusal::TooManyRefused(self.plane.refusals.too_many()), recording)
    }

    fn fault(&self, refusal: &Refusal) -> Fault {
        match refusal {
            Refusal::Token(_) => Fault::CutOff,
            Refusal::TooManyUnderWay(_) => Fault::OfHsm,
            other if other.problem(&self.url).status.is_server_error() => Fault::OfHsm,
            _ => Fault::OfCaller,
        }
    }

    /// What is to be done about the record of a call that nobody waits for any more.
    pub(super) fn of_abandoned(&mut self) -> Recording {
        self.taken(Fault::OfCaller)
    }

    fn taken(&mut self, fault: Fault) -> Recording {
        let caller = (&self.caller, self.peer);
        let recording = self.plane.refusals.take(caller, fault, self.noted.operation);
        match recording {
            Recording::Each => {}
            Recording::Begins(Whose::One(_, Fault::OfHsm) | Whose::Others(Fault::OfHsm)) => {
                self.mark(Mark::FurtherFailuresCounted);
            }
            Recording::Begins(_) => self.mark(Mark::FurtherCounted),
            Recording::Counted => self.noted.recorded = true,
        }
        recording
    }
}

/// Waits for a record that counting has begun, whoever waits for its call, and has it counted from
/// then on.
pub(super) async fn begins(
    plane: &Arc<DataPlane>,
    whose: Whose,
    record: Append,
) -> Result<Recorded, TrailError> {
    let plane = Arc::clone(plane);
    let settled = tokio::spawn(async move {
        let recorded = plane.meter.audited(record).await;
        if plane.refusals.begun(whose, recorded.is_ok()) {
            plane.sum_up_later(whose);
        }
        recorded
    });
    // Nothing waits for it any more where the process ends.
    settled.await.unwrap_or(Err(TrailError::Closed))
}

impl DataPlane {
    /// Records what was counted and not recorded yet. To be called when nobody is served any
    /// more, before the trail is closed.
    pub async fn sum_up_refusals(&self) {
        for whose in self.refusals.all() {
            let Some(sum) = self.refusals.sum(whose) else { continue };
            if let Err(error) = self.sum_up(whose, &sum).await {
                let (caller, count) = (sum.who.map(|(caller, _)| caller.object_id), sum.count);
                tracing::error!(%error, ?caller, count, "a count of refusals is not recorded");
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
                if let Err(error) = plane.sum_up(whose, &sum).await {
                    tracing::warn!(%error, "the count of refusals is recorded later");
                    plane.refusals.put_back(whose, sum);
                }
            }
        });
    }

    fn sum_up(&self, whose: Whose, sum: &Sum) -> Append {
        let identity = sum.who.as_ref().map(|(caller, _)| Identity {
            object_id: Some(caller.object_id),
            app_id: caller.app_id.as_deref().unwrap_or_default(),
            user_name: caller.upn.as_deref().unwrap_or_default(),
            token_id: &caller.token_id,
        });
        let named = match whose {
            Whose::One(_, Fault::OfHsm) => FAILURES,
            Whose::One(..) => REFUSALS,
            Whose::Others(Fault::OfHsm) => FAILURES_OF_OTHERS,
            Whose::Others(_) => REFUSALS_OF_OTHERS,
        };
        let Named { operation, status, code, description } = named;
        let count = i64::try_from(sum.count).unwrap_or(i64::MAX);
        let details = [
            Detail { name: "count".into(), value: DetailValue::Number(count) },
            Detail { name: "operations".into(), value: DetailValue::Texts(operations(sum)) },
        ];
        let call = Call {
            started: Some(sum.since),
            caller_address: sum.who.as_ref().map(|(_, peer)| *peer),
            identity: identity.unwrap_or_default(),
            details: &details,
            ..Call::default()
        };
        self.trail.append(&Record {
            phase: Phase::Refusal,
            operation,
            call: &call,
            verdict: Verdict::Failure { status: Some(status), code, description },
            permit: None,
            key: None,
            intent: None,
        })
    }
}

/// The operations that were refused, the most frequent first, each with how often.
fn operations(sum: &Sum) -> Vec<String> {
    let mut all: Vec<_> = sum.of.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let rest = all.split_off(all.len().min(OPERATIONS_TOLD_MAX));
    let mut told: Vec<_> = all.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if !rest.is_empty() {
        let count = rest.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(**count));
        told.push(format!("others {count}"));
    }
    told
}
