//! The database file: who may read it, who may open it, what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path as FilePath;

use casemate_store_embedded::{DATABASE_FILE, EmbeddedStore, SCHEMA_VERSION};
use casemate_store_port::{Expect, Outcome, Revision, StoreError, Transaction};
use rusqlite::Connection;

use crate::setup::{embedded, folder, path, put};

fn refused(dir: &FilePath) -> StoreError {
    EmbeddedStore::open(dir).err().expect("the database must be refused")
}

fn damaged(dir: &FilePath) -> String {
    match refused(dir) {
        StoreError::Damaged(text) => text,
        other => unreachable!("damage is told as damage, not as {other:?}"),
    }
}

async fn write(dir: &FilePath, at: &str, value: Vec<u8>) -> Revision {
    let transaction = Transaction { expect: Vec::new(), writes: vec![put(at, value)] };
    match embedded(dir).commit(transaction).await.expect("it is written") {
        Outcome::Committed(revision) => revision,
        Outcome::Lost => unreachable!("there was no precondition"),
    }
}

fn tamper(dir: &FilePath, statements: &str) {
    let connection = Connection::open(dir.join(DATABASE_FILE)).expect("SQLite opens it");
    connection.execute_batch(statements).expect("SQLite does it");
}

#[tokio::test]
async fn only_the_owner_may_read_its_files() {
    let dir = folder();
    let store = embedded(dir.path());
    let transaction = Transaction { expect: Vec::new(), writes: vec![put("a", "1")] };
    store.commit(transaction).await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, [DATABASE_FILE, "records.db-wal"], "and no shared-memory file");
    drop(store);
    fs::set_permissions(dir.path().join(DATABASE_FILE), fs::Permissions::from_mode(0o644)).unwrap();
    drop(embedded(dir.path()));
    let mode = fs::metadata(dir.path().join(DATABASE_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a file left open to others is closed to them");
}

#[tokio::test]
async fn records_and_revisions_survive_closing() {
    let dir = folder();
    let first = write(dir.path(), "a", vec![1]).await;
    let removed = {
        let store = embedded(dir.path());
        let writes = vec![crate::setup::delete("a")];
        let expect = vec![(path("a"), Expect::At(first))];
        store.commit(Transaction { expect, writes }).await.unwrap()
    };
    let Outcome::Committed(removed) = removed else { unreachable!("the revision is the last") };
    let again = write(dir.path(), "a", vec![1]).await;
    assert!(again > removed && removed > first, "a revision is never given twice");
}

#[test]
fn a_second_owner_is_refused() {
    let dir = folder();
    let _owner = embedded(dir.path());
    assert!(matches!(refused(dir.path()), StoreError::Unavailable(_)));
}

#[test]
fn a_missing_folder_is_refused_and_not_made() {
    let dir = folder();
    let missing = dir.path().join("missing");
    assert!(matches!(refused(&missing), StoreError::Unavailable(_)));
    assert!(!missing.exists());
}

#[tokio::test]
async fn an_interrupted_creation_is_taken_up_again() {
    let dir = folder();
    fs::write(dir.path().join(DATABASE_FILE), b"").unwrap();
    write(dir.path(), "a", vec![1]).await;
    assert!(embedded(dir.path()).read(&path("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn unknown_versions_and_foreign_databases_are_refused_with_their_number() {
    let dir = folder();
    write(dir.path(), "a", vec![1]).await;
    for version in [0, SCHEMA_VERSION + 1, -1] {
        tamper(dir.path(), &format!("PRAGMA user_version = {version}"));
        let text = damaged(dir.path());
        assert!(text.contains(&format!("schema version {version};")), "{text}");
    }
    tamper(dir.path(), "PRAGMA application_id = 7");
    assert!(damaged(dir.path()).contains("not a Casemate store (id 0x7)"));
}

#[tokio::test]
async fn tables_that_are_not_ours_are_refused() {
    let additions = [
        "CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM record; END",
        "CREATE TABLE other (a)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE INDEX i ON record (revision)",
        "ALTER TABLE record ADD COLUMN more TEXT",
        "DROP TABLE revision",
    ];
    for addition in additions {
        let dir = folder();
        write(dir.path(), "a", vec![1]).await;
        tamper(dir.path(), addition);
        assert!(damaged(dir.path()).contains("tables"), "{addition}");
    }
}

#[tokio::test]
async fn rows_that_no_store_writes_are_damage() {
    for row in ["('Not/A//Path', x'00', 1)", "('a', x'00', -1)", "('', x'00', 1)"] {
        let dir = folder();
        drop(embedded(dir.path()));
        tamper(dir.path(), &format!("INSERT INTO record VALUES {row}"));
        let all = embedded(dir.path()).read_all().await;
        assert!(matches!(all, Err(StoreError::Damaged(_))), "{row}: {all:?}");
    }
    let dir = folder();
    drop(embedded(dir.path()));
    tamper(dir.path(), "UPDATE revision SET last = -1");
    assert!(EmbeddedStore::open(dir.path()).is_err());
    tamper(dir.path(), "DELETE FROM revision");
    assert!(EmbeddedStore::open(dir.path()).is_err());
}

#[tokio::test]
async fn a_file_of_another_size_or_content_is_damage() {
    let dir = folder();
    for index in 0..40 {
        write(dir.path(), &format!("n/{index}"), vec![index; 5_000]).await;
    }
    let file = dir.path().join(DATABASE_FILE);
    let whole = fs::read(&file).unwrap();
    for length in [2, 99, 4_096, whole.len() / 2, whole.len() - 4_096] {
        fs::write(&file, &whole[..length]).unwrap();
        damaged(dir.path());
    }
    // Every page but the first, one after the other, replaced by noise.
    let mut undetected = Vec::new();
    for page in 1..whole.len() / 4_096 {
        let mut noisy = whole.clone();
        noisy[page * 4_096..][..4_096].fill(0xa5);
        fs::write(&file, &noisy).unwrap();
        if EmbeddedStore::open(dir.path()).is_ok() {
            undetected.push(page);
        }
    }
    // Pages that hold nothing but the middle of a value cannot be told here: the seal tells.
    assert!(undetected.len() <= 41, "{undetected:?}");
    fs::write(&file, b"This is a text, and not a database at all. ".repeat(200)).unwrap();
    damaged(dir.path());
    fs::write(&file, &whole).unwrap();
    assert_eq!(embedded(dir.path()).read_all().await.unwrap().0.len(), 40);
}
