//! Landlock: one folder, and no TCP at all.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::enter::{HardenError, Plan};
use crate::report::Measure;

/// The newest landlock version these rules were written for; older kernels enforce what they know.
const REVIEWED: ABI = ABI::V6;

/// Makes the rules. Must run before the root folder changes, while the path can be opened.
pub(crate) fn rules(plan: &Plan) -> Result<RulesetCreated, HardenError> {
    let folder = as_seen_now(plan);
    let opened = PathFd::new(&folder).map_err(|cause| HardenError::Step {
        step: "open the HSM's folder",
        cause: std::io::Error::other(cause),
    })?;
    build(opened).map_err(HardenError::Files)
}

fn build(folder: PathFd) -> Result<RulesetCreated, landlock::RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(REVIEWED))?
        .handle_access(AccessNet::from_all(REVIEWED))?
        .scope(Scope::from_all(REVIEWED))?
        .create()?
        .add_rule(PathBeneath::new(folder, inside()))
}

/// Sets the rules for this thread and all that it makes.
pub(crate) fn restrict(rules: RulesetCreated) -> Result<Measure, HardenError> {
    let status = rules.restrict_self().map_err(HardenError::Files)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Measure::active(
            "landlock",
            "its folder only; no TCP bind or connect; no foreign signal",
        ),
        RulesetStatus::PartiallyEnforced => Measure::active(
            "landlock",
            "its folder only; this kernel does not know the rules for TCP or signals",
        ),
        RulesetStatus::NotEnforced => Measure::missing(
            "landlock",
            "this kernel does not offer it",
            "use a kernel from 5.13 on with landlock among its security modules",
        ),
    })
}

/// The folder's path before the root folder changes.
fn as_seen_now(plan: &Plan) -> PathBuf {
    match &plan.root {
        None => plan.folder.clone(),
        Some(root) => root.join(plan.folder.strip_prefix("/").unwrap_or(&plan.folder)),
    }
}

/// Files and folders may be made, read, changed and removed; nothing is run, no device made.
fn inside() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::Refer
}
