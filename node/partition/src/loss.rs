//! An audit log that was lost: what an operator asks for, held against what is remembered; and the
//! step by which a new one is begun.
//!
//! The step is one change of the sealed records: the loss is added to those before it, what was
//! remembered of the lost log gives way to nothing, and what an Administrator may have accepted of
//! an earlier loss no longer counts. Before it, what is left of the log is moved aside, and nothing
//! else; after it the HSM is opened anew, with a new audit key, and a log that begins with the
//! losses. It can be cut off anywhere.

use std::fs;
use std::io;
use std::path::Path;

use casemate_audit::{
    Anchor, GIVE_UP_BYTES_MAX, GIVE_UP_FILE, GiveUp, LOSSES_MAX, Loss, TrailError,
};
use casemate_channel::Start;
use casemate_hsm::{AUDIT_LOSS_ACCEPTED, Hsm, OpenFailure, setting};

use crate::failure::{Failure, chain};
use crate::files;
use crate::ledger::{ANCHOR, KEY_FILE, LOSSES, Remembered};
use crate::open::{AUDIT_FOLDER, audit_folder};

/// Most names that are tried for the folder of what is left.
const NAMES_MAX: u32 = 100;

/// The failure, unless it is that the log was lost and somebody has given it up: then a new one may
/// begin, and the HSM is to be opened anew.
pub(crate) async fn or_given_up(
    start: &Start,
    hsm: &Hsm,
    remembered: &Remembered,
    failure: Failure,
) -> Failure {
    let Failure::Audit(cause) = failure else { return failure };
    let is_lost = matches!(
        cause,
        TrailError::Lost { .. } | TrailError::Altered { .. } | TrailError::Damaged { .. }
    );
    if !is_lost {
        return Failure::Audit(cause);
    }
    match asked(start, remembered) {
        Ok(asked) => match begin_anew(start, hsm, remembered, asked).await {
            Ok(()) => Failure::Anew,
            Err(failure) => failure,
        },
        Err(asked) => {
            let head = remembered.anchor.map(|anchor| anchor.head);
            let (records, root) = (head.map_or(0, |head| head.size), Loss::root_text(head));
            Failure::AuditLost { cause, records, root, asked }
        }
    }
}

/// What was asked for, if it is about this very loss; else what is to be said about it.
fn asked(start: &Start, remembered: &Remembered) -> Result<GiveUp, String> {
    let path = start.folder.join(GIVE_UP_FILE);
    let refused = |error: &(dyn std::error::Error + 'static)| {
        format!(
            "; {} does not count: {}",
            start.shown_folder.join(GIVE_UP_FILE).display(),
            chain(error)
        )
    };
    let bytes = files::read(&path, GIVE_UP_BYTES_MAX).map_err(|error| refused(&error))?;
    let bytes = bytes.ok_or_else(String::new)?;
    let asked = GiveUp::parse(&bytes).map_err(|error| refused(&error))?;
    let records = remembered.anchor.map_or(0, |anchor| anchor.head.size);
    match asked.records == records {
        true => Ok(asked),
        false => Err(format!(
            ", and '{}' has given up {}, which is not as many",
            asked.by, asked.records
        )),
    }
}

async fn begin_anew(
    start: &Start,
    hsm: &Hsm,
    remembered: &Remembered,
    asked: GiveUp,
) -> Result<(), Failure> {
    let mut losses = remembered.losses.clone();
    if losses.len() >= LOSSES_MAX {
        return Err(Failure::TooManyLosses);
    }
    let kept_in = set_aside(start, losses.len() + 1).map_err(Failure::Folder)?;
    let head = remembered.anchor.map(|anchor| anchor.head);
    losses.push(Loss {
        records: asked.records,
        root: Loss::root_text(head),
        found: asked.found,
        by: asked.by,
        reason: asked.reason,
        kept_in,
        time: hsm.now().0,
    });
    // Another log is signed by another key. Lost before the change, it is replaced all the same.
    remove(&start.folder.join(KEY_FILE)).map_err(Failure::Folder)?;
    let values = vec![(LOSSES, Loss::encode(&losses)), (ANCHOR, Anchor::of_nothing().encode())];
    let accepted = setting(AUDIT_LOSS_ACCEPTED).expect("the table holds the setting");
    hsm.keep_and_unset(values, accepted).await.map_err(OpenFailure::Store)?;
    // It would not count any more: nothing is remembered now.
    remove(&start.folder.join(GIVE_UP_FILE)).map_err(Failure::Folder)?;
    tracing::warn!("an audit log was given up: {}", losses.last().map(words).unwrap_or_default());
    Ok(())
}

/// Moves what is left of the log to a name that is free, and answers with it. A log that has no
/// records was made by the start that found the loss.
fn set_aside(start: &Start, number: usize) -> io::Result<String> {
    let log = audit_folder(start);
    let named = |at: u32| match at {
        0 => format!("{AUDIT_FOLDER}.lost-{number}"),
        at => format!("{AUDIT_FOLDER}.lost-{number}.{at}"),
    };
    let taken = |name: &String| start.folder.join(name).symlink_metadata().is_ok();
    if !has_records(&log)? {
        // Moved before a death, unless nothing was left at all.
        let last = (0..NAMES_MAX).map(named).take_while(taken).last();
        return Ok(last.unwrap_or_else(|| "nothing was left".to_owned()));
    }
    let free = (0..NAMES_MAX).map(named).find(|name| !taken(name));
    let free = free.ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(&log, start.folder.join(&free))?;
    fs::File::open(&start.folder)?.sync_all()?;
    Ok(free)
}

fn has_records(log: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(log) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("audit-") || name == "checkpoint" || name == "tile" {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The loss in words, for who has to accept it.
pub(crate) fn words(loss: &Loss) -> String {
    format!(
        "{} records at least, of which {} were found, given up by '{}' (reason: '{}')",
        loss.records, loss.found, loss.by, loss.reason
    )
}
