//! Landlock: one folder, and no TCP at all; or, for a process that connects, outgoing TCP and the
//! files of name resolution.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::enter::{HardenError, Plan, Reach};
use crate::report::Measure;

/// The newest landlock version these rules were written for; older kernels enforce what they know.
const REVIEWED: ABI = ABI::V6;

/// What the C library reads to find the address of a name; links are followed when this is set.
const RESOLUTION: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
];

/// Makes the rules. Must run before the root folder changes, while the path can be opened.
pub(crate) fn rules(plan: &Plan) -> Result<RulesetCreated, HardenError> {
    let folder = as_seen_now(plan);
    let opened = PathFd::new(&folder).map_err(|cause| HardenError::Step {
        step: "open the HSM's folder",
        cause: std::io::Error::other(cause),
    })?;
    let mut others = Vec::new();
    for path in &plan.paths {
        let refused = |cause| HardenError::Path { path: path.clone(), cause };
        let is_folder = std::fs::metadata(path).map_err(refused)?.is_dir();
        let opened = PathFd::new(path).map_err(|cause| refused(std::io::Error::other(cause)))?;
        others.push((opened, is_folder));
    }
    build(opened, others, plan.reach).map_err(HardenError::Files)
}

fn build(
    folder: PathFd,
    others: Vec<(PathFd, bool)>,
    reach: Reach,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let tcp = match reach {
        Reach::HandedIn | Reach::Daemon => AccessNet::from_all(REVIEWED),
        Reach::Network => AccessNet::BindTcp.into(),
    };
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(REVIEWED))?
        .handle_access(tcp)?
        .scope(Scope::from_all(REVIEWED))?
        .create()?
        .add_rule(PathBeneath::new(folder, inside()))?;
    for (path, is_folder) in others {
        let file = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
        rules = rules.add_rule(PathBeneath::new(path, if is_folder { inside() } else { file }))?;
    }
    if reach == Reach::Network {
        // One that this machine does not have is not needed either.
        for file in RESOLUTION.iter().filter_map(|file| PathFd::new(file).ok()) {
            rules = rules.add_rule(PathBeneath::new(file, BitFlags::from(AccessFs::ReadFile)))?;
        }
    }
    Ok(rules)
}

/// Sets the rules for this thread and all that it makes.
pub(crate) fn restrict(rules: RulesetCreated, reach: Reach) -> Result<Measure, HardenError> {
    let status = rules.restrict_self().map_err(HardenError::Files)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Measure::active(
            "landlock",
            match reach {
                Reach::HandedIn | Reach::Daemon => {
                    "its folder (and its token's) only; no TCP bind or connect; no foreign signal"
                }
                Reach::Network => "its folder and name resolution only; no TCP bind",
            },
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
