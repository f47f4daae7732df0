//! `casemate doctor`: what protects the running partition, read from `/proc`, what does not, and
//! what to do about it.

use std::io::{self, Write};
use std::path::PathBuf;

use casemate_harden::{Observed, observe};
use serde_json::json;

use crate::facts::Facts;
use crate::local::ask;
use crate::options::{OptionRefusal, default_data_dir};

/// Why doctor has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// No folder.
    #[error(transparent)]
    Options(#[from] OptionRefusal),
    /// No agent.
    #[error(
        "no agent answers in {path}; start `casemate dev`, give its --data-dir, or ask as the user \
         who started it"
    )]
    NotRunning {
        /// The folder.
        path: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// An answer of another kind.
    #[error("the agent in {path} gave no facts; it may be another version: restart it")]
    NoFacts {
        /// The folder.
        path: String,
    },
    /// The output is closed.
    #[error("the findings could not be written")]
    Output(#[from] io::Error),
}

/// One line of the findings.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    name: &'static str,
    state: State,
    seen: String,
    advice: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Missing,
    Unknown,
}

/// Shows what is active for the partition of the agent in this folder.
///
/// # Errors
/// When there is no running agent.
pub async fn doctor(data_dir: Option<PathBuf>, out: &mut dyn Write) -> Result<(), DoctorError> {
    let folder = match data_dir {
        Some(folder) => folder,
        None => default_data_dir()?,
    };
    let path = folder.display().to_string();
    let answer = ask(&folder, &json!({ "op": "facts" }))
        .await
        .map_err(|cause| DoctorError::NotRunning { path: path.clone(), cause })?;
    let facts: Facts = serde_json::from_value(answer.get("result").cloned().unwrap_or_default())
        .map_err(|_| DoctorError::NoFacts { path: path.clone() })?;
    writeln!(out, "agent      process {}, data in {path}", facts.agent_pid)?;
    let state = match (facts.ready, facts.activated) {
        (true, true) => "answers",
        (true, false) => "is not activated: give its security domain to officers",
        (false, _) => "does not answer now",
    };
    writeln!(out, "HSM        {} (development), {state}", facts.hsm)?;
    for url in &facts.urls {
        writeln!(out, "           {url}")?;
    }
    if let Some(end) = &facts.last_end {
        writeln!(out, "           {} restarts; the last end: {end}", facts.restarts)?;
    }
    match facts.partition_pid.map(|pid| (pid, observe(pid))) {
        Some((pid, Ok(seen))) => show(out, pid, &seen, &facts)?,
        Some((pid, Err(_))) => writeln!(out, "partition  process {pid} has just ended")?,
        None => writeln!(out, "partition  none runs; the agent's lines say why")?,
    }
    match facts.courier_pid {
        Some(pid) => {
            writeln!(out, "courier    process {pid}, {} restarts", facts.courier_restarts)?
        }
        None => writeln!(out, "courier    none runs; {} restarts", facts.courier_restarts)?,
    }
    Ok(())
}

fn show(out: &mut dyn Write, pid: u32, seen: &Observed, facts: &Facts) -> io::Result<()> {
    let agent_user = observe(facts.agent_pid).ok().and_then(|agent| agent.uid);
    writeln!(out, "partition  process {pid}, as the kernel shows it in /proc/{pid}:")?;
    for finding in findings(seen, agent_user, facts.agent_pid) {
        let word = match finding.state {
            State::Active => "active",
            State::Missing => "NOT ACTIVE",
            State::Unknown => "not visible",
        };
        writeln!(out, "  {word:<12} {:<22} {}", finding.name, finding.seen)?;
        if let Some(advice) = finding.advice.filter(|_| finding.state == State::Missing) {
            writeln!(out, "  {:<12} {:<22} -> {advice}", "", "")?;
        }
    }
    writeln!(out, "as the partition says of itself:")?;
    for (name, state) in &facts.report {
        writeln!(out, "  {name:<24} {state}")?;
    }
    writeln!(
        out,
        "Casemate itself is validated by nobody; it claims the status of its parts alone."
    )?;
    writeln!(out, "in any case: this is software on this machine; its root can read everything.")?;
    writeln!(out, "The seal lies beside the store, so a rollback of the whole folder is not seen.")
}

const AS_ROOT: &str = "run doctor as root to see it";
const RUN_AS_ROOT: &str = "start the agent as root, and each partition gets its own";

