//! Somebody who owns the database file changes it with SQLite itself.

use std::path::Path as FilePath;

use casemate_store_embedded::DATABASE_FILE;
use casemate_store_port::OpenError;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::setup::{change, contents, create, delete, done, folder, open, put, refusal};

/// A store with `keys/a` in its second value, `keys/b`, and a removed `keys/gone`; and the state
/// before the last two changes as `old.db`, the state after them as `fresh.db`.
struct Scene {
    dir: TempDir,
    sequence: u64,
}

impl Scene {
    async fn new() -> Self {
        let dir = folder();
        let store = create(dir.path()).await;
        done(&store, change(vec![put("keys/a", "first"), put("keys/b", "other")])).await;
        done(&store, change(vec![put("keys/gone", "removed")])).await;
        drop(store);
        std::fs::copy(dir.path().join(DATABASE_FILE), dir.path().join("old.db")).expect("a copy");
        let (store, _) = open(dir.path(), None).await.expect("it opens");
        done(&store, change(vec![put("keys/a", "second")])).await;
        done(&store, change(vec![delete("keys/gone")])).await;
        let sequence = store.sequence();
        drop(store);
        std::fs::copy(dir.path().join(DATABASE_FILE), dir.path().join("fresh.db")).expect("a copy");
        Self { dir, sequence }
    }

    fn path(&self) -> &FilePath {
        self.dir.path()
    }

    /// Changes the database, and makes sure that something was changed.
    fn tamper(&self, statements: &str) {
        let connection =
            Connection::open(self.path().join(DATABASE_FILE)).expect("SQLite opens it");
        let attach = format!("ATTACH '{}/old.db' AS old", self.path().display());
        connection.execute_batch(&attach).expect("SQLite attaches it");
        let before = connection.total_changes();
        connection.execute_batch(statements).expect("SQLite does it");
        assert!(connection.total_changes() > before, "nothing was changed");
    }

    async fn refusal(&self) -> OpenError {
        refusal(self.path(), None).await
    }
}

const OLD_VALUE_OF: &str = "(SELECT value FROM old.record WHERE path = ";

#[tokio::test]
async fn the_untouched_scene_opens() {
    let scene = Scene::new().await;
    let (store, records) = open(scene.path(), Some(scene.sequence)).await.unwrap();
    let expected: [(&str, &[u8]); 2] = [("keys/a", b"second"), ("keys/b", b"other")];
    assert_eq!(contents(&records), expected);
    drop(store);
    let error = refusal(scene.path(), Some(scene.sequence + 1)).await;
    assert!(matches!(error, OpenError::RolledBack { .. }), "{error}");
}

