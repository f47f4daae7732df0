//! The first steps, on the only thread: read the arguments, take the stream, give up all rights.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use casemate_channel::courier::inherit_stream;
use casemate_harden::{Plan, Reach, enter, raise_nofile};

use crate::failure::Failure;
use crate::transfer::Roots;

/// A confined process.
pub(crate) struct Boot {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Its end of the stream.
    pub(crate) stream: UnixStream,
    /// Whom targets of backups are believed by.
    pub(crate) roots: Roots,
}

/// Takes the stream and confines the process.
pub(crate) fn begin() -> Result<Boot, Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let mut arguments = std::env::args_os().skip(2);
    let folder = PathBuf::from(arguments.next().ok_or(Failure::Arguments)?);
    let user = match arguments.next() {
        None => None,
        Some(text) => {
            let user = text.to_str().and_then(|text| text.parse().ok());
            Some(user.ok_or(Failure::Arguments)?)
        }
    };
    let stream = inherit_stream().map_err(Failure::NoPartition)?;
    raise_nofile().map_err(Failure::Threads)?;
    // The random source is found while it still can be.
    let mut random = [0; 32];
    let _filled = aws_lc_rs::rand::fill(&mut random);
    // They lie where it cannot look any more when it is confined.
    let roots = Roots::of_the_machine();
    // As its own user it cannot walk down to its folder, which lies among its agent's.
    std::env::set_current_dir(&folder).map_err(Failure::Folder)?;
    let plan = Plan {
        uid_gid: user.map(|user| (user, user)),
        root: None,
        folder,
        paths: Vec::new(),
        reach: Reach::Network,
    };
    let report = enter(&plan)?;
    for (name, state) in report.facts() {
        tracing::debug!(name, state, "courier");
    }
    Ok(Boot { folder: PathBuf::from("."), stream, roots })
}
