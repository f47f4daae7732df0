//! Who may do what, decided inside the HSM alone.

mod actions;
mod assign;
mod authorize;
mod before;
mod define;
mod definition;
mod duties;
mod explain;
mod list;
mod look;
mod permit;
mod power;
mod roles;
mod scope;

pub use actions::{Action, ActionSet, DataAction, Within, act};
pub(crate) use assign::administers;
pub use assign::{AssignRefusal, Assignment, DeleteAssignmentRefusal, Granted, NewAssignment};
pub use authorize::{NotAuthorized, Principal};
pub use define::{DefineRefusal, Defined, DeleteDefinitionRefusal};
pub use definition::{
    ControlAction, Definition, DefinitionError, Description, NewDefinition, Permission,
    Permissions, Role, RoleName,
};
pub use duties::{Duty, Together};
pub(crate) use duties::{kept_together, together};
pub use explain::{ExplainRefusal, Explanation, MissingRole, Question};
pub use list::AssignmentsFilter;
pub use permit::{AllowedBy, Permit};
pub use roles::{ADMINISTRATOR, BUILT_IN_ROLES, BuiltInRole, built_in_role, built_in_role_named};
pub use scope::Scope;
