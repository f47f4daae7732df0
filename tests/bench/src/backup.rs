//! A full backup of all keys into the courier's folder, and its restore: time, memory, space.

use std::path::Path;
use std::time::{Duration, Instant};

use casemate_test_kit::Dev;
use serde_json::{Value, json};

use crate::Outcome;
use crate::extras::{Extra, folder_bytes, line};

/// How often a job's status and the memory are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A job that takes longer hangs.
const JOB_MAX: Duration = Duration::from_secs(900);

/// What a job took.
struct Took {
    time: Duration,
    /// Most memory of the partition that was seen, and what it had before.
    memory: (usize, usize),
    status: Value,
}

/// Measures both, and what a key takes.
pub(crate) fn measure(
    dev: &Dev,
    keys: usize,
    data_dir: &Path,
    extras: &mut Vec<Extra>,
) -> Outcome<()> {
    let storage = json!({"storageResourceUri": "file:///bench", "token": ""});
    let took = job(dev, "POST", "/backup", &storage)?;
    extras.push(line(&format!("full backup of {keys} keys"), &text(&took)));
    let url = took.status["azureStorageBlobContainerUri"].as_str().unwrap_or_default();
    let folder = url.rsplit('/').next().unwrap_or_default();
    let set = data_dir.join("courier/dev/backups/bench").join(folder);
    let bytes = folder_bytes(&set) / u64::try_from(keys.max(1))?;
    extras.push(line("of it for each key", &format!("{bytes} bytes")));
    let restore = json!({"sasTokenParameters": storage, "folderToRestore": folder});
    let took = job(dev, "PUT", "/restore", &restore)?;
    let what = format!("full restore of {keys} keys, until the HSM answers again");
    extras.push(line(&what, &text(&took)));
    Ok(())
}

fn text(took: &Took) -> String {
    let (peak, before) = took.memory;
    let mib = |kib: usize| kib / 1024;
    format!(
        "{:.2} s, {} MiB resident at most, {} MiB before",
        took.time.as_secs_f64(),
        mib(peak),
        mib(before)
    )
}

/// `None` for a process that has ended: a restore ends the one that did it.
fn resident_kib(process: u32) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn job(dev: &Dev, method: &str, path: &str, body: &Value) -> Outcome<Took> {
    let partition = dev.partition();
    let before = resident_kib(partition).ok_or("there is no partition")?;
    let begun = Instant::now();
    let started = dev.rest().call(method, path, body)?;
    if started.status != 202 {
        return Err(String::from_utf8_lossy(&started.body).into_owned().into());
    }
    let url = started.headers.iter().find(|(name, _)| name == "azure-asyncoperation");
    let url = url.map(|(_, url)| url.as_str()).ok_or("there is no status URL")?;
    let at = url.splitn(4, '/').nth(3).ok_or("the status URL has no path")?;
    let mut peak = before;
    while begun.elapsed() < JOB_MAX {
        std::thread::sleep(LOOK);
        peak = peak.max(resident_kib(partition).unwrap_or_default());
        // The connection ends when the restored HSM is opened.
        let Ok(answer) = dev.rest().ask("GET", &format!("/{at}")) else { continue };
        let status: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match status["status"].as_str() {
            Some("Succeeded") => {
                return Ok(Took { time: begun.elapsed(), memory: (peak, before), status });
            }
            Some("Failed") => return Err(status.to_string().into()),
            _ => {}
        }
    }
    Err("the job did not end".into())
}
