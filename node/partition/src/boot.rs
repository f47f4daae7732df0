//! The first steps, on the only thread: hear what to be, give up all rights, say which.

use casemate_channel::{Pending, Start, ToAgent, receive_start};
use casemate_engine_soft::random;
use casemate_harden::{Plan, Reach, Report, enter, raise_nofile};

use crate::failure::Failure;

/// A confined process that has read nothing from outside yet.
pub(crate) struct Boot {
    pub(crate) start: Start,
    pub(crate) agent: Pending,
    /// Whether the system keeps all memory from the disk: then no secret needs a lock of its own.
    pub(crate) memory_is_locked: bool,
    /// Threads that the processor can run at once.
    pub(crate) cores: usize,
}

/// Receives Start and confines the process.
pub(crate) fn begin() -> Result<Boot, Failure> {
    let (start, agent) = receive_start()?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // Asked before the folders that tell are out of sight.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match confine(&start) {
        Ok(report) => {
            agent.send_blocking(&ToAgent::Hardened { report: report.facts() })?;
            let locked = |name: &str, active: bool| active && name == "memory lock";
            let mut measures = report.measures().iter();
            let memory_is_locked = measures.any(|measure| locked(measure.name, measure.active));
            Ok(Boot { start, agent, memory_is_locked, cores })
        }
        Err(failure) => {
            let (code, message) = (failure.code().to_owned(), failure.text());
            agent.send_blocking(&ToAgent::Failed { code, message })?;
            Err(failure)
        }
    }
}

fn confine(start: &Start) -> Result<Report, Failure> {
    // One socket per connection, besides what is open anyway.
    raise_nofile().map_err(Failure::Threads)?;
    // The generator finds its sources while it still can.
    random(&mut [0; 32]);
    let plan = Plan {
        uid_gid: start.confine.uid_gid,
        root: start.confine.root.clone(),
        folder: start.folder.clone(),
        reach: Reach::HandedIn,
    };
    Ok(enter(&plan)?)
}
