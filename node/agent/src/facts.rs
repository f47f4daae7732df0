//! What the agent knows about its partition, for doctor. No secret is among it.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::inspect::Inspections;
use crate::monitor::Questions;

/// Facts about one HSM and its partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The agent's process id.
    pub agent_pid: u32,
    /// The HSM's name.
    pub hsm: String,
    /// The partition's process id while it runs.
    pub partition_pid: Option<u32>,
    /// Whether it answers requests.
    pub ready: bool,
    /// Whether it refuses calls because the audit log's disk is nearly full.
    #[serde(default)]
    pub disk_low: bool,
    /// Whether it refuses calls because the synchronous sink lacks a record.
    #[serde(default)]
    pub copy_missing: bool,
    /// Whether the HSM is active.
    #[serde(default)]
    pub activated: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// The courier's process id while it runs.
    #[serde(default)]
    pub courier_pid: Option<u32>,
    /// How often the courier was started again.
    #[serde(default)]
    pub courier_restarts: u64,
    /// What the partition says about its protections.
    pub report: Vec<(String, String)>,
    /// Why it last ended or refused.
    pub last_end: Option<String>,
    /// The HSM's URLs.
    pub urls: Vec<String>,
}

/// The facts, shared between the supervisor and those who show them.
#[derive(Debug, Default)]
pub(crate) struct SharedFacts {
    facts: Mutex<Facts>,
    /// Questions to the partition for its counts.
    pub(crate) questions: Questions,
    /// Questions to the partition for what its HSM says of itself.
    pub(crate) inspections: Inspections,
}

impl SharedFacts {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            facts: Mutex::new(facts),
            questions: Questions::default(),
            inspections: Inspections::default(),
        }
    }

    pub(crate) fn read(&self) -> Facts {
        self.facts.lock().clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock());
    }
}
