//! The one call, as a list of steps whose order matters.

use std::io;
use std::path::PathBuf;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::report::{Measure, Report};
use crate::{confine, files, filter, memory, resources};

/// Whether the process reaches a network by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// Not at all: sockets are handed in.
    #[default]
    HandedIn,
    /// Not the network, but daemons of this machine over Unix sockets: a token's.
    Daemon,
    /// It opens outgoing connections, and listens nowhere.
    Network,
}

/// How the process shall be confined.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// User and group to become; needs root.
    pub uid_gid: Option<(u32, u32)>,
    /// Folder that becomes the root folder; needs root.
    pub root: Option<PathBuf>,
    /// The only folder it may use, as it sees it afterwards.
    pub folder: PathBuf,
    /// What a library in it uses besides, each a folder or a file, by its path before; in another
    /// root folder it has the same path.
    pub paths: Vec<PathBuf>,
    /// Whether it reaches a network by itself.
    pub reach: Reach,
}

/// Why the process could not be confined. It must end then, without serving anything.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// Too late: landlock and the user would not hold for threads that already run.
    #[error("{threads} threads exist already; confine the process before the first one is made")]
    OtherThreads {
        /// How many.
        threads: usize,
    },
    /// The system refused a step.
    #[error("the system refused to {step}")]
    Step {
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The agent ended while the process began.
    #[error("the parent process ended before this one was bound to it")]
    ParentGone,
    /// Root could be taken back after it was given up.
    #[error("the process could become root again after it gave that up")]
    RightsRemain,
    /// The folder's rules could not be made.
    #[error("the rules for files could not be set")]
    Files(#[source] landlock::RulesetError),
    /// A path beside the folder cannot be given to the process.
    #[error(
        "{} cannot be shown inside the process's root folder: it must be absolute, exist, and be \
         reached through no link; and the agent, as root, must be allowed to mount",
        path.display()
    )]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The filter could not be built.
    #[error("the system call filter could not be built")]
    FilterBuild(#[source] seccompiler::BackendError),
    /// The filter could not be set.
    #[error("the system call filter could not be set")]
    FilterSet(#[source] seccompiler::Error),
}

impl HardenError {
    pub(crate) fn step(step: &'static str) -> impl Fn(nix::Error) -> Self {
        move |cause| Self::Step { step, cause: cause.into() }
    }
}

/// Confines the process. Call it on the main thread, before any other thread exists, and touch the
/// random source first, so that it needs no device afterwards.
///
/// Descriptors above 3 are closed: 3 is the channel.
///
/// # Errors
/// When a protection that every machine offers cannot be had, or what the plan asks for is refused.
pub fn enter(plan: &Plan) -> Result<Report, HardenError> {
    let parent = getppid();
    refuse_other_threads()?;
    let mut report = Report::default();

    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(HardenError::step("forbid core dumps"))?;
    resources::close_above_channel()
        .map_err(|cause| HardenError::Step { step: "close inherited descriptors", cause })?;
    report.add(Measure::active("core dumps", "none (limit 0)"));
    report.add(Measure::active("inherited descriptors", "closed, but 0 to 2 and the channel"));
    report.add(memory::lock_all());

    let ruleset = files::rules(plan)?;
    confine::root_folder(plan, &mut report)?;
    confine::user(plan, &mut report)?;

    // Changing the user resets both of these, so they come after it.
    prctl::set_dumpable(false).map_err(HardenError::step("forbid dumps and tracing"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(HardenError::step("end with the parent"))?;
    if getppid() != parent {
        return Err(HardenError::ParentGone);
    }
    report.add(Measure::active("dumpable", "no: not traceable, memory not readable by the user"));
    report.add(Measure::active("end with the agent", "SIGKILL when the parent dies"));

    prctl::set_no_new_privs().map_err(HardenError::step("forbid new privileges"))?;
    report.add(Measure::active("no_new_privs", "set"));
    report.add(files::restrict(ruleset, plan.reach)?);
    report.add(filter::set(plan.reach)?);
    Ok(report)
}

fn refuse_other_threads() -> Result<(), HardenError> {
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|cause| HardenError::Step { step: "count the threads in /proc", cause })?
        .count();
    if threads == 1 { Ok(()) } else { Err(HardenError::OtherThreads { threads }) }
}
