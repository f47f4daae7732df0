//! Copies of the audit log, read by software that is not ours; and nothing of a sink's secret on
//! the disk in clear.

use casemate_system_tests::python_of;
use casemate_test_kit::{Dev, places, scan};

#[test]
fn every_sink_has_the_log_whatever_hangs_refuses_or_dies() {
    let dev = Dev::fresh();
    let azurite = places::azurite().display().to_string();
    let client = python_of(&dev, &places::python_sinks(), "sinks.py");
    let out = client.variable("CASEMATE_AZURITE", &azurite).succeed("sinks.py");
    assert!(out.contains("checks"), "{out}");
    let terminal = dev.terminal();
    let stopped = dev.stop();
    let secrets = ["whsec_", "a key of thirty-two bytes, known", "shown-nowhere-else"];
    for secret in secrets {
        assert!(!terminal.contains(secret), "{secret} was written to the terminal");
    }
    for file in scan::files(&stopped.data_dir).expect("the data folder can be read") {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", file.display());
        }
    }
}
