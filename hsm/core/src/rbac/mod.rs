//! Who may do what, decided inside the HSM alone.

mod actions;
mod assign;
mod authorize;
mod permit;
mod roles;
mod scope;

pub use actions::{Action, ActionSet, DataAction, act};
pub use assign::{
    AssignRefusal, Assignment, AssignmentsFilter, DeleteAssignmentRefusal, NewAssignment,
};
pub use authorize::{NotAuthorized, Principal};
pub use permit::Permit;
pub use roles::{ADMINISTRATOR, BUILT_IN_ROLES, BuiltInRole, built_in_role, built_in_role_named};
pub use scope::Scope;
