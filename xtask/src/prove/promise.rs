//! Reads `tests/promises.json`: which tests prove which promise, at which counts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Claim;
use crate::failure::Failure;
use crate::workspace::{Workspace, read};

/// One promise of `docs/threat-model.md`, and the run that proves it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// Its number and name.
    pub(super) promise: String,
    /// Arguments of `cargo test`.
    pub(super) test: Vec<String>,
    /// Environment variables that set the full counts.
    pub(super) counts: BTreeMap<String, String>,
}

impl Promise {
    pub(super) fn claim(&self) -> Claim {
        let counts = self.counts.iter().map(|(name, value)| format!("{name}={value}"));
        Claim::new(&self.promise, &self.test, counts.collect::<Vec<_>>().join(" "))
    }
}

pub(super) fn read_all(workspace: &Workspace) -> Result<Vec<Promise>, Failure> {
    let path = workspace.root.join("tests/promises.json");
    let json = serde_json::from_slice(&read(&path)?)
        .map_err(|source| Failure::Json { path: path.clone(), source })?;
    parse(&json, &path)
}

fn parse(json: &Value, path: &Path) -> Result<Vec<Promise>, Failure> {
    let lacks = |field| Failure::FieldMissing { path: path.to_owned(), field };
    let list = json.as_array().ok_or(lacks("a list"))?;
    let one = |entry: &Value| {
        let test = entry["test"].as_array().ok_or(lacks("test"))?;
        let counts = entry["counts"].as_object().ok_or(lacks("counts"))?;
        Ok(Promise {
            promise: entry["promise"].as_str().ok_or(lacks("promise"))?.to_owned(),
            test: test.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            counts: counts
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
        })
    };
    list.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_a_promise() {
        let json = json!([{"promise": "1 durable", "test": ["-p", "a"], "counts": {"N": "9"}}]);
        let promises = parse(&json, Path::new("p.json")).expect("good");
        assert_eq!(promises[0].test, ["-p", "a"]);
        assert_eq!(promises[0].counts["N"], "9");
    }

    #[test]
    fn a_promise_that_lacks_anything_is_refused() {
        for field in ["promise", "test", "counts"] {
            let mut entry = json!({"promise": "1", "test": [], "counts": {}});
            entry[field] = Value::Null;
            let failure = parse(&json!([entry]), Path::new("p.json")).expect_err(field);
            assert!(failure.to_string().contains(field), "{failure}");
        }
        assert!(parse(&json!({}), Path::new("p.json")).is_err());
    }
}
