//! The system call filter: a list of what a partition needs, everything else answers EPERM.
//!
//! EPERM and not a kill: a call that was forgotten here then shows as an error of one request with
//! its place in the log, instead of as a dead HSM, and the protection is the same.
//!
//! Not on the list of a process that is handed its sockets, so refused: `socket`, `connect`,
//! `bind`, `listen`, `accept`, `execve`, `fork`, `ptrace`, `process_vm_*`, `mount`, `setuid` and
//! its family, `bpf`, `perf_event_open`, `userfaultfd`, `keyctl`, `open_by_handle_at`,
//! `io_uring_*`, `pidfd_*`, `kexec_*`, `unshare`, …

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::enter::{HardenError, Reach};
use crate::report::Measure;

/// Calls allowed whatever their arguments are.
const ALWAYS: &[c_long] = &[
    // Descriptors that exist.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    // Files; landlock says which.
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_copy_file_range,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_readlinkat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_membarrier,
    libc::SYS_memfd_secret,
    // Threads of this process.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_setpriority,
    libc::SYS_getpriority,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Who and what this process is.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Time, randomness, waiting.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    // Sockets that were handed in.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Allowed here, answered "not implemented" by the second filter.
    libc::SYS_clone3,
];

/// Older names of the same calls, which this processor's C library still uses.
#[cfg(target_arch = "x86_64")]
const ALWAYS_OLD_NAMES: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_rename,
    libc::SYS_unlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_readlink,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];

#[cfg(not(target_arch = "x86_64"))]
const ALWAYS_OLD_NAMES: &[c_long] = &[];

/// `prctl` questions and settings that a C library and a runtime use.
const PRCTL: &[i32] = &[
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_SECCOMP,
    libc::PR_SET_VMA,
];

/// `ioctl` requests of a runtime: non-blocking, bytes waiting, is it a terminal, close-on-exec.
const IOCTL: &[libc::Ioctl] = &[libc::FIONBIO, libc::FIONREAD, libc::TCGETS, libc::FIOCLEX];

/// Sets the filter on all threads.
pub(crate) fn set(reach: Reach) -> Result<Measure, HardenError> {
    let rules = allowed(reach).map_err(HardenError::FilterBuild)?;
    let calls = rules.len();
    let list = compile(rules).map_err(HardenError::FilterBuild)?;
    let no_clone3 = clone3_is_unknown().map_err(HardenError::FilterBuild)?;
    // The stricter one last: after it, no further filter can be set.
    apply_filter_all_threads(&no_clone3).map_err(HardenError::FilterSet)?;
    apply_filter_all_threads(&list).map_err(HardenError::FilterSet)?;
    let state = format!("{calls} system calls allowed on all threads; any other one: EPERM");
    Ok(Measure::active("seccomp", state))
}

fn allowed(reach: Reach) -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALWAYS.iter().chain(ALWAYS_OLD_NAMES).map(|call| (*call, Vec::new())).collect();
    rules.extend(conditional()?);
    match reach {
        Reach::HandedIn => {}
        Reach::Daemon => rules.extend(local_daemon()?),
        Reach::Network => rules.extend(outgoing()?),
    }
    Ok(rules)
}

/// What a token's module needs that speaks with a daemon: Unix sockets and nothing of the network.
/// A connected TCP socket that was handed in could be connected elsewhere with this; landlock
/// refuses that.
fn local_daemon() -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    let unix = u64::from(unsigned(libc::AF_UNIX));
    Ok(vec![(libc::SYS_socket, any_of(0, [unix])?), (libc::SYS_connect, Vec::new())])
}

/// What outgoing connections and the questions for names need: sockets of TCP and UDP, and nothing
/// that lets one wait for connections (`listen` and `accept` stay refused).
fn outgoing() -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    let internet = [libc::AF_INET, libc::AF_INET6].map(|family| u64::from(unsigned(family)));
    Ok(vec![
        (libc::SYS_socket, any_of(0, internet)?),
        (libc::SYS_connect, Vec::new()),
        // The C library asks for names with these.
        (libc::SYS_sendto, Vec::new()),
        (libc::SYS_sendmmsg, Vec::new()),
        (libc::SYS_recvmmsg, Vec::new()),
    ])
}

/// The C library falls back to `clone`, whose flags a filter can read, only on this answer.
fn clone3_is_unknown() -> Result<BpfProgram, BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(unsigned(libc::ENOSYS)),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(
        rules,
        SeccompAction::Errno(unsigned(libc::EPERM)),
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

/// Calls allowed with certain arguments only.
fn conditional() -> Result<Vec<(c_long, Vec<SeccompRule>)>, BackendError> {
    let thread = u64::from(unsigned(libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND));
    let exec = u64::from(unsigned(libc::PROT_EXEC));
    let own = u64::from(std::process::id());
    let unix = u64::from(unsigned(libc::AF_UNIX));
    let pages_not_run = || word(2, SeccompCmpOp::MaskedEq(exec), 0);
    Ok(vec![
        // A new thread, never a new process.
        (libc::SYS_clone, vec![word(0, SeccompCmpOp::MaskedEq(thread), thread)?]),
        (libc::SYS_mmap, vec![pages_not_run()?]),
        (libc::SYS_mprotect, vec![pages_not_run()?]),
        (libc::SYS_prctl, any_of(0, PRCTL.iter().map(|option| u64::from(unsigned(*option))))?),
        (libc::SYS_ioctl, any_of(1, IOCTL.iter().copied())?),
        // abort() of this process, no signal to another one.
        (libc::SYS_tgkill, vec![word(0, SeccompCmpOp::Eq, own)?]),
        // Its own limits; the hard ones cannot grow.
        (libc::SYS_prlimit64, any_of(0, [0, own])?),
        // A runtime wakes itself over a pair; it reaches nobody else.
        (libc::SYS_socketpair, vec![word(0, SeccompCmpOp::Eq, unix)?]),
        // Only to the peer of a connected socket: an address would connect a fresh one.
        (libc::SYS_sendto, vec![pointer_is_null(4)?]),
    ])
}

fn any_of(
    argument: u8,
    values: impl IntoIterator<Item = u64>,
) -> Result<Vec<SeccompRule>, BackendError> {
    values.into_iter().map(|value| word(argument, SeccompCmpOp::Eq, value)).collect()
}

/// A rule on one 32-bit argument.
fn word(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value,
    )?])
}

fn pointer_is_null(argument: u8) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::Eq,
        0,
    )?])
}

/// The bits of a C constant.
const fn unsigned(value: i32) -> u32 {
    u32::from_ne_bytes(value.to_ne_bytes())
}
