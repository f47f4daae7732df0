//! Somebody who owns the database file changes it while the HSM is stopped: the next start says
//! why and does not serve.

use std::fs;
use std::path::{Path, PathBuf};

use casemate_test_kit::{Dev, Options, scan};
use rusqlite::Connection;
use serde_json::json;

/// A stopped HSM with two keys, the first of which was changed once since the copy was taken.
struct Stopped {
    stopped: casemate_test_kit::dev::Stopped,
    older: PathBuf,
}

/// One row of the store: its path and its sealed value.
type Row = (String, Vec<u8>);

impl Stopped {
    fn with_two_keys() -> Self {
        let dev = Dev::fresh();
        create(&dev, "first");
        create(&dev, "second");
        let stopped = dev.stop();
        let older = stopped.data_dir.with_file_name("older.db");
        copy_database(&database(&stopped.data_dir), &older);
        let dev = Dev::start(Options::in_dir(&stopped.data_dir));
        let disable = json!({ "attributes": { "enabled": false } });
        let answer = dev.rest().call("PATCH", "/keys/first/", &disable).expect("an answer");
        answer.expect_ok("disable");
        let again = dev.stop();
        drop(again);
        Self { stopped, older }
    }

    fn database(&self) -> Connection {
        open(&database(&self.stopped.data_dir))
    }

    /// The next start must fail, say this, and never serve.
    fn refuses(self, says: &[&str]) {
        let failed = Dev::try_start(Options::in_dir(&self.stopped.data_dir));
        let failed = failed.expect_err("a changed store is not served");
        let status = failed.status.expect("it ends by itself");
        assert!(!status.success(), "it ends with a failure: {status}");
        let text = failed.log.to_lowercase();
        for word in says {
            assert!(text.contains(word), "it must say {word:?}: {}", failed.log);
        }
        assert!(!self.stopped.data_dir.join("dev.env").exists(), "there is nothing to connect to");
    }
}

fn create(dev: &Dev, name: &str) {
    let body = json!({ "kty": "EC-HSM", "crv": "P-256" });
    let answer = dev.rest().call("POST", &format!("/keys/{name}/create"), &body);
    answer.expect("an answer").expect_ok("create");
}

fn database(data_dir: &Path) -> PathBuf {
    let files = scan::files(data_dir).expect("the data folder can be read");
    let is_sqlite =
        |file: &PathBuf| fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"));
    let found: Vec<_> = files.into_iter().filter(is_sqlite).collect();
    assert_eq!(found.len(), 1, "an HSM has one database: {found:?}");
    found.into_iter().next().unwrap_or_default()
}

fn open(file: &Path) -> Connection {
    Connection::open(file).expect("the database can be opened by its owner")
}

fn copy_database(from: &Path, to: &Path) {
    let escaped = to.display().to_string().replace('\'', "''");
    open(from).execute_batch(&format!("VACUUM INTO '{escaped}'")).expect("it can be copied");
}

/// The table with the sealed records, and its columns for path and value.
fn table(database: &Connection) -> (String, String, String) {
    let query = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    for name in column(database, query) {
        let columns = column(database, &format!("SELECT name FROM pragma_table_info('{name}')"));
        let find = |wanted: &str| columns.iter().find(|column| column.contains(wanted)).cloned();
        if let (Some(path), Some(value)) = (find("path"), find("value")) {
            return (name, path, value);
        }
    }
    Default::default()
}

fn column(database: &Connection, query: &str) -> Vec<String> {
    let mut statement = database.prepare(query).expect("a plain query");
    let rows = statement.query_map([], |row| row.get(0)).expect("a plain query");
    rows.map(|row| row.expect("a text")).collect()
}

fn rows(database: &Connection) -> Vec<Row> {
    let (table, path, value) = table(database);
    assert!(!table.is_empty(), "the records' table is found");
    let query =
        format!("SELECT CAST({path} AS TEXT), CAST({value} AS BLOB) FROM {table} ORDER BY {path}");
    let mut statement = database.prepare(&query).expect("a plain query");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("a plain query").map(|row| row.expect("a record")).collect()
}

