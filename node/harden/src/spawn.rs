//! Starting a process that is bound to this one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// The descriptor at which the child finds its end of the channel.
pub const CHANNEL_FD: i32 = 3;

/// Starts the command with `channel` as descriptor [`CHANNEL_FD`], in a process group of its own
/// (a Ctrl-C at the terminal is for the agent), to be killed when the **calling thread** ends:
/// call it on a thread that lives as long as the child shall.
///
/// # Errors
/// When the system cannot start it.
#[expect(unsafe_code, reason = "code between fork and exec")]
pub fn spawn_bound(mut command: Command, channel: OwnedFd) -> io::Result<Child> {
    let parent = std::process::id();
    // Takes descriptor 3 where it is free, so that the pipe over which std reports a failed exec
    // can never have the number that the child overwrites.
    let _reserved = channel.try_clone()?;
    command.process_group(0);
    // SAFETY: the closure runs after fork in the child and calls only dup2, fcntl, prctl and
    // getppid, all async-signal-safe; it allocates nothing and touches no lock.
    unsafe {
        command.pre_exec(move || prepare(channel.as_raw_fd(), parent));
    }
    command.spawn()
}

#[expect(unsafe_code, reason = "system calls on raw descriptors in the child")]
fn prepare(channel: i32, parent: u32) -> io::Result<()> {
    if channel == CHANNEL_FD {
        // SAFETY: clears close-on-exec of a descriptor that the parent's OwnedFd keeps open.
        nix::Error::result(unsafe { libc::fcntl(channel, libc::F_SETFD, 0) })?;
    } else {
        // SAFETY: both are plain numbers; whatever the parent has at CHANNEL_FD is close-on-exec
        // and of no use to the child (`spawn_bound` keeps std's own pipe off that number).
        nix::Error::result(unsafe { libc::dup2(channel, CHANNEL_FD) })?;
    }
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    // SAFETY: getppid cannot fail and touches no memory.
    let now = unsafe { libc::getppid() };
    if u32::try_from(now) == Ok(parent) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}
