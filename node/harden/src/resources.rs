//! Descriptors and priorities.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::spawn::CHANNEL_FD;

/// Raises the number of open files to the hard limit and returns it.
///
/// # Errors
/// When the system refuses.
pub fn raise_nofile() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// How many files this process may have open.
///
/// # Errors
/// When the system refuses.
pub fn nofile() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Sets the niceness of the calling thread alone (19 yields most).
///
/// # Errors
/// When the system refuses, as it does for a lower niceness than before.
#[expect(unsafe_code, reason = "setpriority for one thread has no safe wrapper")]
pub fn nice_current_thread(niceness: i32) -> io::Result<()> {
    // Zero means the calling thread: on Linux priorities belong to threads.
    // SAFETY: setpriority takes three numbers and touches no memory.
    nix::Error::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) })?;
    Ok(())
}

/// Closes all descriptors above the channel.
#[expect(unsafe_code, reason = "close_range has no safe wrapper")]
pub(crate) fn close_above_channel() -> io::Result<()> {
    let first = CHANNEL_FD + 1;
    // SAFETY: called while the process has one thread and has opened nothing of its own yet, so no
    // value of this program owns a descriptor above the channel.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    nix::Error::result(done)?;
    Ok(())
}
