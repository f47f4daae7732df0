//! CPU time of another process, in nanoseconds.

use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use crate::Outcome;

/// What the kernel has charged to all threads of a process so far.
pub(crate) fn of(process: u32) -> Outcome<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(process)?))?;
    let time = clock.now()?;
    let seconds = u64::try_from(time.tv_sec())?;
    let nanoseconds = u32::try_from(time.tv_nsec())?;
    Ok(Duration::new(seconds, nanoseconds))
}

/// The processor's name.
pub(crate) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let told: Vec<&str> = ["avx2", "avx512ifma", "vaes", "sha_ni"]
        .into_iter()
        .filter(|flag| flags.split(' ').any(|one| one == *flag))
        .collect();
    format!("{name}, {cores} cores, {}", told.join(" "))
}
