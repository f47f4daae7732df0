//! What SQLite's refusals mean to a store.

use std::path::Path as FilePath;
use std::sync::Arc;

use casemate_store_port::StoreError;
use rusqlite::ErrorCode;

/// A failure before a commit was begun: nothing was written.
pub(crate) fn failure(error: rusqlite::Error, dir: &FilePath) -> StoreError {
    Failure::before_commit(error).to_error(dir)
}

/// Any error as "nothing was written".
pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// A failure that several transactions of one group may share.
#[derive(Clone)]
pub(crate) enum Failure {
    Full,
    Damaged(String),
    Unavailable(Arc<rusqlite::Error>),
    Unknown(Arc<rusqlite::Error>),
}

impl Failure {
    pub(crate) fn before_commit(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            Some(_) => Self::Unavailable(Arc::new(error)),
            // SQLite is content, but what it found is nothing that we write.
            None => Self::Damaged(error.to_string()),
        }
    }

    /// A failed commit. Only a full disk is certain: SQLite says so when it could not append to
    /// its log, whose frames count from the last one on. A failed sync, by contrast, may or may
    /// not have reached the disk.
    pub(crate) fn at_commit(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Unknown(Arc::new(error)),
        }
    }

    pub(crate) fn to_error(&self, dir: &FilePath) -> StoreError {
        match self {
            Self::Full => StoreError::Full { place: dir.display().to_string() },
            Self::Damaged(text) => StoreError::Damaged(text.clone()),
            Self::Unavailable(cause) => StoreError::Unavailable(Box::new(Arc::clone(cause))),
            Self::Unknown(cause) => StoreError::Unknown(Box::new(Arc::clone(cause))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    #[test]
    fn a_failed_commit_is_unknown_unless_the_disk_is_full() {
        use rusqlite::ffi::{
            SQLITE_BUSY, SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE, SQLITE_NOMEM,
        };
        let dir = FilePath::new("/data/alpha");
        for code in [SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE, SQLITE_NOMEM, SQLITE_BUSY] {
            let error = Failure::at_commit(sqlite(code)).to_error(dir);
            assert!(matches!(error, StoreError::Unknown(_)), "{code}: {error:?}");
        }
        let full = Failure::at_commit(sqlite(SQLITE_FULL)).to_error(dir);
        assert_eq!(full.to_string(), "no space left in the store at /data/alpha");
    }

    #[test]
    fn before_a_commit_nothing_is_unknown() {
        use rusqlite::ffi::{SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR_READ, SQLITE_NOTADB};
        let dir = FilePath::new("/data/alpha");
        let outcome = |code| failure(sqlite(code), dir);
        assert!(matches!(outcome(SQLITE_FULL), StoreError::Full { .. }));
        assert!(matches!(outcome(SQLITE_CORRUPT), StoreError::Damaged(_)));
        assert!(matches!(outcome(SQLITE_NOTADB), StoreError::Damaged(_)));
        assert!(matches!(outcome(SQLITE_IOERR_READ), StoreError::Unavailable(_)));
    }
}
