use std::sync::Arc;

use super::*;
use crate::batch::{Bounds, Chunk};
use crate::checkpoint::Checkpoint;

fn batch(from: u64, count: u64) -> Batch {
    let lines: String = (from + 1..=from + count).map(|at| format!("{{\"seq\":{at}}}\n")).collect();
    let chunk = Arc::new(Chunk::new(from, lines.into_bytes()));
    let mut batch = chunk.batch(from, Bounds { entries_max: 99, bytes_max: 9_999 }).unwrap();
    let text = format!("o\n{}\nr\n", from + count);
    batch.checkpoint = Checkpoint::parse(text, Some("c\n".to_owned())).map(Arc::new);
    batch
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|name| name.extension().is_some());
    names.sort();
    let text: String = names.iter().map(|name| fs::read_to_string(name).unwrap()).collect();
    let is_entry = |line: &&str| line.starts_with("{\"seq");
    text.lines().filter(is_entry).map(str::to_owned).collect()
}

fn expected(until: u64) -> Vec<String> {
    (1..=until).map(|at| format!("{{\"seq\":{at}}}")).collect()
}

#[tokio::test]
async fn files_follow_each_other_and_go_on_where_they_ended() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    for round in 0..3 {
        let mut sink = FileSink::new(folder.clone(), 100, 99);
        let begin = round * 20;
        assert_eq!(sink.resume(0).await, (round > 0).then_some(begin));
        for at in 0..4 {
            sink.deliver(&batch(begin + at * 5, 5)).await.unwrap();
        }
    }
    assert_eq!(entries(&folder), expected(60));
    assert!(fs::read_dir(&folder).unwrap().count() > 3);
}

#[tokio::test]
async fn a_torn_end_is_cut_and_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 1 << 20, 99);
    sink.deliver(&batch(0, 5)).await.unwrap();
    drop(sink);
    let path = folder.join(format!("audit-{:020}.jsonl", 0));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{{\"seq\":6}}\n{{\"se")).unwrap();
    let mut sink = FileSink::new(folder.clone(), 1 << 20, 99);
    assert_eq!(sink.resume(5).await, Some(6));
    sink.deliver(&batch(6, 4)).await.unwrap();
    assert_eq!(entries(&folder), expected(10));
}

#[tokio::test]
async fn a_batch_out_of_order_begins_a_file_and_old_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 1, 2);
    for at in 0..5 {
        sink.deliver(&batch(at * 5, 5)).await.unwrap();
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "two, and the lock");
    let mut second = FileSink::new(folder.clone(), 1, 2);
    assert!(second.deliver(&batch(25, 5)).await.is_err(), "one writes at a time");
    drop(sink);
    second.deliver(&batch(25, 5)).await.unwrap();
    assert_eq!(entries(&folder).len(), 10);
}

/// What a runner does with a batch: ties it, hands it over, joins what has ended before `signed`.
async fn hand_over(sink: &mut FileSink, mut batch: Batch, signed: u64) {
    if let Some(from) = sink.begins(&batch) {
        batch.tie(from, &format!("{from}\n"));
    }
    sink.deliver(&batch).await.unwrap();
    let joints = |ends: Vec<u64>| ends.into_iter().map(|end| (end, joint(end, signed))).collect();
    let ended = sink.ended(signed);
    sink.join(joints(ended)).await.unwrap();
}

fn joint(end: u64, signed: u64) -> Vec<u8> {
    checkpoint(signed).joint(&format!("{end} {signed}\n"))
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::parse(format!("o\n{size}\nr\n"), Some("c\n".to_owned())).unwrap()
}

fn signed_alone(at: u64) -> Batch {
    Batch::of_checkpoint(at, Arc::new(checkpoint(at)))
}

