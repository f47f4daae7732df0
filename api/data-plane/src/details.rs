//! What the record of a change says beyond its path: whom it gave what, what a value was and
//! became.
//! `docs/design/audit.md` lists the members.

mod backups;
mod keys;
mod schedules;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use casemate_audit::{Detail, DetailValue};
use casemate_audit_sinks::{Endpoint, Sink, SinkName, Sinks, Target};
use casemate_hsm::rbac::{ActionSet, Assignment, Definition, Question, Role, Scope};
use casemate_hsm::security_domain::Rotation;
use uuid::Uuid;

pub(crate) use backups::{of_backup, of_end, of_job, of_restore, of_restored};
pub(crate) use keys::{of_made, of_new, of_update};
pub use schedules::{of_removal, of_run};
pub(crate) use schedules::{of_schedule, of_schedule_change};

/// Bytes of a fingerprint that are shown.
const FINGERPRINT_BYTES: usize = 8;
/// Most assignments of a purged key that are listed; the number says how many there were.
const ASSIGNMENTS_MAX: usize = 64;

/// A role that is given or taken away.
pub(crate) fn of_assignment(role: &Role, principal: Uuid, scope: &Scope) -> Vec<Detail> {
    vec![
        text("roleDefinitionId", role.id()),
        text("roleName", role.name()),
        text("principalId", principal),
        text("scope", scope),
    ]
}

/// A role definition that is written, by its name and its data actions, or deleted.
pub(crate) fn of_definition(
    before: Option<&Definition>,
    after: Option<(&str, ActionSet)>,
) -> Vec<Detail> {
    let name_before = before.map_or("", |before| before.role_name.as_str());
    let had = before.map(Definition::actions).unwrap_or_default();
    let (name, has) = after.unwrap_or((name_before, ActionSet::default()));
    let names = |actions: ActionSet| actions.iter().map(|action| action.name().to_owned());
    let mut all = vec![text("roleName", name)];
    if before.is_some() && name_before != name {
        all.push(text("roleNameBefore", name_before));
    }
    all.push(texts("dataActionsAdded", names(has.without(had))));
    all.push(texts("dataActionsRemoved", names(had.without(has))));
    all
}

/// A setting that gets another value.
pub(crate) fn of_setting(name: &str, from: &str, to: &str) -> Vec<Detail> {
    vec![text("setting", name), text("from", from), text("to", to)]
}

/// Sinks that replace others: where they are, never their secrets.
pub(crate) fn of_sinks(before: &Sinks, after: &Sinks) -> Vec<Detail> {
    let synchronous = |sinks: &Sinks| sinks.synchronous().map_or("", SinkName::as_str).to_owned();
    let traces = |sinks: &Sinks| sinks.traces().map(|traces| traces.endpoint.authority());
    vec![
        texts("sinksBefore", before.all().iter().map(sink)),
        texts("sinks", after.all().iter().map(sink)),
        text("synchronousBefore", synchronous(before)),
        text("synchronous", synchronous(after)),
        text("tracesBefore", traces(before).unwrap_or_default()),
        text("traces", traces(after).unwrap_or_default()),
    ]
}

fn sink(sink: &Sink) -> String {
    let place = sink.endpoint().map(|to| format!(" {} {}", to.authority(), fingerprint(to)));
    let more = match &sink.target {
        Target::File { rotate_bytes, keep_files } => format!(" {rotate_bytes} {keep_files}"),
        Target::Alerts(_, rules) => {
            format!(" {}", serde_json::to_string(rules).unwrap_or_default())
        }
        _ => String::new(),
    };
    format!("{} {}{}{more}", sink.name, sink.kind(), place.unwrap_or_default())
}

/// Tells one address from another, and its roots, where the path may be a secret.
fn fingerprint(endpoint: &Endpoint) -> String {
    short_digest(&format!("{}\n{}", endpoint.as_str(), endpoint.trust_anchors))
}

/// The first bytes of the SHA-256 of a text.
fn short_digest(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// A new epoch of the security domain, and whose backups are to be forgotten.
pub(crate) fn of_rotation(rotation: Option<Rotation>) -> Vec<Detail> {
    let Some(Rotation { epoch, forget_before }) = rotation else { return Vec::new() };
    let mut all = vec![number("epoch", epoch.into())];
    all.extend(forget_before.map(|before| number("forgetBefore", before.into())));
    all
}

/// Tokens that are cut off, and from when on, once that is known.
pub(crate) fn of_cut_off(principal: Uuid, not_before: Option<i64>) -> Vec<Detail> {
    let mut all = vec![text("principalId", principal)];
    all.extend(not_before.map(|at| number("notBefore", at)));
    all
}

/// A question about somebody's rights.
pub(crate) fn of_question(question: &Question, scope: &Scope) -> Vec<Detail> {
    vec![
        text("principalId", question.principal.id),
        text("action", question.action.name()),
        text("scope", scope),
        texts("groups", question.principal.groups.iter().map(Uuid::to_string)),
    ]
}

/// The role assignments that go with a purged key.
pub fn of_purge(assignments: &[Arc<Assignment>]) -> Vec<Detail> {
    let shown = |one: &Arc<Assignment>| {
        let Assignment { name, role, principal, .. } = one.as_ref();
        format!("{name} role {role} principal {principal}")
    };
    let count = i64::try_from(assignments.len()).unwrap_or(i64::MAX);
    vec![
        number("assignmentsRemoved", count),
        texts("assignments", assignments.iter().take(ASSIGNMENTS_MAX).map(shown)),
    ]
}

fn text(name: &'static str, value: impl ToString) -> Detail {
    Detail { name: name.into(), value: DetailValue::Text(value.to_string()) }
}

fn texts(name: &'static str, values: impl Iterator<Item = String>) -> Detail {
    Detail { name: name.into(), value: DetailValue::Texts(values.collect()) }
}

fn number(name: &'static str, value: i64) -> Detail {
    Detail { name: name.into(), value: DetailValue::Number(value) }
}
