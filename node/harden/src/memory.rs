//! Memory that must not reach a disk.

use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::report::Measure;

/// From this limit on all memory is locked. The kernel counts address space, reserved arenas of
/// the allocator and thread stacks included, so a small limit would make later allocations fail.
const LOCK_ALL_BYTES_MIN: u64 = 16 * 1024 * 1024 * 1024;

const NAME: &str = "memory lock";
const ADVICE: &str =
    "raise the memlock limit (LimitMEMLOCK=infinity, or `ulimit -l unlimited`), or use no swap";

/// Locks all memory, present and future, where the limit allows it.
pub(crate) fn lock_all() -> Measure {
    let limit = match raised_limit() {
        Ok(limit) => limit,
        Err(error) => return Measure::missing(NAME, format!("no limit known: {error}"), ADVICE),
    };
    if limit < LOCK_ALL_BYTES_MIN {
        let state = format!("only the HSM's own secrets; the limit is {limit} bytes");
        return Measure::missing(NAME, state, ADVICE);
    }
    match lock_everything() {
        Ok(()) => Measure::active(NAME, "all memory, present and future"),
        Err(error) => {
            let state = format!("only the HSM's own secrets; the kernel said: {error}");
            Measure::missing(NAME, state, ADVICE)
        }
    }
}

/// Keeps this process's memory out of dumps, and where the limit allows it out of swap: for a
/// command that holds secrets for a moment and is not confined otherwise.
///
/// # Errors
/// When the system refuses to forbid dumps.
pub fn without_dumps() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    // Best effort: what is not locked is wiped as soon as it is not needed.
    let _measure = lock_all();
    Ok(())
}

/// Locks the pages of a secret and leaves them out of dumps.
///
/// The pages stay locked when the secret is gone, since locks of neighbours on a page do not nest.
/// Use it for few, long-lived secrets.
///
/// # Errors
/// When the memlock limit is used up.
pub fn lock(secret: &[u8]) -> io::Result<()> {
    if secret.is_empty() {
        return Ok(());
    }
    let page = page_bytes()?;
    let start = secret.as_ptr().addr();
    let first = start - start % page;
    let length = (start + secret.len()).next_multiple_of(page) - first;
    lock_pages(secret.as_ptr().wrapping_sub(start - first), length)
}

fn page_bytes() -> io::Result<usize> {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    page.and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| bytes.is_power_of_two())
        .ok_or_else(|| io::Error::other("the system does not say how large a page is"))
}

#[expect(unsafe_code, reason = "mlock and madvise take raw addresses")]
fn lock_pages(first: *const u8, length: usize) -> io::Result<()> {
    let first = first.cast_mut().cast::<libc::c_void>();
    // SAFETY: mlock changes no memory; the range consists of whole pages around a live slice.
    nix::Error::result(unsafe { libc::mlock(first, length) })?;
    // SAFETY: MADV_DONTDUMP changes no memory either, only what a core dump would hold.
    nix::Error::result(unsafe { libc::madvise(first, length, libc::MADV_DONTDUMP) })?;
    Ok(())
}

#[expect(unsafe_code, reason = "mlockall with ONFAULT has no safe wrapper")]
fn lock_everything() -> io::Result<()> {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: mlockall takes flags only and changes no memory.
    nix::Error::result(unsafe { libc::mlockall(flags) })?;
    Ok(())
}

/// The memlock limit after it was raised as far as this process may.
fn raised_limit() -> io::Result<u64> {
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return Ok(RLIM_INFINITY);
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    match setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard) {
        Ok(()) => Ok(hard),
        Err(_) => Ok(soft),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_locked_in_whole_pages_and_an_empty_one_is_nothing() {
        let locked = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap().to_owned();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = locked();
        lock(&[]).unwrap();
        assert_eq!(locked(), before);
        let secret = vec![1_u8; 5_000];
        lock(&secret).unwrap();
        assert!(locked() >= before + 8);
    }
}
