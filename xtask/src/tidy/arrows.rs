//! Which of our crates may name which: arrows point inward only.
//!
//! The table is the whole rule. A crate that is not in it may name none of ours, so a new crate
//! must be written down here before it can use anything.

use super::Breach;
use crate::workspace::{Arrow, Kind, Metadata, Package};

/// Folder of the crate, and the folders it may use. `/*` stands for every crate in that room.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api/control-plane", &["api/wire", "identity/token"]),
    // The audit room's door and the vocabulary of keys, which the domain's own API speaks in.
    (
        "api/data-plane",
        &[
            "api/trace",
            "api/wire",
            "identity/token",
            "hsm/core",
            "audit",
            "audit/sinks",
            "engines/port",
        ],
    ),
    ("api/trace", &[]),
    ("api/wire", &[]),
    ("audit", &[]),
    ("audit/sinks", &[]),
    // The share ceremony, and offline verification.
    ("clients/cli", &["api/wire", "audit", "hsm/quorum"]),
    ("clients/migrate", &[]),
    // A suite names its port alone; the crates that pass it use it in their tests only.
    ("engines/conformance", &["engines/port"]),
    // Verification, the checks of imports and the sealing to a place are the software engine's.
    ("engines/pkcs11", &["engines/port", "engines/soft"]),
    ("engines/port", &[]),
    // The quorum names the primitives that it needs; the engine that links a library has them.
    ("engines/soft", &["engines/port", "hsm/quorum"]),
    ("hsm/core", &["engines/port", "stores/port", "audit", "audit/sinks", "hsm/quorum"]),
    ("hsm/quorum", &[]),
    ("identity/dev-issuer", &["identity/token"]),
    ("identity/managed", &[]),
    ("identity/token", &[]),
    // The agent's further limits are in `reach`.
    ("node/agent", &["api/*", "audit", "identity/*", "node/channel", "node/harden"]),
    (
        "node/casemate",
        &["api/*", "audit", "clients/*", "engines/*", "hsm/*", "identity/*", "node/*", "stores/*"],
    ),
    ("node/channel", &[]),
    // The vocabulary of sinks and the stream; its further limits are in `reach`.
    ("node/courier", &["audit/sinks", "identity/managed", "node/channel", "node/harden"]),
    ("node/harden", &[]),
    (
        "node/partition",
        &[
            "api/*",
            "audit",
            "audit/sinks",
            "engines/*",
            "hsm/*",
            "identity/*",
            "node/channel",
            "node/harden",
            "node/seal",
            "stores/*",
        ],
    ),
    // A throw-away HSM, from the parts that a partition is made of; it serves nobody.
    (
        "node/rehearse",
        &[
            "audit",
            "engines/port",
            "engines/soft",
            "hsm/core",
            "hsm/quorum",
            "node/channel",
            "node/courier",
            "node/harden",
            "node/partition",
            "stores/embedded",
            "stores/port",
        ],
    ),
    // The formats of a seal are those of the software engine; a token is reached as an engine does.
    ("node/seal", &["engines/pkcs11", "engines/port", "engines/soft", "node/channel"]),
    ("stores/conformance", &["stores/port"]),
    ("stores/embedded", &["stores/port"]),
    ("stores/port", &[]),
    ("xtask", &[]),
];

/// Crates of others that a crate of ours must not name, and why.
const STRANGERS: &[(&str, &[&str], &str)] = &[
    (
        "hsm/core",
        &["http", "hyper", "rusqlite", "rustls", "reqwest", "aws-lc-rs", "k256", "nix"],
        "the domain does no I/O and no cryptography of its own",
    ),
    ("engines/port", &["aws-lc-rs", "k256", "aes-kw"], "a port contains no cryptography"),
    (
        "hsm/quorum",
        &["aws-lc-rs", "k256", "rsa", "nix", "tokio"],
        "the quorum's cryptography is handed in, and it does no I/O",
    ),
    ("stores/port", &["rusqlite", "aws-lc-rs"], "a port names no backend and no cipher"),
    ("api/wire", &["hyper", "tokio", "rustls"], "shapes on the wire contain no behaviour"),
];

pub(super) fn check(metadata: &Metadata) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in &metadata.packages {
        for arrow in &package.arrows {
            let target = metadata.packages.iter().find(|other| other.name == arrow.to);
            let says = match target {
                Some(target) => forbidden(package, target, arrow),
                None => stranger(package, arrow),
            };
            let manifest = format!("{}/Cargo.toml", package.folder);
            breaches.extend(says.map(|says| Breach::of(&manifest, says)));
        }
    }
    breaches
}

