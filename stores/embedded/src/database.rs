//! Creates, opens and checks the database file.
//!
//! The file may have been written by anybody: its schema must be exactly ours, triggers and views
//! are off, and what does not fit is reported as damage, never repaired.

use std::fs::{File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path as FilePath;

use casemate_store_port::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::failure::{failure, unavailable};

/// The database in the store's folder.
pub const DATABASE_FILE: &str = "records.db";

/// The version of the tables. A database with another one is refused.
pub const SCHEMA_VERSION: i32 = 1;

/// `Cmst`: marks the file as ours.
const APPLICATION_ID: i32 = 0x436d_7374;

/// An ordinary rowid table with an index: `without rowid` was measured at half the commits and
/// twice the space, since sealed values do not fit into index pages.
const RECORD_TABLE: &str = "CREATE TABLE record (path TEXT NOT NULL PRIMARY KEY, \
     value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT";

/// The last revision: it outlives the records that carried it.
const REVISION_TABLE: &str = "CREATE TABLE revision (one INTEGER NOT NULL PRIMARY KEY \
     CHECK (one = 1), last INTEGER NOT NULL) STRICT";

/// Statements that are kept prepared.
const STATEMENTS_MAX: usize = 16;

/// Settings that hold for this connection only.
///
/// - `locking_mode=EXCLUSIVE`: one process owns the database. It keeps others out and needs no
///   shared-memory file.
/// - `synchronous=FULL`: the log is synced before a commit returns. `fullfsync` and
///   `checkpoint_fullfsync` stay off: they matter on macOS only. Checkpoints stay automatic, at
///   1,000 pages, in the writing thread: 4 MB of log, and pauses of some milliseconds.
/// - `temp_store=MEMORY`: in its root folder the process may write nothing else.
/// - `mmap_size=0`: a file cut from outside must be an error, not a signal.
/// - `secure_delete=FAST`: zeroes what is deleted where that costs no extra write.
const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; \
     PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; \
     PRAGMA secure_delete = FAST;";

/// Opens the database in this folder, and creates it if there is none.
pub(crate) fn open(dir: &FilePath) -> Result<Connection, StoreError> {
    let path = dir.join(DATABASE_FILE);
    create_file(dir, &path).map_err(|error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full { place: dir.display().to_string() }
        }
        _ => unavailable(error),
    })?;
    let connection = connect(&path).map_err(|error| failure(error, dir))?;
    let found = inspect(&connection).map_err(|error| failure(error, dir))?;
    match found {
        Found::Nothing => initialise(&connection).map_err(|error| failure(error, dir))?,
        Found::Ours => check_tables(&connection, dir)?,
        Found::Foreign { application } => {
            let text = format!("{} is not a Casemate store (id {application:#x})", path.display());
            return Err(StoreError::Damaged(text));
        }
        Found::OtherVersion { version } => {
            let text = format!(
                "{} has schema version {version}; this program knows only {SCHEMA_VERSION}",
                path.display()
            );
            return Err(StoreError::Damaged(text));
        }
    }
    Ok(connection)
}

enum Found {
    Nothing,
    Ours,
    Foreign { application: i32 },
    OtherVersion { version: i32 },
}

/// Makes the file, if it is not there, so that it and its name survive a power cut; SQLite gives
/// the log the same mode.
fn create_file(dir: &FilePath, path: &FilePath) -> std::io::Result<()> {
    let created = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(file) => {
            file.sync_all()?;
            File::open(dir)?.sync_all()
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

fn connect(path: &FilePath) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.execute_batch(SETTINGS)?;
    Ok(connection)
}

fn inspect(connection: &Connection) -> rusqlite::Result<Found> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let application = number("application_id")?;
    let version = number("user_version")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    // Nothing at all is what an interrupted creation leaves.
    Ok(match (application, version, tables) {
        (0, 0, 0) => Found::Nothing,
        (APPLICATION_ID, SCHEMA_VERSION, _) => Found::Ours,
        (APPLICATION_ID, version, _) => Found::OtherVersion { version },
        (application, _, _) => Found::Foreign { application },
    })
}

fn initialise(connection: &Connection) -> rusqlite::Result<()> {
    log_ahead(connection)?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {RECORD_TABLE}; {REVISION_TABLE}; \
         INSERT INTO revision (one, last) VALUES (1, 0); \
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    ))
}

fn log_ahead(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| {
        let mode: String = row.get(0)?;
        if mode == "wal" { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
    })
}

fn check_tables(connection: &Connection, dir: &FilePath) -> Result<(), StoreError> {
    let sql = |error| failure(error, dir);
    let expected = [
        ("record", Some(RECORD_TABLE.to_owned())),
        ("revision", Some(REVISION_TABLE.to_owned())),
        ("sqlite_autoindex_record_1", None),
    ];
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").map_err(sql)?;
    let found = statement
        .query_map((), |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .map_err(sql)?;
    let found = found.iter().map(|(name, sql)| (name.as_str(), sql.clone()));
    if !found.eq(expected) {
        return Err(StoreError::Damaged("its tables are not the ones of this store".to_owned()));
    }
    let report: String =
        connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(sql)?;
    if report != "ok" {
        return Err(StoreError::Damaged(report));
    }
    // A database switched to another journal would be less than durable.
    log_ahead(connection).map_err(sql)
}
