//! Schedules: backups that the HSM makes by itself, full ones and increments in turn, and the
//! removal of those that need not be kept any longer. `docs/design/backup.md` has the rules.
//!
//! A schedule is a setting of the HSM's own, as its sinks are: Administrators alone make, change
//! and remove it, and it goes on when the one who made it has gone. What is done for it needs no
//! permit of anybody's, but the schedule itself: before each object it is looked whether it still
//! stands.
//!
//! Invariants:
//! - What a run puts lies in a folder that the schedule's record named before.
//! - Nothing is removed but what such a run has put.
//! - A set is removed after all that rest on it, and no set of a chain of which one is kept.

mod record;
mod remove;
mod retention;
mod run;
mod set;
mod settings;
mod when;

pub(crate) use record::ScheduleRecord;
pub use record::{ScheduleFacts, ScheduleFailure, ScheduleStatus, ScheduleView};
pub use remove::{Removal, RemovalFailure};
pub use run::ScheduledRun;
pub use settings::{
    Plan, SCHEDULES_MAX, ScheduleAccess, ScheduleName, ScheduleRefusal, ScheduleRequest,
};

/// Which making of a schedule: it is another one under the same name once it was removed, or points
/// elsewhere.
type Making = [u8; 16];
