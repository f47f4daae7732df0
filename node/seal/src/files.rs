//! Small files: read with bounds and through no link, replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use casemate_engine_port::Secret;

use crate::error::GuardError;

/// `O_NONBLOCK`: a FIFO must not hold up the start.
const NONBLOCKING: i32 = 0o4000;
/// `O_NOFOLLOW`: the HSM's folder belongs to a user who is not trusted.
const NO_LINK: i32 = 0o400_000;

/// Reads a file that nobody but its owner may read.
///
/// # Errors
/// When it is not there, not plain, too long, or others may read it.
pub fn read_private(path: &Path, bytes_max: usize) -> Result<Secret, GuardError> {
    read_secret(path, bytes_max, true)
}

/// The same; a service manager's credential may be readable by a group, in a folder that nobody
/// else enters.
pub(crate) fn read_secret(
    path: &Path,
    bytes_max: usize,
    private: bool,
) -> Result<Secret, GuardError> {
    let io = |cause| GuardError::Io { path: path.to_owned(), cause };
    let file = match OpenOptions::new().read(true).custom_flags(NONBLOCKING).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(GuardError::NoFile { path: path.to_owned() });
        }
        Err(error) => return Err(io(error)),
    };
    let facts = file.metadata().map_err(io)?;
    if !facts.is_file() {
        return Err(GuardError::NotAFile { path: path.to_owned() });
    }
    let mode = facts.permissions().mode() & 0o7777;
    if private && mode & 0o077 != 0 {
        return Err(GuardError::Exposed { path: path.to_owned(), mode });
    }
    read_open(file, bytes_max).map_err(io).map(Secret::new)
}

/// Reads what holds no clear secret, through no link; `None` if there is nothing.
pub(crate) fn read_sealed(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, GuardError> {
    let io = |cause| GuardError::Io { path: path.to_owned(), cause };
    match OpenOptions::new().read(true).custom_flags(NONBLOCKING | NO_LINK).open(path) {
        Ok(file) if file.metadata().map_err(io)?.is_file() => {
            read_open(file, bytes_max).map(Some).map_err(io)
        }
        Ok(_) => Err(GuardError::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
    }
}

/// Room for all of it at once: what is read may be secret, and growing would leave copies.
fn read_open(file: File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(bytes_max.saturating_add(1));
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Replaces a file of mode 0600. After a crash there is the old one or the new one, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), GuardError> {
    replace_it(path, bytes).map_err(|cause| GuardError::Io { path: path.to_owned(), cause })
}

fn replace_it(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    // What a crash left behind.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
