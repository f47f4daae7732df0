//! Every patch of `tests/mutants` still fits the tree: a mutant that no longer applies proves
//! nothing, and nobody would notice before the next long proof.

use super::Breach;
use crate::workspace::File;

pub(super) fn check(files: &[File]) -> Vec<Breach> {
    let patches = files
        .iter()
        .filter(|file| file.path.starts_with("tests/mutants/") && file.ending() == "patch");
    patches.flat_map(|patch| judge(patch, files)).collect()
}

fn judge(patch: &File, files: &[File]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let (mut target, mut before) = (None, String::new());
    // One more line than there is, so that the last hunk is closed too.
    for (at, line) in patch.text.lines().chain(["@@"]).enumerate() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            target = files.iter().find(|file| file.path == path);
            if target.is_none() {
                breaches.push(Breach::at(patch, at + 1, format!("there is no file `{path}`")));
            }
        } else if line.starts_with("@@") || line.starts_with("diff ") {
            let fits = target.is_none_or(|file| file.text.contains(&before));
            if !fits {
                breaches.push(Breach::at(patch, at, "the hunk that ends here no longer applies"));
            }
            before.clear();
        } else if line.is_empty() {
            before.push_str(if before.is_empty() { "" } else { "\n" });
        } else if let Some(old) = line.strip_prefix(' ').or_else(|| removed(line)) {
            before.push_str(old);
            before.push('\n');
        }
    }
    breaches
}

fn removed(line: &str) -> Option<&str> {
    line.strip_prefix('-').filter(|_| !line.starts_with("--- "))
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    const PATCH: &str = "# promise: 1\n# test: -p a\n\ndiff --git a/s.rs b/s.rs\n--- a/s.rs\n\
                         +++ b/s.rs\n@@ -1,3 +1,3 @@\n one();\n-two();\n+nothing();\n three();\n";

    fn judge(path: &str, text: &str) -> Vec<String> {
        let files = [file("tests/mutants/m.patch", PATCH), file(path, text)];
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_patch_that_fits_is_fine() {
        assert!(judge("s.rs", "zero();\none();\ntwo();\nthree();\nfour();\n").is_empty());
    }

    #[test]
    fn one_that_no_longer_fits_is_a_breach() {
        let says = judge("s.rs", "one();\n2();\nthree();\n");
        assert_eq!(says.len(), 1);
        assert!(says[0].contains("no longer applies"), "{says:?}");
    }

    #[test]
    fn one_whose_file_is_gone_is_a_breach() {
        let says = judge("t.rs", "one();\ntwo();\nthree();\n");
        assert_eq!(says, ["tests/mutants/m.patch:6: there is no file `s.rs`"]);
    }
}
