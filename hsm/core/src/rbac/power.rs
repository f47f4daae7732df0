//! Who may give and take what leads to all other rights.

use casemate_store_port::{Condition, Path};

use super::{ADMINISTRATOR, Principal, Scope};
use crate::records;
use crate::settings::Escalation;
use crate::state::State;

/// What somebody who may change rights may do with the reserved actions, and for itself.
#[derive(Clone, Debug)]
pub(super) enum Power {
    /// Everything: it is an Administrator, by an assignment that must still stand.
    Administrator((Path, Condition)),
    /// Everything: the HSM does as the original does.
    AsInTheOriginal,
    /// Nothing of it.
    Limited,
}

/// The power of a principal.
pub(super) fn power_of(state: &State, escalation: Escalation, principal: &Principal) -> Power {
    match (administrator(state, principal), escalation) {
        (Some(stands), _) => Power::Administrator(stands),
        (None, Escalation::Azure) => Power::AsInTheOriginal,
        (None, Escalation::Strict) => Power::Limited,
    }
}

/// That they hold Administrator at `/`, themselves or through a group.
fn administrator(state: &State, principal: &Principal) -> Option<(Path, Condition)> {
    let held = principal.ids().filter_map(|id| state.assignments_by_principal.get(&id)).flatten();
    let mut held = held.map(|held| &held.assignment);
    let one = held.find(|one| one.role == ADMINISTRATOR && one.scope == Scope::Root)?;
    let (_, generation) = state.assignments.get(&one.name)?;
    Some((records::assignment_path(one.name), Condition::At(*generation)))
}
