//! Traces of requests, at a collector that is not ours; and nothing of its secret on the disk.

use casemate_system_tests::python_of;
use casemate_test_kit::{Dev, places, scan};

#[test]
fn spans_reach_a_collector_and_hold_up_nobody() {
    let dev = Dev::fresh();
    let client = python_of(&dev, &places::python_sinks(), "traces.py");
    let out = client.succeed("traces.py");
    assert!(out.contains("checks"), "{out}");
    let terminal = dev.terminal();
    let stopped = dev.stop();
    let secret = "shown-nowhere-else";
    assert!(!terminal.contains(secret), "{secret} was written to the terminal");
    for file in scan::files(&stopped.data_dir).expect("the data folder can be read") {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "{secret} stands in {}", file.display());
    }
}
