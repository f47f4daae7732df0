//! A call that is dropped before its answer: its caller hung up. It has its record all the same:
//! otherwise whoever hangs up in time would use keys and leave no trace.
//!
//! A change that has begun is not dropped, but runs to its end; one that the end of the process
//! cuts off gets its outcome at the next start.

use std::sync::Arc;

use casemate_audit::{Phase, Verdict};
use tokio::runtime::Handle;

use super::Exchange;
use super::counted::begins;
use crate::refusals::Recording;

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
        let recording = match noted.permit {
            Some(_) => Recording::Each,
            None => self.of_abandoned(),
        };
        let (phase, verdict) = match self.noted.permit {
            Some(_) => (Phase::Use, Verdict::Abandoned),
            None => {
                let description = "the caller hung up before its call was looked at";
                (Phase::Refusal, Verdict::Failure { status: None, code: CODE, description })
            }
        };
        match recording {
            Recording::Counted => {}
            Recording::Each => drop(self.record(phase, verdict)),
            Recording::Begins(whose) => {
                let (record, plane) = (self.append(phase, verdict), Arc::clone(&self.plane));
                // Without a runtime nothing is counted, and the next one begins anew.
                let Ok(runtime) = Handle::try_current() else { return drop(record) };
                runtime.spawn(async move { drop(begins(&plane, whose, record).await) });
            }
        }
    }
}
