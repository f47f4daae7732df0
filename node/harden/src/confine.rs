//! Another root folder and another user, where the agent is root.

use nix::unistd::{Gid, Uid, chdir, chroot, geteuid, setgroups, setresgid, setresuid};

use crate::enter::{HardenError, Plan};
use crate::report::{Measure, Report};

const RUN_AS_ROOT: &str =
    "start the agent as root to give each partition its own user and root folder";

/// Makes the plan's folder the root folder.
pub(crate) fn root_folder(plan: &Plan, report: &mut Report) -> Result<(), HardenError> {
    let Some(root) = &plan.root else {
        report.add(Measure::missing("root folder", "the system's root is visible", RUN_AS_ROOT));
        return Ok(());
    };
    chroot(root.as_path()).map_err(HardenError::step("change the root folder"))?;
    chdir("/").map_err(HardenError::step("enter the new root folder"))?;
    report.add(Measure::active("root folder", root.display().to_string()));
    Ok(())
}

/// Becomes the plan's user and group, for good.
pub(crate) fn user(plan: &Plan, report: &mut Report) -> Result<(), HardenError> {
    let Some((uid, gid)) = plan.uid_gid else {
        let state = format!("the agent's user {}", geteuid());
        report.add(Measure::missing("own user", state, RUN_AS_ROOT));
        return Ok(());
    };
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(HardenError::step("leave all groups"))?;
    setresgid(group, group, group).map_err(HardenError::step("change the group"))?;
    setresuid(user, user, user).map_err(HardenError::step("change the user"))?;
    if user.is_root() || setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(HardenError::RightsRemain);
    }
    report.add(Measure::active("own user", format!("user {uid}, group {gid}, no capabilities")));
    Ok(())
}
