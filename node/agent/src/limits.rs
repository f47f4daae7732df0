//! Other limits for a partition than the built-in ones, by their names.

use casemate_channel::Limits;

/// Smallest value of any limit: with none at all nothing would be served.
const VALUE_MIN: u64 = 1;
/// Largest value of any limit.
const VALUE_MAX: u64 = 1 << 32;

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
    /// A value that no limit can have.
    #[error("{name} cannot be {value}; use {VALUE_MIN} to {VALUE_MAX}")]
    Value {
        /// The limit.
        name: String,
        /// The value.
        value: u64,
    },
}

/// The built-in limits with these changes.
///
/// # Errors
/// The first change that cannot be.
pub(crate) fn changed(changes: &[LimitChange]) -> Result<Limits, LimitRefusal> {
    let mut limits = Limits::default();
    for change in changes {
        limits = with(&limits, change)?;
    }
    Ok(limits)
}

fn with(limits: &Limits, change: &LimitChange) -> Result<Limits, LimitRefusal> {
    let LimitChange { name, value } = change;
    let mut members = match serde_json::to_value(limits) {
        Ok(serde_json::Value::Object(members)) => members,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let known = members.keys().cloned().collect::<Vec<_>>().join(", ");
    let Some(member) = members.get_mut(name.as_str()) else {
        return Err(LimitRefusal::Unknown { name: name.clone(), known });
    };
    let refused = || LimitRefusal::Value { name: name.clone(), value: *value };
    if !(VALUE_MIN..=VALUE_MAX).contains(value) {
        return Err(refused());
    }
    *member = (*value).into();
    serde_json::from_value(members.into()).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, value: u64) -> LimitChange {
        LimitChange { name: name.to_owned(), value }
    }

    #[test]
    fn each_limit_can_be_another_and_the_rest_stays() {
        let limits = changed(&[change("pool_queue_max", 7), change("streams_max", 3)]).unwrap();
        let expected = Limits { pool_queue_max: 7, streams_max: 3, ..Limits::default() };
        assert_eq!(limits, expected);
        assert_eq!(
            changed(&[change("idle_timeout_ms", 1), change("idle_timeout_ms", 2)]).unwrap(),
            Limits { idle_timeout_ms: 2, ..Limits::default() }
        );
        assert_eq!(changed(&[]).unwrap(), Limits::default());
    }

    #[test]
    fn what_is_no_limit_is_refused_with_the_names() {
        for name in ["", "pool_queue", "POOL_QUEUE_MAX", "version"] {
            let refused = changed(&[change(name, 7)]).unwrap_err().to_string();
            assert!(refused.contains("caller_requests_max"), "{refused}");
        }
        for (name, value) in
            [("pool_queue_max", 0), ("pool_queue_max", u64::MAX), ("streams_max", 1 << 32)]
        {
            let refused = changed(&[change(name, value)]).unwrap_err();
            assert!(matches!(refused, LimitRefusal::Value { .. }), "{name} {value}");
        }
    }

    #[test]
    fn the_page_names_every_limit_with_its_default() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate/limits.md");
        let page = std::fs::read_to_string(page).unwrap();
        let limits = serde_json::to_value(Limits::default()).unwrap();
        for (name, value) in limits.as_object().unwrap() {
            let line = page.lines().find(|line| line.contains(&format!("`{name}`")));
            let line = line.unwrap_or_else(|| panic!("docs/operate/limits.md lacks {name}"));
            let cells: Vec<_> = line.split('|').map(|cell| cell.trim().replace(' ', "")).collect();
            assert!(cells.contains(&value.to_string()), "{name} is {value}: {line}");
        }
    }
}