fn forbidden(from: &Package, to: &Package, arrow: &Arrow) -> Option<String> {
    let from_tests = is_test(&from.folder);
    let allowed = match arrow.kind {
        _ if from_tests => true,
        // What only the tests of a crate use may see the test kit and the real backends.
        Kind::Dev if to.folder == "tests/kit" || is_suite(&from.folder, &to.folder) => true,
        Kind::Dev => {
            may_use(&from.folder, &to.folder) || is_backend(&to.folder) || is_port(&to.folder)
        }
        Kind::Normal | Kind::Build => !is_test(&to.folder) && may_use(&from.folder, &to.folder),
    };
    (!allowed).then(|| format!("the arrow {} -> {} is not allowed", from.folder, to.folder))
}

fn may_use(from: &str, to: &str) -> bool {
    let row = ALLOWED.iter().find(|(folder, _)| *folder == from);
    row.is_some_and(|(_, targets)| targets.iter().any(|target| matches(target, to)))
}

fn matches(target: &str, folder: &str) -> bool {
    match target.strip_suffix("/*") {
        Some(room) => folder.strip_prefix(room).is_some_and(|rest| rest.starts_with('/')),
        None => target == folder,
    }
}

fn is_test(folder: &str) -> bool {
    folder.starts_with("tests/")
}

/// Whether `to` is the conformance suite of the room that `from` is in.
fn is_suite(from: &str, to: &str) -> bool {
    let room = |folder: &'_ str| folder.split('/').next().map(str::to_owned);
    to.ends_with("/conformance") && room(from) == room(to)
}

fn is_backend(folder: &str) -> bool {
    matches!(folder, "engines/soft" | "stores/embedded")
}

/// What holds a port; the quorum holds that of its primitives.
fn is_port(folder: &str) -> bool {
    matches!(folder, "engines/port" | "stores/port" | "hsm/quorum")
}

fn stranger(from: &Package, arrow: &Arrow) -> Option<String> {
    if arrow.kind == Kind::Dev {
        return None;
    }
    let (_, _, why) = STRANGERS
        .iter()
        .find(|(folder, names, _)| *folder == from.folder && names.contains(&arrow.to.as_str()))?;
    Some(format!("{} must not use `{}`: {why}", from.folder, arrow.to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn judge(from: &str, to: &str, kind: Kind) -> Vec<String> {
        let package = |folder: &str, arrows| Package {
            name: folder.replace('/', "-"),
            folder: folder.to_owned(),
            arrows,
        };
        let arrow = Arrow { to: to.replace('/', "-"), kind };
        let packages = vec![package(from, BTreeSet::from([arrow])), package(to, BTreeSet::new())];
        let metadata = Metadata { packages, ..Metadata::default() };
        check(&metadata).into_iter().map(|breach| breach.to_string()).collect()
    }

    #[test]
    fn arrows_of_the_plan_are_allowed() {
        for (from, to) in [
            ("api/data-plane", "hsm/core"),
            ("hsm/core", "stores/port"),
            ("engines/soft", "engines/port"),
            ("node/partition", "engines/soft"),
            ("node/casemate", "clients/cli"),
            ("tests/system", "hsm/core"),
        ] {
            assert_eq!(judge(from, to, Kind::Normal), Vec::<String>::new(), "{from} -> {to}");
        }
    }

    #[test]
    fn arrows_outward_or_sideways_are_not() {
        for (from, to) in [
            ("hsm/core", "api/wire"),
            ("hsm/core", "engines/soft"),
            ("api/control-plane", "hsm/core"),
            ("node/agent", "engines/port"),
            ("node/partition", "node/agent"),
            ("clients/cli", "hsm/core"),
            ("stores/port", "stores/embedded"),
            ("identity/token", "identity/dev-issuer"),
            ("node/casemate", "tests/kit"),
            ("not/known", "api/wire"),
        ] {
            let says = judge(from, to, Kind::Normal);
            assert_eq!(says.len(), 1, "{from} -> {to}");
            assert!(says[0].contains("is not allowed"), "{says:?}");
        }
    }

    #[test]
    fn only_tests_of_a_crate_may_use_the_kit_and_the_backends() {
        assert!(judge("hsm/core", "tests/kit", Kind::Dev).is_empty());
        assert!(judge("hsm/core", "stores/embedded", Kind::Dev).is_empty());
        assert_eq!(judge("hsm/core", "tests/kit", Kind::Normal).len(), 1);
        assert_eq!(judge("hsm/core", "tests/kit", Kind::Build).len(), 1);
        assert_eq!(judge("hsm/core", "tests/system", Kind::Dev).len(), 1);
        assert_eq!(judge("hsm/core", "api/wire", Kind::Dev).len(), 1);
    }

    #[test]
    fn the_domain_knows_no_http() {
        let arrows = |kind| BTreeSet::from([Arrow { to: "hyper".to_owned(), kind }]);
        let metadata = |kind| Metadata {
            packages: vec![Package {
                name: "casemate-hsm".to_owned(),
                folder: "hsm/core".to_owned(),
                arrows: arrows(kind),
            }],
            ..Metadata::default()
        };
        assert_eq!(check(&metadata(Kind::Normal)).len(), 1);
        assert_eq!(check(&metadata(Kind::Dev)).len(), 0);
    }
}
