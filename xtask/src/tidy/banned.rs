//! Packages that must be linked by none of ours, under no system.
//!
//! Asked of `cargo tree`: it alone knows which optional dependencies are really switched on.

use super::Breach;
use crate::failure::Failure;
use crate::run::quiet_output;
use crate::workspace::Workspace;

/// The package and the reason.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one cryptographic library, and it is AWS-LC"),
    ("openssl-sys", "one cryptographic library, and it is AWS-LC"),
    ("native-tls", "TLS is rustls over AWS-LC"),
];

pub(super) fn check(workspace: &Workspace) -> Result<Vec<Breach>, Failure> {
    let mut breaches = Vec::new();
    for (name, why) in BANNED {
        if let Some(says) = judge(name, why, &tree(workspace, name)?) {
            breaches.push(Breach::of("Cargo.lock", says));
        }
    }
    Ok(breaches)
}

/// Who links the package. Cargo fails where it knows no such package, and prints nothing where
/// only a feature that is off would bring it.
fn tree(workspace: &Workspace, name: &str) -> Result<String, Failure> {
    let mut tree = workspace.cargo();
    tree.args([
        "tree",
        "--quiet",
        "--workspace",
        "--target=all",
        "--prefix=none",
        "--invert",
        name,
    ]);
    match quiet_output(&mut tree) {
        Ok(text) => Ok(text),
        Err(Failure::CommandFailed { .. }) => Ok(String::new()),
        Err(failure) => Err(failure),
    }
}

fn judge(name: &str, why: &str, tree: &str) -> Option<String> {
    let users: Vec<&str> = tree.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let (_, users) = users.split_first()?;
    Some(format!("`{name}` is linked, by {}: {why}", users.first().unwrap_or(&"a package of ours")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tree_is_fine() {
        assert_eq!(judge("ring", "why", ""), None);
        assert_eq!(judge("ring", "why", "\n"), None);
    }

    #[test]
    fn a_tree_names_who_brings_it() {
        let says = judge("ring", "why", "ring v0.17.14\nquinn v0.11.0\ncasemate v0.1.0\n");
        assert_eq!(says.as_deref(), Some("`ring` is linked, by quinn v0.11.0: why"));
        assert!(judge("ring", "why", "ring v0.17.14\n").is_some());
    }
}
