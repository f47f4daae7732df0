//! One token, one HSM: each has a wrapping key of its own there, and as root the token's files
//! belong to the HSM's own user.
//!
//! Places are compared as they lead somewhere now: a link is another name, no other token.

use std::fs;
use std::path::{Path, PathBuf};

use casemate_channel::Pkcs11;

/// Why an HSM cannot have a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Clash {
    /// The token itself is another's.
    Token,
    /// This path of it is, or leads into, one of another's.
    Path(PathBuf),
}

/// What of this token is another's. Paths matter where each HSM has a user of its own.
pub(super) fn clash(wanted: &Pkcs11, taken: &Pkcs11, own_users: bool) -> Option<Clash> {
    let same_module = real(&wanted.module) == real(&taken.module);
    if same_module && wanted.token == taken.token {
        return Some(Clash::Token);
    }
    let theirs: Vec<PathBuf> = taken.paths.iter().map(|path| real(path)).collect();
    let meets = |path: &&PathBuf| {
        let path = real(path);
        theirs.iter().any(|their| path.starts_with(their) || their.starts_with(&path))
    };
    wanted.paths.iter().filter(|_| own_users).find(meets).cloned().map(Clash::Path)
}

/// A path of the token that holds this folder of the node's: it would be given away with it.
pub(super) fn holding<'a>(wanted: &'a Pkcs11, folder: &Path) -> Option<&'a PathBuf> {
    let folder = real(folder);
    wanted.paths.iter().find(|path| folder.starts_with(real(path)))
}

/// Where it leads, or the path itself where there is nothing yet.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place(module: &Path, token: &str, paths: &[PathBuf]) -> Pkcs11 {
        Pkcs11 {
            module: module.to_owned(),
            token: token.to_owned(),
            pin_file: PathBuf::from("/pin"),
            paths: paths.to_vec(),
            environment: Vec::new(),
            daemon: false,
        }
    }

    #[test]
    fn a_token_or_a_path_of_it_is_one_hsms_by_whatever_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for folder in ["tokens", "tokens/alpha", "other"] {
            fs::create_dir(at(folder)).expect("a folder");
        }
        fs::write(at("module.so"), "").expect("a file");
        symlink(at("module.so"), at("module-link.so")).expect("a link");
        symlink(at("tokens"), at("tokens-link")).expect("a link");
        let taken = place(&at("module.so"), "alpha", &[at("tokens/alpha")]);
        let clash = |module: &str, token: &str, path: &str, own_users| {
            super::clash(&place(&at(module), token, &[at(path)]), &taken, own_users)
        };
        assert_eq!(clash("module.so", "alpha", "other", false), Some(Clash::Token));
        assert_eq!(clash("module-link.so", "alpha", "other", true), Some(Clash::Token));
        assert_eq!(clash("another.so", "alpha", "other", true), None, "another module");
        for path in
            ["tokens", "tokens/alpha", "tokens/alpha/none", "tokens-link", "tokens-link/alpha"]
        {
            let met = clash("module.so", "beta", path, true);
            let is_expected = met == Some(Clash::Path(at(path)))
                || (path == "tokens/alpha/none" && met.is_some());
            assert!(is_expected, "{path}: {met:?}");
            assert_eq!(clash("module.so", "beta", path, false), None, "one user has all: {path}");
        }
        assert_eq!(clash("module.so", "beta", "tokens-of-beta", true), None, "a name begins alike");
    }

    #[test]
    fn no_path_holds_the_nodes_own_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let node = dir.path().join("node");
        fs::create_dir(&node).expect("a folder");
        let holding = |path: &Path| {
            let place = place(Path::new("/m.so"), "t", &[path.to_owned()]);
            super::holding(&place, &node).cloned()
        };
        for bad in [Path::new("/"), dir.path(), &node] {
            assert_eq!(holding(bad).as_deref(), Some(bad));
        }
        assert_eq!(holding(&dir.path().join("token")), None);
        assert_eq!(holding(&node.join("token")), None);
    }
}