/// The texts of all files, with the indexes of their first entries.
fn texts(folder: &Path) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if let Some(first) = first_of(Path::new(path.file_name().unwrap())) {
            found.push((first, fs::read_to_string(path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Every file begins with the one frontier of its first entry, and all but the last end with the
/// one proof for their last.
fn all_are_tied(folder: &Path) {
    let texts = texts(folder);
    for (first, text) in &texts {
        let line = format!("{{\"frontier\":\"{first}\\n\"}}\n");
        assert!(text.starts_with(&line) && text.matches("frontier").count() == 1, "{text}");
    }
    for (_, text) in &texts[..texts.len() - 1] {
        let last = text.lines().rfind(|line| line.starts_with("{\"seq")).unwrap();
        let seq = last.trim_start_matches("{\"seq\":").trim_end_matches('}');
        let end = text.lines().last().unwrap();
        assert!(end.starts_with(&format!("{{\"consistency\":\"{seq} ")), "{text}");
        assert_eq!(text.matches("consistency").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn each_file_begins_and_ends_with_what_ties_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 100, 99);
    for at in 0..6 {
        let next = batch(at * 5, 5);
        let begins = sink.begins(&next);
        hand_over(&mut sink, next, at * 5 + 5).await;
        let path = folder.join(format!("audit-{:020}.jsonl", at * 5));
        assert_eq!(path.exists(), begins == Some(at * 5), "{at}");
    }
    assert_eq!(entries(&folder), expected(30));
    all_are_tied(&folder);
    drop(sink);
    let mut sink = FileSink::new(folder.clone(), 100, 99);
    assert_eq!(sink.resume(0).await, Some(30), "they are no entries");
    assert_eq!(sink.ended(u64::MAX), Vec::<u64>::new(), "all that were left are joined");
}

#[tokio::test]
async fn a_checkpoint_alone_begins_no_file_and_where_it_must_the_file_is_tied() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 1, 99);
    for at in 0..5 {
        hand_over(&mut sink, batch(at * 5, 5), 0).await;
        // The file is as long as it may be, and the checkpoint is over what stands in it.
        assert_eq!(sink.begins(&signed_alone(at * 5 + 5)), None);
        hand_over(&mut sink, signed_alone(at * 5 + 5), at * 5 + 5).await;
        assert_eq!(texts(&folder).len(), usize::try_from(at + 1).unwrap());
    }
    hand_over(&mut sink, batch(25, 5), 30).await;
    all_are_tied(&folder);
    assert_eq!(entries(&folder), expected(30));
    drop(sink);
    // Somebody took the files away.
    fs::remove_dir_all(&folder).unwrap();
    let mut sink = FileSink::new(folder.clone(), 1, 99);
    assert_eq!(sink.resume(30).await, None);
    assert_eq!(sink.begins(&signed_alone(30)), Some(30));
    hand_over(&mut sink, signed_alone(30), 30).await;
    hand_over(&mut sink, batch(30, 5), 35).await;
    hand_over(&mut sink, batch(35, 5), 40).await;
    all_are_tied(&folder);
}

#[tokio::test]
async fn a_file_that_was_left_is_joined_when_a_checkpoint_is_over_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 1, 3);
    for at in 0..4 {
        hand_over(&mut sink, batch(at * 5, 5), 4).await;
    }
    // The first one was removed: so many are kept.
    assert_eq!(sink.ended(4), Vec::<u64>::new());
    assert_eq!(sink.ended(12), [10]);
    assert_eq!(sink.ended(99), [10, 15]);
    drop(sink);
    // A courier that ended before that, in the midst of the joining too.
    let torn = folder.join(format!("audit-{:020}.jsonl", 5));
    let whole = fs::read_to_string(&torn).unwrap();
    fs::write(&torn, format!("{whole}{{\"checkpoint\":\"x\"}}\n{{\"consis")).unwrap();
    let mut sink = FileSink::new(folder.clone(), 1, 3);
    assert_eq!(sink.resume(20).await, None);
    assert_eq!(sink.ended(99), [10, 15]);
    fs::remove_file(folder.join(format!("audit-{:020}.jsonl", 10))).unwrap();
    hand_over(&mut sink, signed_alone(20), 20).await;
    assert_eq!(sink.ended(99), Vec::<u64>::new(), "what somebody removed needs nothing");
    let text = fs::read_to_string(&torn).unwrap();
    let joined = String::from_utf8(joint(10, 20)).unwrap();
    assert_eq!(text, format!("{whole}{{\"checkpoint\":\"x\"}}\n{joined}"));
}

#[tokio::test]
async fn what_a_try_that_was_given_up_has_written_is_cut_and_not_doubled() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 1 << 20, 99);
    for given_up in [3, 5] {
        let next = sink.resume(0).await.unwrap_or(0);
        hand_over(&mut sink, batch(next, 5), 0).await;
        // A thread that nobody waited for any more has written some of the next batch.
        hand_over(&mut sink, batch(next + 5, given_up), 0).await;
        hand_over(&mut sink, batch(next + 5, 5), 0).await;
        assert_eq!(entries(&folder), expected(next + 10));
        assert_eq!(texts(&folder).len(), 1);
    }
}

#[tokio::test]
async fn a_file_that_must_begin_unforeseen_gets_its_frontier_at_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("files");
    let mut sink = FileSink::new(folder.clone(), 1 << 20, 99);
    hand_over(&mut sink, batch(0, 5), 5).await;
    let files = sink.files.as_mut().unwrap();
    let piece = Piece { from: 9, end: 10, copy: b"{}\n".to_vec(), frontier: None, begins: false };
    assert!(files.append(&piece).is_err());
    assert_eq!(texts(&folder).len(), 1, "none is begun without it");
    hand_over(&mut sink, batch(9, 1), 10).await;
    all_are_tied(&folder);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    fs::write(&blocked, "").unwrap();
    let mut sink = FileSink::new(blocked, 1, 2);
    assert_eq!(sink.resume(0).await, None);
    assert!(matches!(sink.deliver(&batch(0, 1)).await, Err(SinkFailure::File(_))));
}