#[tokio::test]
async fn an_older_value_put_back_is_refused() {
    let scene = Scene::new().await;
    scene.tamper(&format!(
        "UPDATE main.record SET value = {OLD_VALUE_OF} 'keys/a') WHERE path = 'keys/a'"
    ));
    let error = scene.refusal().await;
    assert!(matches!(error, OpenError::Replaced { records: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_removed_record_is_missed() {
    let scene = Scene::new().await;
    scene.tamper("DELETE FROM main.record WHERE path = 'keys/b'");
    let error = scene.refusal().await;
    assert!(matches!(error, OpenError::Missing { expected: 2, found: 1 }), "{error}");
}

#[tokio::test]
async fn two_swapped_records_are_refused_by_name() {
    let scene = Scene::new().await;
    scene.tamper(
        "UPDATE main.record SET path = 'keys/x' WHERE path = 'keys/a'; \
         UPDATE main.record SET path = 'keys/a' WHERE path = 'keys/b'; \
         UPDATE main.record SET path = 'keys/b' WHERE path = 'keys/x'",
    );
    let error = scene.refusal().await;
    assert!(matches!(&error, OpenError::Unreadable { path } if path.as_str() == "keys/a"));
    assert_eq!(
        error.to_string(),
        "the record at keys/a was altered, moved or sealed for another HSM"
    );
}

#[tokio::test]
async fn a_removed_record_put_back_is_refused_by_name() {
    let scene = Scene::new().await;
    scene.tamper("INSERT INTO main.record SELECT * FROM old.record WHERE path = 'keys/gone'");
    let error = scene.refusal().await;
    let OpenError::Extra { expected: 2, found: 3, path: Some(path) } = &error else {
        unreachable!("{error}")
    };
    assert_eq!(path.as_str(), "keys/gone");
}

#[tokio::test]
async fn one_removed_and_another_put_back_is_refused() {
    let scene = Scene::new().await;
    scene.tamper(
        "INSERT INTO main.record SELECT * FROM old.record WHERE path = 'keys/gone'; \
         DELETE FROM main.record WHERE path = 'keys/b'",
    );
    let error = scene.refusal().await;
    assert!(matches!(error, OpenError::Replaced { records: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_copy_under_another_path_is_refused_by_name() {
    let scene = Scene::new().await;
    scene.tamper(
        "INSERT INTO main.record SELECT 'keys/copy', value, revision FROM main.record \
         WHERE path = 'keys/a'",
    );
    let error = scene.refusal().await;
    assert!(matches!(error, OpenError::Unreadable { path } if path.as_str() == "keys/copy"));
}

#[tokio::test]
async fn a_cut_value_is_refused_by_name_whatever_its_length() {
    let scene = Scene::new().await;
    let whole: usize = 13 + 12 + "second".len() + 16;
    for length in (0..whole).rev() {
        scene.tamper(&format!(
            "UPDATE main.record SET value = substr(value, 1, {length}) WHERE path = 'keys/a'"
        ));
        let error = scene.refusal().await;
        let named = match &error {
            OpenError::Malformed { path, .. } => length < 13 && path.as_str() == "keys/a",
            OpenError::Unreadable { path } => length >= 13 && path.as_str() == "keys/a",
            _ => false,
        };
        assert!(named, "{length} bytes: {error}");
    }
}

#[tokio::test]
async fn every_altered_byte_is_noticed() {
    let scene = Scene::new().await;
    for offset in 0..13 + 12 + "second".len() + 16 {
        let flip = format!(
            "UPDATE main.record SET value = unhex(substr(hex(value), 1, {at}) || \
             CASE substr(hex(value), {at} + 1, 1) WHEN '0' THEN '1' ELSE '0' END || \
             substr(hex(value), {at} + 2)) WHERE path = 'keys/a'",
            at = offset * 2 + 1
        );
        scene.tamper(&flip);
        let error = scene.refusal().await;
        let expected = match offset {
            0 => matches!(error, OpenError::Malformed { .. }),
            1..=4 => matches!(error, OpenError::OtherEpoch { .. }),
            _ => matches!(error, OpenError::Unreadable { .. }),
        };
        assert!(expected, "byte {offset}: {error}");
        restore(&scene).await;
    }
}

/// Puts everything right again.
async fn restore(scene: &Scene) {
    let fresh = scene.path().join("fresh.db");
    std::fs::copy(&fresh, scene.path().join(DATABASE_FILE)).expect("a copy");
    assert!(open(scene.path(), Some(scene.sequence)).await.is_ok());
}

#[tokio::test]
async fn an_older_head_alone_is_refused() {
    let scene = Scene::new().await;
    scene.tamper(&format!(
        "UPDATE main.record SET value = {OLD_VALUE_OF} 'head') WHERE path = 'head'"
    ));
    let error = refusal(scene.path(), Some(scene.sequence)).await;
    assert!(matches!(error, OpenError::RolledBack { sequence: 2, .. }), "{error}");
    // Without a floor the head itself passes, but `keys/a` was written after it.
    let error = scene.refusal().await;
    assert!(matches!(&error, OpenError::AheadOfHead { path, .. } if path.as_str() == "keys/a"));
}

#[tokio::test]
async fn an_altered_or_missing_head_is_refused() {
    let scene = Scene::new().await;
    scene.tamper("UPDATE main.record SET value = zeroblob(100) WHERE path = 'head'");
    let error = scene.refusal().await;
    assert!(matches!(&error, OpenError::Malformed { path, .. } if path.as_str() == "head"));
    scene.tamper(
        "UPDATE main.record SET value = (SELECT value FROM main.record \
         WHERE path = 'keys/a') WHERE path = 'head'",
    );
    let error = scene.refusal().await;
    assert!(matches!(&error, OpenError::Unreadable { path } if path.as_str() == "head"));
    scene.tamper("DELETE FROM main.record WHERE path = 'head'");
    assert!(matches!(scene.refusal().await, OpenError::HeadMissing));
}

#[tokio::test]
async fn the_whole_store_put_back_shows_only_against_a_remembered_sequence() {
    let scene = Scene::new().await;
    scene.tamper("DELETE FROM main.record; INSERT INTO main.record SELECT * FROM old.record");
    let error = refusal(scene.path(), Some(scene.sequence)).await;
    assert_eq!(
        error.to_string(),
        format!("the store was put back: it is at change 2, remembered is {}", scene.sequence)
    );
    // The limit that the format's page states: nothing in the store itself tells.
    let (_, records) = open(scene.path(), None).await.unwrap();
    assert_eq!(records.len(), 3);
}

/// Two copies of one store go on apart and use the same numbers: their records do not mix, although
/// path, generation and key are the same.
#[tokio::test]
async fn a_record_of_a_copy_that_went_its_own_way_is_refused() {
    let scene = Scene::new().await;
    let copy = folder();
    std::fs::copy(scene.path().join("fresh.db"), copy.path().join(DATABASE_FILE)).unwrap();
    let (store, _) = open(scene.path(), None).await.unwrap();
    let here = done(&store, change(vec![put("keys/a", "third")])).await;
    drop(store);
    let (store, _) = open(copy.path(), None).await.unwrap();
    let there = done(&store, change(vec![put("keys/a", "theirs")])).await;
    drop(store);
    assert_eq!(here, there, "the copies use the same number");
    std::fs::copy(copy.path().join(DATABASE_FILE), scene.path().join("old.db")).unwrap();
    scene.tamper(&format!(
        "UPDATE main.record SET value = {OLD_VALUE_OF} 'keys/a') WHERE path = 'keys/a'"
    ));
    let error = scene.refusal().await;
    assert!(matches!(error, OpenError::Replaced { records: 2, .. }), "{error}");
}
