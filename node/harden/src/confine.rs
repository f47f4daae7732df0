//! Another root folder and another user, where the agent is root.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
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
    bring(&plan.paths, root)?;
    chroot(root.as_path()).map_err(HardenError::step("change the root folder"))?;
    chdir("/").map_err(HardenError::step("enter the new root folder"))?;
    report.add(Measure::active("root folder", root.display().to_string()));
    Ok(())
}

/// Shows what lies outside at the same path inside, for this process alone: its mounts are its own
/// and end with it.
fn bring(paths: &[PathBuf], root: &Path) -> Result<(), HardenError> {
    if paths.is_empty() {
        return Ok(());
    }
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).map_err(HardenError::step("have mounts of its own"))?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(HardenError::step("keep its mounts to itself"))?;
    for path in paths {
        let refused = |cause| HardenError::Path { path: path.clone(), cause };
        let target = place_for(path, root).map_err(refused)?;
        let bind = MsFlags::MS_BIND;
        let careful = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(path), &target, NONE, bind, NONE)
            .and_then(|()| mount(NONE, &target, NONE, bind | MsFlags::MS_REMOUNT | careful, NONE))
            .map_err(|cause| refused(cause.into()))?;
    }
    Ok(())
}

/// Makes an empty folder or file inside the root folder where the path is to be seen. Nothing of it
/// may be a link: the folder belongs to a user that is not trusted, and this is done as root.
fn place_for(path: &Path, root: &Path) -> io::Result<PathBuf> {
    let is_folder = fs::symlink_metadata(path)?.is_dir();
    let mut target = root.to_owned();
    let mut parts = path.components().peekable();
    if parts.next() != Some(Component::RootDir) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        target.push(name);
        let wants_folder = parts.peek().is_some() || is_folder;
        match fs::symlink_metadata(&target) {
            Ok(there) if there.is_dir() == wants_folder && !there.is_symlink() => {}
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && wants_folder => {
                fs::create_dir(&target)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(fs::File::create_new(&target)?);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(target)
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
