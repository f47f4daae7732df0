//! A call that is dropped before its answer: its caller hung up. It has its record all the same:
//! otherwise whoever hangs up in time would use keys and leave no trace.
//!
//! A change that has begun is not dropped, but runs to its end; one that the end of the process
//! cuts off gets its outcome at the next start.

use casemate_audit::{Phase, Verdict};

use super::Exchange;

/// The status under which a call without an answer is counted; it is never sent.
const HUNG_UP: u16 = 499;

/// The code in the record of a call that was dropped before anything was allowed.
const CODE: &str = "Abandoned";

impl<S> Drop for Exchange<S> {
    fn drop(&mut self) {
        if !self.noted.answered {
            self.abandoned();
        }
    }
}

impl<S> Exchange<S> {
    /// Puts the record in line; nobody waits for it.
    fn abandoned(&mut self) {
        let noted = &self.noted;
        self.plane.meter.answered(noted.operation, "", HUNG_UP, self.started.elapsed());
        if noted.recorded || noted.intent.is_some() {
            return;
        }
        // Who hangs up each time fills no more of the log than who waits.
        if noted.permit.is_none() && self.is_counted() {
            return;
        }
        let (phase, verdict) = match self.noted.permit {
            Some(_) => (Phase::Use, Verdict::Abandoned),
            None => {
                let description = "the caller hung up before its call was looked at";
                (Phase::Refusal, Verdict::Failure { status: None, code: CODE, description })
            }
        };
        drop(self.record(phase, verdict));
    }
}
