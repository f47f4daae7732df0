//! One transaction, and the reads, as statements on the open connection.

use casemate_store_port::{Entry, Event, Expect, Path, PathError, Revision, Transaction, Write};
use rusqlite::{Connection, OptionalExtension, Row};

const REVISION_OF: &str = "SELECT revision FROM record WHERE path = ?1";
const PUT: &str = "INSERT INTO record (path, value, revision) VALUES (?1, ?2, ?3) \
     ON CONFLICT (path) DO UPDATE SET value = excluded.value, revision = excluded.revision";
const DELETE: &str = "DELETE FROM record WHERE path = ?1";
const READ: &str = "SELECT path, value, revision FROM record WHERE path = ?1";
const READ_ALL: &str = "SELECT path, value, revision FROM record ORDER BY path";

/// Whether every precondition holds, as of now in this SQLite transaction.
pub(crate) fn holds(connection: &Connection, expect: &[(Path, Expect)]) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(REVISION_OF)?;
    for (path, expected) in expect {
        let found: Option<u64> =
            statement.query_row([path.as_str()], |row| row.get(0)).optional()?;
        let expected = match expected {
            Expect::Absent => None,
            Expect::At(Revision(revision)) => Some(*revision),
        };
        if found != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does the writes under one new revision, all or none.
pub(crate) fn write(
    connection: &Connection,
    transaction: Transaction,
    revision: Revision,
) -> rusqlite::Result<Event> {
    connection.prepare_cached("SAVEPOINT one")?.execute(())?;
    let written = write_each(connection, &transaction.writes, revision);
    if let Err(error) = written {
        // After some errors SQLite has undone the whole group already, the savepoint with it.
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK TO one; RELEASE one")?;
        }
        return Err(error);
    }
    connection.prepare_cached("RELEASE one")?.execute(())?;
    Ok(Event { revision, writes: transaction.writes })
}

fn write_each(
    connection: &Connection,
    writes: &[Write],
    revision: Revision,
) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(PUT)?;
    let mut delete = connection.prepare_cached(DELETE)?;
    for write in writes {
        match write {
            Write::Put(path, value) => put.execute((path.as_str(), value, revision.0))?,
            Write::Delete(path) => delete.execute([path.as_str()])?,
        };
    }
    Ok(())
}

/// Sets the last revision.
pub(crate) fn set_revision(connection: &Connection, revision: Revision) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE revision SET last = ?1")?.execute([revision.0])?;
    Ok(())
}

/// The last revision.
pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    connection.query_row("SELECT last FROM revision", (), |row| row.get(0).map(Revision))
}

/// One record.
pub(crate) fn read(connection: &Connection, path: &Path) -> rusqlite::Result<Option<Entry>> {
    connection.prepare_cached(READ)?.query_row([path.as_str()], entry).optional()
}

/// All records, in order of paths.
pub(crate) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    connection.prepare_cached(READ_ALL)?.query_map((), entry)?.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let path = Path::new(row.get::<_, String>(0)?).map_err(foreign)?;
    Ok(Entry { path, value: row.get(1)?, revision: Revision(row.get(2)?) })
}

/// A path that no store of ours wrote.
fn foreign(error: PathError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}
