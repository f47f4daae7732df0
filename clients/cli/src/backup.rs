//! `casemate backup …`: what can be typed. It is carried out where an HSM can be made.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

/// Longest file with a token, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 8 * 1024;

/// Commands over full backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Restore a backup into an HSM that is made for it and thrown away, and compare: every key
    /// version, whether it works, attributes, roles. No HSM that is in use is asked or touched.
    Verify(Box<BackupVerify>),
}

/// What is verified, and with what.
#[derive(Debug, Args)]
pub struct BackupVerify {
    /// The backup: the URL that its status told, or the path of a folder with its objects.
    pub backup: String,
    /// Compare the restored HSM with this backup instead, and tell what differs.
    #[arg(long, value_name = "BACKUP")]
    pub against: Option<String>,
    /// A file with what opens the target: a shared access signature, or S3 keys as a query.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The security domain's file; needs --key.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with_all = ["node_folder", "hsm"])]
    pub domain: Option<PathBuf>,
    /// Officers' keys, PEM; each with its certificate beside it: NAME.key and NAME.cer.
    #[arg(long, value_name = "NAME.key", requires = "domain")]
    pub key: Vec<PathBuf>,
    /// An HSM of the same domain on this node, whose seal is read as the node reads it.
    #[arg(long, value_name = "NAME", required_unless_present_any = ["domain", "node_folder"])]
    pub hsm: Option<String>,
    /// The file of that node.
    #[arg(long, value_name = "FILE", default_value = "/etc/casemate/node.toml", requires = "hsm",
          conflicts_with_all = ["node_folder", "domain"])]
    pub config: PathBuf,
    /// The folder of an HSM of the same domain, whose seal `seal.key` in it opens.
    #[arg(long, value_name = "DIR", conflicts_with = "hsm")]
    pub node_folder: Option<PathBuf>,
    /// Where the throw-away HSM is made [default: the system's folder for temporary files].
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
}

/// A file with a token cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read; give the path of a file with one line", path.display())]
pub struct TokenFileError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Reads a file with a token: its one line, without the end of it.
///
/// # Errors
/// When it cannot be read.
pub fn token_file(path: Option<&Path>) -> Result<String, TokenFileError> {
    let Some(path) = path else { return Ok(String::new()) };
    let fails = |cause| TokenFileError { path: path.to_owned(), cause };
    let length = std::fs::metadata(path).map_err(fails)?.len();
    if length > TOKEN_FILE_BYTES_MAX {
        return Err(fails(io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(fails)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "?sv=1&sig=x\r\n").unwrap();
        assert_eq!(token_file(Some(&path)).unwrap(), "?sv=1&sig=x");
        assert_eq!(token_file(None).unwrap(), "");
        std::fs::write(&path, "x".repeat(8 * 1024 + 1)).unwrap();
        assert!(token_file(Some(&path)).is_err());
        assert!(token_file(Some(&dir.path().join("none"))).is_err());
    }
}
