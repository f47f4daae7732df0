//! Rights dropped, memory kept in, filters set: one call at the start of a partition.
//!
//! [`enter`] is called before the first byte from outside is read and before a second thread
//! exists. What must hold everywhere (no core dump, not traceable, no new privileges, the system
//! call filter) is an error where it fails; what depends on the machine (own user and root folder,
//! landlock, the memory limit) is said in the [`Report`], each with what to do.
//!
//! What it does not do: it knows nothing of HSMs, and it reads no configuration.
//!
//! Invariant: after [`enter`] the process opens no network socket (unless the plan says that it may
//! connect; it never listens), starts no other program, and opens no file outside its folder (but
//! those that name resolution reads); no thread made later can do so either.

mod confine;
mod enter;
mod files;
mod filter;
mod memory;
mod observe;
mod report;
mod resources;
mod spawn;

pub use enter::{HardenError, Plan, Reach, enter};
pub use memory::{lock, without_dumps};
pub use observe::{Observed, observe};
pub use report::{Measure, Report};
pub use resources::{nice_current_thread, nofile, raise_nofile};
pub use spawn::{CHANNEL_FD, spawn_bound};
