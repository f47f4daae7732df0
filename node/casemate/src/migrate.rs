//! `casemate migrate plan`: the source is asked here, and what is to be done is written down.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use casemate_agent::{HttpsAsker, Told};
use casemate_cli::{MigratePlan, token_file};
use casemate_migrate::{Answer, Ask, AskFailure, Plan, ascii, legible, plan, read};

/// How many keys are read between two words of progress.
const PROGRESS_KEYS: usize = 100;
/// How many things that could not be read, or are to be done by hand, are told in lines.
const LINES_MAX: usize = 50;

struct Source {
    asker: HttpsAsker,
}

impl Ask for Source {
    async fn get(&self, path: &str) -> Result<Answer, AskFailure> {
        let told = self.asker.get(path).await.map_err(|error| AskFailure(Box::new(error)))?;
        let Told { status, retry_after_s, body } = told;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Answer { status, retry_after_s, body })
    }

    async fn wait(&self, time: Duration) {
        complain(&format!("the source is busy or fails; waiting {} s", time.as_secs()));
        tokio::time::sleep(time).await;
    }

    fn tell(&self, keys: usize) {
        if keys.is_multiple_of(PROGRESS_KEYS) {
            complain(&format!("{keys} keys read"));
        }
    }
}

/// Reads the source, writes the plan, and says what is in it.
pub(crate) async fn migrate(order: MigratePlan, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let ca = std::fs::read_to_string(&order.ca)
        .map_err(|error| format!("{} cannot be read: {error}; give --ca", order.ca.display()))?;
    let token = token_file(Some(&order.token_file))?;
    // Before anything is asked: who gets an answer must be able to keep it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&order.out);
    let file = file.as_mut().map_err(|error| {
        format!("{} cannot be made: {error}; name a file that does not exist", order.out.display())
    })?;
    let source = Source { asker: HttpsAsker::new(&order.url, token, ca) };
    let found = read(&source, &order.url).await;
    let planned = found.map_err(Box::<dyn Error>::from).and_then(|found| {
        plan(&found, &order.keep)
            .map_err(|name| format!("the source has no key {name}, which --keep names").into())
    });
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            let _unneeded = std::fs::remove_file(&order.out);
            return Err(error);
        }
    };
    file.write_all(ascii(&serde_json::to_string_pretty(&plan)?).as_bytes())?;
    file.sync_all()?;
    summary(&plan, out)?;
    match plan.not_read.len() {
        0 => Ok(()),
        count => Err(format!(
            "{count} things could not be read, so the plan in {} is not whole: see notRead there, \
             mend the cause, and plan again into another file",
            order.out.display()
        )
        .into()),
    }
}

/// What is in the plan, in lines.
fn summary(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    for key in &plan.keys {
        let way = serde_json::to_value(key.way).unwrap_or_default();
        let way = way.as_str().unwrap_or_default();
        writeln!(out, "{way:16} {:14} {}", legible(&key.kind), key.name)?;
        for note in &key.notes {
            writeln!(out, "{:16} {}", "", legible(note))?;
        }
    }
    for (kind, lines) in [("by hand", &plan.by_hand), ("not read", &plan.not_read)] {
        for line in lines.iter().take(LINES_MAX) {
            writeln!(out, "{kind}: {line}")?;
        }
        if let Some(more @ 1..) = lines.len().checked_sub(LINES_MAX) {
            writeln!(out, "{kind}: {more} more, in the plan")?;
        }
    }
    let counts = (plan.keys.len(), plan.commands.len(), plan.by_hand.len(), plan.not_read.len());
    let (keys, commands, by_hand, not_read) = counts;
    writeln!(out, "{keys} keys, {commands} commands, {by_hand} by hand, {not_read} not read")
}

fn complain(text: &str) {
    // Nobody left to tell if it is closed.
    let _ = writeln!(io::stderr(), "casemate: {text}");
}
