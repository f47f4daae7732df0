//! A lost log is given up by who says what is lost, at the next start, once; and cut off anywhere
//! that step is done or not done.

use std::path::PathBuf;

use casemate_audit::{GIVE_UP_FILE, GiveUp, verify};

use super::*;
use crate::ledger::Remembered;
use crate::loss::or_given_up;

/// One start, as a partition does it: a trail, or why not.
async fn begin(message: &Start) -> (Result<Trail, Failure>, Remembered) {
    let mut seal = seal(message);
    let (hsm, kept, keys) = open_kept(message, &mut seal).await.unwrap();
    let remembered = kept.remembered();
    let ledger = ledger(message, kept, &seal, &keys, UnixSeconds(0)).unwrap();
    match trail(message, &Door::from(&hsm), ledger, &remembered.losses).await {
        Ok(trail) => (Ok(trail), remembered),
        Err(failure) => (Err(or_given_up(message, &hsm, &remembered, failure).await), remembered),
    }
}

async fn failed(message: &Start) -> Failure {
    begin(message).await.0.err().unwrap()
}

/// An HSM with a log of some records, remembered; the folder of the log, and how many there are.
async fn logged() -> (tempfile::TempDir, Start, PathBuf, u64) {
    let dir = tempfile::tempdir().unwrap();
    let message = start(&dir, Some(settings()));
    remembered(&message).await;
    remembered(&message).await;
    let audit = dir.path().join(AUDIT_FOLDER);
    (dir, message, audit, 2)
}

fn ask(message: &Start, records: u64) {
    let asked = GiveUp::new(records, 0, "ada", "the disk died").unwrap();
    fs::write(message.folder.join(GIVE_UP_FILE), asked.encode()).unwrap();
}

