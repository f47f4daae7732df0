//! What is built without a word is the product: no feature is on by default, and nothing turns on
//! those that drop audit records but the benchmark.

use super::Breach;
use crate::workspace::File;

/// The features for the benchmark.
const DROPPING: [&str; 2] = ["null-sink", "no-records"];

pub(super) fn check(files: &[File]) -> Vec<Breach> {
    let manifests = files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let mut breaches = Vec::new();
    for file in manifests {
        let mut in_features = false;
        for (at, line) in file.text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('[') {
                in_features = line == "[features]";
            }
            if line.starts_with('#') {
                continue;
            }
            if in_features && line.starts_with("default") {
                let says = "a default feature: what is built without a word is the product";
                breaches.push(Breach::at(file, at + 1, says));
            }
            if !in_features && DROPPING.iter().any(|feature| line.contains(feature)) {
                let says = "turns on a feature that drops audit records";
                breaches.push(Breach::at(file, at + 1, says));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    fn judge(manifest: &str) -> usize {
        check(&[file("audit/Cargo.toml", manifest)]).len()
    }

    #[test]
    fn a_feature_may_be_declared_and_passed_on() {
        assert_eq!(judge("[features]\n# null-sink\nnull-sink = []\n"), 0);
        assert_eq!(judge("[features]\nnull-sink = [\"casemate-audit/null-sink\"]\n"), 0);
        assert_eq!(judge("[dependencies]\ntokio = { default-features = false }\n"), 0);
    }

    #[test]
    fn it_may_not_be_on() {
        assert_eq!(judge("[features]\ndefault = []\n"), 1);
        assert_eq!(judge("[features]\nnull-sink = []\ndefault = [\"null-sink\"]\n"), 1);
        let on =
            "[dependencies]\ncasemate-audit = { path = \"audit\", features = [\"null-sink\"] }\n";
        assert_eq!(judge(on), 1);
        assert_eq!(judge("[dependencies.casemate-audit]\nfeatures = [\"null-sink\"]\n"), 1);
    }
}
