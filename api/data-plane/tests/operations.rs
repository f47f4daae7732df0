//! The published list of audit operations is what the code records, no more and no less.

use std::collections::BTreeSet;

const LIST: &str = include_str!("../../../docs/operate/audit-operations.md");
const ROUTES: [&str; 3] = [
    include_str!("../src/route.rs"),
    include_str!("../src/route/absent.rs"),
    include_str!("../src/route/schedules.rs"),
];
/// Recorded by others than a route.
const ELSEWHERE: &[&str] = &[
    "UnknownOperation",
    "PartitionStart",
    "PartitionStop",
    "RefusalsCounted",
    "FailuresCounted",
    "AuditTailCut",
    "AuditLogBegunAnew",
    "BackupEnded",
    "ScheduledBackup",
    "ScheduledBackupRemove",
    "RestoreEnded",
    "RestoreTakesOver",
    "RoleAssignmentRestored",
    "RoleAssignmentDropped",
    "SecurityDomainEpochLeft",
    "TlsKeyRequested",
    "TlsCertificateSet",
    "TlsCertificateReset",
];

/// The names that the code's functions called `operation` give.
fn recorded() -> BTreeSet<&'static str> {
    let mut names: BTreeSet<&str> = ELSEWHERE.iter().copied().collect();
    for function in ROUTES.iter().flat_map(|route| route.split("fn operation(").skip(1)) {
        let body = function.split("\n    }\n").next().unwrap_or_default();
        let arms = body.split("=> \"").skip(1);
        names.extend(arms.filter_map(|arm| arm.split('"').next()));
    }
    names
}

/// The names in the first column of the page's tables.
fn published() -> Vec<&'static str> {
    let rows = LIST.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).collect()
}

#[test]
fn every_recorded_operation_is_published_once_and_none_besides() {
    let published = published();
    let once: BTreeSet<&str> = published.iter().copied().collect();
    assert_eq!(once.len(), published.len(), "a name stands twice: {published:?}");
    let recorded = recorded();
    assert!(recorded.len() > 40, "the code's names were not found: {recorded:?}");
    let missing: Vec<_> = recorded.difference(&once).collect();
    let extra: Vec<_> = once.difference(&recorded).collect();
    assert!(missing.is_empty(), "add to docs/operate/audit-operations.md: {missing:?}");
    assert!(extra.is_empty(), "no longer recorded: {extra:?}");
}