/// The first record of the log.
fn first(audit: &std::path::Path) -> Value {
    let text = fs::read_to_string(audit.join("audit-00000000000000000001.jsonl")).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[tokio::test]
async fn a_lost_log_is_begun_anew_for_who_says_what_is_lost() {
    let (dir, message, audit, records) = logged().await;
    let key = fs::read(dir.path().join("audit.key")).unwrap();
    fs::remove_dir_all(&audit).unwrap();
    let failure = failed(&message).await;
    let text = failure.text();
    assert_eq!((failure.code(), failure.lasts()), ("audit", true));
    assert!(text.contains(&format!("--records {records}")), "{text}");
    ask(&message, records);
    assert!(matches!(failed(&message).await, Failure::Anew));
    assert!(!dir.path().join(GIVE_UP_FILE).exists(), "asked once");
    let (trail, known) = begin(&message).await;
    trail.unwrap().close();
    assert_eq!(known.losses.len(), 1);
    let record = first(&audit);
    assert_eq!(record["operationName"], "AuditLogBegunAnew");
    assert_eq!((&record["resultType"], &record["phase"]), (&json!("Failed"), &json!("service")));
    assert_eq!(record["details"]["recordsLost"], records);
    assert_eq!(record["details"]["givenUpBy"], "ada");
    assert_eq!(record["details"]["rootLost"], known.losses[0].root);
    assert_ne!(fs::read(dir.path().join("audit.key")).unwrap(), key, "another log, another key");
    let report = verify::folder(&audit, verify::Terms::default());
    assert_eq!((report.losses.len(), report.findings.len()), (1, 1), "{:?}", report.findings);
    // It is no way to begin anew again.
    fs::remove_dir_all(&audit).unwrap();
    assert!(begin(&message).await.0.is_ok(), "nothing was remembered of it yet");
    assert_eq!(first(&audit)["operationName"], "AuditLogBegunAnew", "and it tells all the same");
    remembered(&message).await;
    fs::remove_dir_all(&audit).unwrap();
    assert!(matches!(failed(&message).await, Failure::AuditLost { .. }));
}

#[tokio::test]
async fn what_is_left_of_an_altered_log_is_kept_as_it_is() {
    let (dir, message, audit, records) = logged().await;
    let file = audit.join("audit-00000000000000000001.jsonl");
    let altered =
        fs::read_to_string(&file).unwrap().replacen("PartitionStart", "PartitionStarT", 1);
    fs::write(&file, &altered).unwrap();
    let taken = dir.path().join("audit.lost-1");
    fs::create_dir(&taken).unwrap();
    ask(&message, records);
    assert!(matches!(failed(&message).await, Failure::Anew));
    let kept = dir.path().join("audit.lost-1.1/audit-00000000000000000001.jsonl");
    assert_eq!(fs::read_to_string(kept).unwrap(), altered);
    let (trail, known) = begin(&message).await;
    trail.unwrap().close();
    assert_eq!(known.losses[0].kept_in, "audit.lost-1.1", "what stood there before is left alone");
    assert_eq!(first(&audit)["details"]["keptIn"], "audit.lost-1.1");
}

#[tokio::test]
async fn who_asks_for_something_else_is_told_so_and_nothing_changes() {
    let (dir, message, audit, records) = logged().await;
    let file = audit.join("audit-00000000000000000001.jsonl");
    let whole = fs::read(&file).unwrap();
    // Nothing is lost: nothing is given up.
    ask(&message, records);
    begin(&message).await.0.unwrap().close();
    fs::write(&file, &whole[..10]).unwrap();
    for (content, part) in [
        (GiveUp::new(records + 1, 0, "ada", "why").unwrap().encode(), "not as many"),
        (GiveUp::new(0, 0, "ada", "why").unwrap().encode(), "not as many"),
        (b"{}".to_vec(), "does not count"),
        (vec![b' '; 5_000], "does not count"),
    ] {
        fs::write(dir.path().join(GIVE_UP_FILE), content).unwrap();
        let failure = failed(&message).await;
        assert!(matches!(failure, Failure::AuditLost { .. }), "{}", failure.text());
        assert!(failure.text().contains(part), "{}", failure.text());
        assert_eq!(fs::read(&file).unwrap(), whole[..10], "nothing is moved");
    }
}

#[tokio::test]
async fn a_death_in_the_step_ends_before_it_or_after_it() {
    // Moved aside, and not decided.
    let (dir, message, audit, records) = logged().await;
    fs::write(audit.join("audit-00000000000000000001.jsonl"), b"").unwrap();
    fs::rename(&audit, dir.path().join("audit.lost-1")).unwrap();
    fs::remove_file(dir.path().join("audit.key")).unwrap();
    assert!(matches!(failed(&message).await, Failure::AuditLost { .. }), "it is still lost");
    ask(&message, records);
    assert!(matches!(failed(&message).await, Failure::Anew));
    let (trail, known) = begin(&message).await;
    trail.unwrap().close();
    assert_eq!(known.losses[0].kept_in, "audit.lost-1");
    // Decided, and the wish not taken away: it does not count again.
    ask(&message, records);
    remembered(&message).await;
    fs::remove_dir_all(&audit).unwrap();
    let failure = failed(&message).await;
    assert!(failure.text().contains("not as many"), "{}", failure.text());
}

#[tokio::test]
async fn what_was_accepted_of_one_loss_is_not_accepted_of_the_next() {
    let (dir, message, audit, records) = logged().await;
    let accepted = casemate_hsm::setting(casemate_hsm::AUDIT_LOSS_ACCEPTED).unwrap();
    let administrator = Arc::new(casemate_hsm::rbac::Principal {
        id: Uuid::parse_str("22222222-2222-2222-2222-222222222222").unwrap(),
        groups: Vec::new(),
    });
    {
        let (hsm, _, _) = open_all(&message).await.unwrap();
        let scope = casemate_hsm::rbac::Scope::Root;
        let permit = hsm.authorize(&administrator, scope).unwrap();
        let (memory, _) = Trail::in_memory();
        let record = AuditRecord {
            phase: Phase::Intent,
            operation: "Test",
            call: &Call::default(),
            verdict: Verdict::Pending,
            permit: None,
            key: None,
            intent: None,
        };
        let intent = memory.append(&record).await.unwrap();
        hsm.change_setting(&permit, &intent, accepted, "true").await.unwrap();
        assert!(hsm.settings().audit_loss_accepted);
    }
    fs::remove_dir_all(&audit).unwrap();
    ask(&message, records);
    assert!(matches!(failed(&message).await, Failure::Anew));
    let (hsm, _, _) = open_all(&message).await.unwrap();
    assert!(!hsm.settings().audit_loss_accepted, "an Administrator is asked anew");
    drop(dir);
}
