//! Refusals about role assignments and definitions.

use casemate_hsm::rbac::{
    AssignRefusal, DefineRefusal, DeleteAssignmentRefusal, DeleteDefinitionRefusal,
};

use super::{Problem, S, commit, sentence};

/// The error inside, where the settings keep duties apart.
const SEPARATION: &str = "SeparationOfDuties";

pub(super) fn assign(refusal: &AssignRefusal) -> Problem {
    let exists = || {
        let message = format!("{} Delete that one first to replace it.", sentence(refusal));
        Problem::conflict(message)
    };
    match refusal {
        AssignRefusal::RoleNotFound(_) | AssignRefusal::Nobody => Problem::bad(sentence(refusal)),
        AssignRefusal::NameTaken(_) | AssignRefusal::Duplicate(_) => exists(),
        AssignRefusal::ReservedRole { .. } | AssignRefusal::ToOneself => {
            Problem::forbidden(sentence(refusal))
        }
        AssignRefusal::MaybeToOneself => unsure(sentence(refusal)),
        AssignRefusal::KeptApart(_) => kept_apart(sentence(refusal)),
        AssignRefusal::TooMany(_) => Problem::conflict(format!(
            "{} Delete assignments that nobody needs, or assign to groups.",
            sentence(refusal)
        )),
        AssignRefusal::RestIsKept(_) => {
            Problem::conflict(format!("{} Ask an Administrator.", sentence(refusal)))
        }
        AssignRefusal::ShareIsUsed { .. } => Problem::conflict(format!(
            "{} Delete some of them, assign to groups, or ask an Administrator.",
            sentence(refusal)
        )),
        AssignRefusal::Commit(refusal) => commit(refusal),
    }
}

pub(super) fn delete_assignment(refusal: &DeleteAssignmentRefusal) -> Problem {
    match refusal {
        DeleteAssignmentRefusal::NotFound => no_such_assignment(),
        DeleteAssignmentRefusal::LastAdministrator => Problem::conflict(format!(
            "{} Assign the role to another principal first.",
            sentence(refusal)
        )),
        DeleteAssignmentRefusal::OwnAdministrator => {
            Problem::conflict(format!("{} Let another Administrator do it.", sentence(refusal)))
        }
        DeleteAssignmentRefusal::ReservedRole { .. } => Problem::forbidden(sentence(refusal)),
        DeleteAssignmentRefusal::Commit(refusal) => commit(refusal),
    }
}

/// What cannot be decided is refused.
fn unsure(reason: String) -> Problem {
    Problem::forbidden(format!(
        "{reason} Let an Administrator do it, or call with a token that lists all groups."
    ))
}

pub(super) fn define(refusal: &DefineRefusal) -> Problem {
    match refusal {
        DefineRefusal::NotAtRoot => Problem::bad(sentence(refusal)),
        // The text of the original.
        DefineRefusal::BuiltIn => Problem::bad(
            "Cannot re-use the name/GUID matching that of a built-in role. Please use a unique \
             role ID.",
        ),
        DefineRefusal::NameTaken(_) => {
            Problem::conflict(format!("{} Choose another name.", sentence(refusal)))
        }
        DefineRefusal::WouldRevive(_) => Problem::conflict(format!(
            "{} Delete them first, or choose another id.",
            sentence(refusal)
        )),
        DefineRefusal::Reserved(_) | DefineRefusal::ToOneself => {
            Problem::forbidden(sentence(refusal))
        }
        DefineRefusal::MaybeToOneself => unsure(sentence(refusal)),
        DefineRefusal::KeptApart(_) => kept_apart(sentence(refusal)),
        DefineRefusal::TooMany(_) => Problem::conflict(format!(
            "{} Delete definitions that nobody needs.",
            sentence(refusal)
        )),
        DefineRefusal::Commit(refusal) => commit(refusal),
    }
}

pub(super) fn delete_definition(refusal: &DeleteDefinitionRefusal) -> Problem {
    match refusal {
        DeleteDefinitionRefusal::NotAtRoot | DeleteDefinitionRefusal::BuiltIn => {
            Problem::bad(sentence(refusal))
        }
        DeleteDefinitionRefusal::NotFound => no_such_definition(),
        DeleteDefinitionRefusal::Reserved(_) => Problem::forbidden(sentence(refusal)),
        DeleteDefinitionRefusal::Commit(refusal) => commit(refusal),
    }
}

fn kept_apart(text: String) -> Problem {
    let message = format!("{text} Give one of the duties to another principal.");
    Problem::forbidden(message).inner(SEPARATION)
}

pub(super) fn no_such_assignment() -> Problem {
    let message = "Requested role assignment not found";
    Problem::new(S::NOT_FOUND, "RoleAssignmentNotFound", message)
}

pub(super) fn no_such_definition() -> Problem {
    let message = "Requested role definition not found";
    Problem::new(S::NOT_FOUND, "RoleDefinitionNotFound", message)
}
