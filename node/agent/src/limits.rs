//! Other limits than the built-in ones, by their names: of the partition, and of the agent itself.

use casemate_channel::Limits;
use serde::{Deserialize, Serialize};

/// Smallest value of any limit: with none at all nothing would be served.
const VALUE_MIN: u64 = 1;
/// Largest value of any limit but those of [`RANGES`].
const VALUE_MAX: u64 = 1 << 32;
/// Limits with bounds of their own: a key's record names all its versions and has to fit into a
/// transaction; with less of a reserve the disk may be full before work under way has ended.
const RANGES: [(&str, u64, u64); 4] = [
    ("versions_max", 1, 10_000),
    ("disk_reserve_bytes", 48 << 20, 1 << 50),
    ("streams_max", 1, (1 << 32) - 1),
    // What the HTTP library reads at least.
    ("header_bytes_max", 8 << 10, 16 << 20),
];

/// Bounds of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentLimits {
    /// Time for a client to send its TLS hello.
    pub(crate) hello_timeout_ms: u64,
    /// Connections that wait at the gate, of one address.
    pub(crate) waiting_per_address_max: usize,
    /// Connections that wait at the gate, of all.
    pub(crate) waiting_max: usize,
    /// How long a connection waits for a partition that starts again.
    pub(crate) partition_wait_ms: u64,
    /// Connections of the management listener.
    pub(crate) management_connections_max: usize,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            hello_timeout_ms: 5_000,
            waiting_per_address_max: 1_024,
            waiting_max: 8_192,
            partition_wait_ms: 10_000,
            management_connections_max: 16,
        }
    }
}

/// The limits of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllLimits {
    pub(crate) partition: Limits,
    pub(crate) agent: AgentLimits,
}

/// One limit that shall have another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitChange {
    /// The limit, as docs/operate/limits.md names it.
    pub name: String,
    /// The value, in the limit's unit.
    pub value: u64,
}

/// Why a limit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitRefusal {
    /// No such limit.
    #[error("there is no limit {name:?}; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A value that this limit cannot have.
    #[error("{name} cannot be {value}; use {least} to {most}")]
    Value {
        /// The limit.
        name: String,
        /// The value.
        value: u64,
        /// The smallest it can be.
        least: u64,
        /// The largest it can be.
        most: u64,
    },
}

/// The built-in limits with these changes.
///
/// # Errors
/// The first change that cannot be.
pub(crate) fn changed(changes: &[LimitChange]) -> Result<AllLimits, LimitRefusal> {
    let mut limits = AllLimits::default();
    for change in changes {
        change.check()?;
        if let Some(partition) = with(&limits.partition, change)? {
            limits.partition = partition;
        } else if let Some(agent) = with(&limits.agent, change)? {
            limits.agent = agent;
        } else {
            let known = [names(&limits.partition), names(&limits.agent)].concat().join(", ");
            return Err(LimitRefusal::Unknown { name: change.name.clone(), known });
        }
    }
    Ok(limits)
}

impl LimitChange {
    fn check(&self) -> Result<(), LimitRefusal> {
        let (least, most) = self.range();
        if (least..=most).contains(&self.value) { Ok(()) } else { Err(self.refused()) }
    }

    fn range(&self) -> (u64, u64) {
        let own = RANGES.into_iter().find(|(name, ..)| *name == self.name);
        own.map_or((VALUE_MIN, VALUE_MAX), |(_, least, most)| (least, most))
    }

    fn refused(&self) -> LimitRefusal {
        let (least, most) = self.range();
        LimitRefusal::Value { name: self.name.clone(), value: self.value, least, most }
    }
}

/// The limits with this change; `None` if it is not one of them.
fn with<L>(limits: &L, change: &LimitChange) -> Result<Option<L>, LimitRefusal>
where
    L: Serialize + for<'de> Deserialize<'de>,
{
    let mut members = members(limits);
    let Some(member) = members.get_mut(change.name.as_str()) else { return Ok(None) };
    *member = change.value.into();
    serde_json::from_value(members.into()).map(Some).map_err(|_| change.refused())
}

fn names(limits: &impl Serialize) -> Vec<String> {
    members(limits).keys().cloned().collect()
}

fn members(limits: &impl Serialize) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(limits) {
        Ok(serde_json::Value::Object(members)) => members,
        Ok(_) | Err(_) => serde_json::Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, value: u64) -> LimitChange {
        LimitChange { name: name.to_owned(), value }
    }

    #[test]
    fn each_limit_can_be_another_and_the_rest_stays() {
        let changes =
            [change("pool_queue_max", 7), change("waiting_max", 3), change("versions_max", 9)];
        let limits = changed(&changes).unwrap();
        let partition = Limits { pool_queue_max: 7, versions_max: 9, ..Limits::default() };
        assert_eq!(limits.partition, partition);
        assert_eq!(limits.agent, AgentLimits { waiting_max: 3, ..AgentLimits::default() });
        let twice = changed(&[change("idle_timeout_ms", 1), change("idle_timeout_ms", 2)]);
        let partition = Limits { idle_timeout_ms: 2, ..Limits::default() };
        assert_eq!(twice.unwrap(), AllLimits { partition, ..AllLimits::default() });
        assert_eq!(changed(&[]).unwrap(), AllLimits::default());
    }

    #[test]
    fn what_is_no_limit_is_refused_with_the_names() {
        for name in ["", "pool_queue", "POOL_QUEUE_MAX", "version"] {
            let refused = changed(&[change(name, 7)]).unwrap_err().to_string();
            assert!(refused.contains("caller_requests_max"), "{refused}");
            assert!(refused.contains("hello_timeout_ms"), "{refused}");
        }
        for (name, value) in [
            ("pool_queue_max", 0),
            ("pool_queue_max", u64::MAX),
            ("streams_max", 1 << 32),
            ("versions_max", 10_001),
            ("disk_reserve_bytes", (48 << 20) - 1),
            ("waiting_max", 0),
        ] {
            let refused = changed(&[change(name, value)]).unwrap_err();
            assert!(matches!(refused, LimitRefusal::Value { .. }), "{name} {value}");
        }
    }

    #[test]
    fn what_a_refusal_offers_is_taken() {
        for name in names(&Limits::default()).iter().chain(&names(&AgentLimits::default())) {
            let (least, most) = change(name, 0).range();
            for value in [least, most] {
                assert!(changed(&[change(name, value)]).is_ok(), "{name} {value}");
            }
        }
    }

    #[test]
    fn the_page_names_every_limit_with_its_default() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate/limits.md");
        let page = std::fs::read_to_string(page).unwrap();
        let mut limits = members(&Limits::default());
        limits.extend(members(&AgentLimits::default()));
        for (name, value) in limits {
            let line = page.lines().find(|line| line.contains(&format!("`{name}`")));
            let line = line.unwrap_or_else(|| panic!("docs/operate/limits.md lacks {name}"));
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace(' ', "")).collect();
            assert!(cells.contains(&value.to_string()), "{name} is {value}: {line}");
        }
    }
}