fn findings(seen: &Observed, agent_user: Option<u32>, agent_pid: u32) -> Vec<Finding> {
    let own_user = seen.uid.zip(agent_user).map(|(own, agent)| own != agent);
    let own_root = seen.root.as_ref().map(|root| root != std::path::Path::new("/"));
    vec![
        judge("no_new_privs", seen.no_new_privs, flag(seen.no_new_privs), None),
        judge(
            "seccomp",
            seen.seccomp_mode.map(|mode| mode == 2),
            number("mode", seen.seccomp_mode) + ", " + &number("filters", seen.seccomp_filters),
            None,
        ),
        judge("own user", own_user, number("user", seen.uid), Some(RUN_AS_ROOT)),
        judge(
            "own root folder",
            own_root,
            seen.root.as_ref().map_or(AS_ROOT.to_owned(), |root| root.display().to_string()),
            Some(RUN_AS_ROOT),
        ),
        judge(
            "no capabilities",
            seen.capabilities.map(|set| set == 0),
            seen.capabilities.map_or("?".to_owned(), |set| format!("CapEff {set:016x}")),
            Some("start the agent as root with a user for the partition, or as an ordinary user"),
        ),
        judge(
            "no core dumps",
            seen.core_limit_bytes.map(|bytes| bytes == 0),
            number("hard limit", seen.core_limit_bytes),
            None,
        ),
        judge(
            "not dumpable",
            seen.dumpable.map(|dumpable| !dumpable),
            match seen.dumpable {
                Some(false) => "its /proc files belong to root".to_owned(),
                Some(true) => "its user may trace it".to_owned(),
                None => "cannot be told for a process of root".to_owned(),
            },
            Some(RUN_AS_ROOT),
        ),
        memory(seen),
        judge(
            "no listening socket",
            seen.listening.map(|count| count == 0),
            seen.listening.map_or(AS_ROOT.to_owned(), |count| format!("{count} listening")),
            Some(AS_ROOT),
        ),
        judge(
            "ends with the agent",
            seen.parent.map(|parent| parent == agent_pid),
            number("parent", seen.parent),
            None,
        ),
    ]
}

/// All memory is locked when as much is locked as is mapped for use; otherwise only secrets are.
fn memory(seen: &Observed) -> Finding {
    let locked = seen.locked_kib.unwrap_or(0);
    let all = seen.locked_kib.zip(seen.resident_kib).map(|(locked, resident)| locked >= resident);
    let limit = match seen.lock_limit_bytes {
        Some(u64::MAX) => "no limit".to_owned(),
        Some(bytes) => format!("limit {bytes} bytes"),
        None => "limit not visible".to_owned(),
    };
    let advice = "only the HSM's own secrets are locked; raise the memlock limit (`ulimit -l \
                  unlimited`, LimitMEMLOCK=infinity), or use no swap";
    judge("all memory locked", all, format!("{locked} KiB locked, {limit}"), Some(advice))
}

fn judge(
    name: &'static str,
    active: Option<bool>,
    seen: String,
    advice: Option<&'static str>,
) -> Finding {
    let state = match active {
        Some(true) => State::Active,
        Some(false) => State::Missing,
        None => State::Unknown,
    };
    Finding { name, state, seen, advice }
}

fn flag(value: Option<bool>) -> String {
    value.map_or("?".to_owned(), |set| if set { "set" } else { "not set" }.to_owned())
}

fn number<N: ToString>(name: &str, value: Option<N>) -> String {
    format!("{name} {}", value.map_or("?".to_owned(), |value| value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(findings: &[Finding], name: &str) -> State {
        findings.iter().find(|finding| finding.name == name).unwrap().state
    }

    #[test]
    fn an_unprotected_process_is_shown_as_such_with_advice() {
        let pid = std::process::id();
        let seen = observe(pid).unwrap();
        let all = findings(&seen, seen.uid, pid);
        for name in ["seccomp", "own user", "own root folder", "no_new_privs", "all memory locked"]
        {
            assert_eq!(state(&all, name), State::Missing, "{name}");
        }
        let mut out = Vec::new();
        let facts = Facts { agent_pid: pid, ..Facts::default() };
        show(&mut out, pid, &seen, &facts).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("NOT ACTIVE   own user"), "{text}");
        assert!(text.contains("-> start the agent as root"), "{text}");
    }

    #[test]
    fn what_cannot_be_seen_is_not_called_active() {
        let nothing = Observed::default();
        for finding in findings(&nothing, None, 1) {
            assert_eq!(finding.state, State::Unknown, "{}", finding.name);
        }
    }

    #[tokio::test]
    async fn without_an_agent_there_is_advice() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().to_owned());
        let error = doctor(path, &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("casemate dev"), "{error}");
    }
}
