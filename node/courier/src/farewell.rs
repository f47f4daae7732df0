//! Receivers of alerts that are taken out or replaced hear of it: otherwise who may change sinks
//! could silence a receiver unheard, since the change is looked at by the sinks that are left.

use std::path::Path;
use std::time::Duration;

use casemate_audit_sinks::{Sink, Sinks, Target};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cursor::Cursor;
use crate::failure::{SinkFailure, chain};
use crate::feed::Origin;
use crate::sinks::AlertSink;

/// Time for the one message, connection and answer included.
const DEADLINE: Duration = Duration::from_secs(5);

/// Messages under way at once; who changes the sinks again and again cannot pile up more.
const UNDER_WAY_MAX: usize = 16;

/// The messages under way. They end with the courier.
#[derive(Default)]
pub(crate) struct Farewells(JoinSet<()>);

impl Farewells {
    /// Tells each receiver of alerts that is no more what it was: another address, other roots,
    /// another secret or other rules are another receiver. One try each, beside all else.
    ///
    /// To be called while the folder still has the cursors of what goes.
    pub(crate) fn say(&mut self, folder: &Path, origin: &Origin, before: &Sinks, now: &Sinks) {
        while self.0.try_join_next().is_some() {}
        for sink in gone(before, now) {
            if self.0.len() >= UNDER_WAY_MAX {
                tracing::warn!(sink = %sink.name, "the receiver is not told that it is taken out");
                continue;
            }
            // A cursor that cannot be read stands at the beginning: nothing is claimed as told.
            let next = Cursor::open(folder, sink, origin.log).map_or(0, |cursor| cursor.next());
            let (origin, sink) = (origin.clone(), sink.clone());
            self.0.spawn(async move {
                let said = timeout(DEADLINE, take_leave(&origin, &sink, next)).await;
                let seconds = DEADLINE.as_secs();
                if let Err(error) = said.unwrap_or(Err(SinkFailure::Deadline { seconds })) {
                    let reason = chain(&error);
                    tracing::warn!(sink = %sink.name, "the receiver was not told: {reason}");
                }
            });
        }
    }
}

fn gone<'a>(before: &'a Sinks, now: &'a Sinks) -> impl Iterator<Item = &'a Sink> {
    let alerts = before.all().iter().filter(|sink| !sink.copies());
    alerts.filter(|sink| !now.all().contains(sink))
}

async fn take_leave(origin: &Origin, sink: &Sink, next: u64) -> Result<(), SinkFailure> {
    let Target::Alerts(endpoint, rules) = &sink.target else { return Ok(()) };
    let receiver = AlertSink::new(origin, endpoint, *rules, sink.secret.as_ref())?;
    receiver.take_leave(sink.name.as_str(), next).await
}
