//! A committed file names no folder of one person's machine and no host of a package registry.
//!
//! Which registry or mirror a build asks is the business of whoever builds.

use super::Breach;
use crate::workspace::File;

/// Beginnings of paths that exist on one machine only; a letter must follow.
const FOLDERS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("C:", "\\Users"),
];

/// Hosts of package registries.
const HOSTS: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("pypi", ".org"),
    concat!("proxy.", "golang.org"),
    concat!("deb.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
];

/// Settings that choose a registry.
const CHOICES: &[&str] = &["--index-url", "--extra-index-url", "replace-with"];

pub(super) fn check(file: &File) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let choices: &[&str] = if file.ending() == "rs" { &[] } else { CHOICES };
    for (index, line) in file.text.lines().enumerate() {
        let folders = FOLDERS.iter().filter(|folder| names_folder(line, folder));
        for folder in folders {
            breaches.push(Breach::at(file, index + 1, format!("names `{folder}…` of one machine")));
        }
        for host in HOSTS.iter().chain(choices).filter(|host| line.contains(**host)) {
            breaches.push(Breach::at(file, index + 1, format!("chooses a registry: `{host}`")));
        }
    }
    breaches
}

/// Is the folder named as the start of a path, with something in it?
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let after = line.get(at + folder.len()..).and_then(|tail| tail.chars().next());
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || "_-.}/".contains(c));
        starts && after.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '\\')
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::file;
    use super::*;

    #[test]
    fn each_folder_and_host_is_found() {
        for folder in FOLDERS {
            let text = format!("see \"{folder}a/b\"");
            assert_eq!(check(&file("a.md", &text)).len(), 1, "{folder}");
        }
        for host in HOSTS {
            assert_eq!(check(&file("a.toml", &format!("https://{host}/x"))).len(), 1, "{host}");
        }
        assert_eq!(check(&file("requirements.txt", CHOICES[0])).len(), 1);
    }

    #[test]
    fn relative_and_system_paths_are_fine() {
        for text in ["$HOME/.cache", "/var/lib/casemate", "/etc"] {
            assert!(check(&file("a.md", text)).is_empty(), "{text}");
        }
        for folder in FOLDERS.iter().filter(|folder| folder.starts_with('/')) {
            for text in [format!("api{folder}x"), format!("https://a.b{folder}c")] {
                assert!(check(&file("a.md", &text)).is_empty(), "{text}");
            }
        }
        let alone = format!("`{}`", FOLDERS[0]);
        assert!(check(&file("a.md", &alone)).is_empty(), "the folder itself is on every machine");
    }
}
