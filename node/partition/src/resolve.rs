//! Gives each change that an earlier process began its outcome, from what the store holds.
//!
//! An intent says which was the store's last change when it was recorded. A record that was written
//! later was written by that change or by one whose own records stand behind the intent; where
//! there are such, nobody can say which, and the outcome says so.

use casemate_audit::{KeyFacts, OpenIntent, Phase, Record, Trail, TrailError, Verdict};
use casemate_hsm::{Door, KeyName};

/// Records the outcomes of all changes that were left open.
pub(crate) async fn left_open(trail: &Trail, hsm: &Door) -> Result<(), TrailError> {
    for intent in trail.take_left_open() {
        let (done, description) = judge(&Found::of(&intent, hsm));
        let call = intent.call();
        let key = intent.key.as_deref().map(|name| KeyFacts { name, ..KeyFacts::default() });
        let outcome = trail.append(&Record {
            phase: Phase::Outcome,
            operation: &intent.operation,
            call: &call,
            verdict: Verdict::Resolved { done, description: &description },
            permit: None,
            key,
            intent: Some(&intent.recorded),
        });
        outcome.await?;
    }
    Ok(())
}

/// What is known of a change and of the thing it was about.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// It takes the thing away.
    removes: bool,
    /// The store's last change when the intent was recorded; 0 if that is not known.
    before: u64,
    /// The change that last wrote the thing, if there is the thing; `None` if it is not known what
    /// the change was about.
    written: Option<Option<u64>>,
    /// Other changes of the same thing were recorded after the intent.
    contested: bool,
}

impl Found {
    fn of(intent: &OpenIntent, hsm: &Door) -> Self {
        let key = intent.key.as_deref().and_then(|name| KeyName::new(name).ok());
        let last = intent.request_uri.rsplit('/').next().unwrap_or_default();
        let written = match intent.operation.as_str() {
            "RoleAssignmentCreate" | "RoleAssignmentDelete" => {
                last.parse().ok().map(|name| hsm.assignment_written(name))
            }
            "RoleDefinitionCreateOrUpdate" | "RoleDefinitionDelete" => {
                last.parse().ok().map(|id| hsm.definition_written(id))
            }
            "SettingUpdate" => Some(hsm.setting_written(last)),
            // Of one that is there nobody can say who wrote it last: its progress is written too.
            "BackupScheduleDelete" => Some(hsm.schedule_written(last)),
            "KeyRestore" => key.map(|name| hsm.restored_key_written(&name)),
            // The start of the work, which by itself changes no key.
            "KeySelectiveRestore" => None,
            "SecurityDomainBackup"
            | "SecurityDomainRestore"
            | "SecurityDomainTransferKeyGet"
            | "SecurityDomainRotate" => Some(hsm.security_domain_written()),
            operation if operation.starts_with("Key") => key.map(|name| hsm.key_written(&name)),
            _ => None,
        };
        Self {
            removes: matches!(
                intent.operation.as_str(),
                "KeyPurge"
                    | "RoleAssignmentDelete"
                    | "RoleDefinitionDelete"
                    | "BackupScheduleDelete"
            ),
            before: intent.consistency,
            written,
            contested: intent.contested,
        }
    }
}

/// Whether the change was done, and how that is known.
fn judge(found: &Found) -> (Option<bool>, String) {
    let Found { removes, before, written, contested } = *found;
    let Some(written) = written.filter(|_| before > 0) else {
        return (
            None,
            "found open at start; the store does not tell whether it was done".to_owned(),
        );
    };
    let of = |text: &str| format!("found open at start, intended after change {before}: {text}");
    match written {
        Some(at) if at <= before => {
            (Some(false), of(&format!("the store holds it as of change {at}")))
        }
        _ if contested => (None, of("other changes of the same followed; the store cannot tell")),
        Some(at) if removes => {
            (None, of(&format!("the store still holds it, written by change {at}")))
        }
        Some(at) => (Some(true), of(&format!("the store holds it as of change {at}"))),
        None if removes => (Some(true), of("the store does not hold it")),
        None => (Some(false), of("the store does not hold it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: Found =
        Found { removes: false, before: 10, written: Some(Some(11)), contested: false };

    fn done(found: Found) -> Option<bool> {
        judge(&found).0
    }

    #[test]
    fn what_was_not_written_since_was_not_done() {
        for contested in [false, true] {
            for removes in [false, true] {
                let found = Found { written: Some(Some(10)), contested, removes, ..FOUND };
                assert_eq!(done(found), Some(false));
            }
        }
        assert_eq!(done(Found { written: Some(None), ..FOUND }), Some(false), "not created");
    }

    #[test]
    fn what_was_written_since_was_done_by_the_only_one_who_tried() {
        assert_eq!(done(FOUND), Some(true));
        assert_eq!(done(Found { removes: true, written: Some(None), ..FOUND }), Some(true));
    }

    #[test]
    fn what_the_store_cannot_tell_is_not_guessed() {
        assert_eq!(done(Found { contested: true, ..FOUND }), None);
        assert_eq!(done(Found { contested: true, written: Some(None), ..FOUND }), None);
        assert_eq!(done(Found { removes: true, ..FOUND }), None);
        assert_eq!(done(Found { written: None, ..FOUND }), None);
        assert_eq!(done(Found { before: 0, ..FOUND }), None, "an intent of an older release");
    }
}