fn put(database: &Connection, row: &Row) {
    let (table, path, value) = table(database);
    let query = format!("UPDATE {table} SET {value} = ?2 WHERE CAST({path} AS TEXT) = ?1");
    let changed = database.execute(&query, (&row.0, &row.1)).expect("the owner may write");
    assert_eq!(changed, 1, "one record is changed");
}

fn remove(database: &Connection, row: &Row) {
    let (table, path, _) = table(database);
    let query = format!("DELETE FROM {table} WHERE CAST({path} AS TEXT) = ?1");
    assert_eq!(database.execute(&query, [&row.0]).expect("the owner may write"), 1);
}

/// The records that hold one of the keys; the head vouches for them and is none of them.
fn keys(rows: &[Row]) -> Vec<&Row> {
    let found: Vec<_> =
        rows.iter().filter(|row| row.0.contains("first") || row.0.contains("second")).collect();
    assert!(found.len() >= 2, "{:?}", rows.iter().map(|row| &row.0).collect::<Vec<_>>());
    found
}

#[test]
fn an_untouched_store_is_served_again() {
    let prepared = Stopped::with_two_keys();
    let database = prepared.database();
    for row in rows(&database) {
        put(&database, &row);
    }
    drop(database);
    let dev = Dev::start(Options::in_dir(&prepared.stopped.data_dir));
    let answer = dev.rest().ask("GET", "/keys/first").expect("an answer").expect_ok("first");
    assert_eq!(answer["attributes"]["enabled"], false, "the newest state is served");
    dev.stop();
}

#[test]
fn one_record_put_back_to_an_older_value() {
    let prepared = Stopped::with_two_keys();
    let (old, database) = (rows(&open(&prepared.older)), prepared.database());
    let new = rows(&database);
    let differs = |row: &&Row| keys(&new).iter().any(|now| now.0 == row.0 && now.1 != row.1);
    let older = keys(&old).into_iter().find(differs).expect("one key was changed");
    put(&database, older);
    drop(database);
    prepared.refuses(&["older"]);
}

#[test]
fn one_record_deleted() {
    let prepared = Stopped::with_two_keys();
    let database = prepared.database();
    let all = rows(&database);
    remove(&database, keys(&all)[0]);
    drop(database);
    prepared.refuses(&["missing"]);
}

#[test]
fn two_records_swapped() {
    let prepared = Stopped::with_two_keys();
    let database = prepared.database();
    let all = rows(&database);
    let records = keys(&all);
    let (one, two) = (records[0], records[records.len() - 1]);
    put(&database, &(one.0.clone(), two.1.clone()));
    put(&database, &(two.0.clone(), one.1.clone()));
    drop(database);
    prepared.refuses(&[&one.0.to_lowercase()]);
}

#[test]
fn one_bit_changed() {
    let prepared = Stopped::with_two_keys();
    let database = prepared.database();
    let all = rows(&database);
    let record = keys(&all)[0];
    let mut value = record.1.clone();
    let last = value.len() - 1;
    value[last] ^= 1;
    put(&database, &(record.0.clone(), value));
    drop(database);
    prepared.refuses(&[&record.0.to_lowercase()]);
}

#[test]
fn the_database_overwritten() {
    let prepared = Stopped::with_two_keys();
    fs::write(database(&prepared.stopped.data_dir), [0x5A; 8192]).expect("the owner may write");
    prepared.refuses(&["damaged"]);
}

#[test]
fn the_database_removed() {
    let prepared = Stopped::with_two_keys();
    fs::remove_file(database(&prepared.stopped.data_dir)).expect("the owner may remove it");
    prepared.refuses(&["empty"]);
}

#[test]
fn the_head_put_back_alone() {
    let prepared = Stopped::with_two_keys();
    let (old, database) = (rows(&open(&prepared.older)), prepared.database());
    let head = old.iter().find(|row| row.0.ends_with("head")).expect("a store has a head");
    put(&database, head);
    drop(database);
    prepared.refuses(&["put back"]);
}
