//! Carries the sealed objects of backups: takes an order, hands it to the target, reports.
//!
//! One order is worked on at a time. An object is held whole, which its bound allows; nothing of it
//! is understood here, and no text of a target is repeated.

mod http;
mod identity;
mod local;
mod outside;
mod target;

use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_channel::transfer::{OBJECT_BYTES_MAX, Order, Outcome, Report, Verb};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::failure::chain;
use crate::feed::Feed;

pub(crate) use http::Roots;
use identity::Tokens;
pub use outside::{BackupTarget, TargetRefusal};
use target::{Access, Place, TargetFailure};

/// Orders and pieces that wait; a partition has one order open at a time.
const WAITING_MAX: usize = 16;

/// Longest time for one object, tries included.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(300);

/// What comes from the partition.
enum Work {
    Order(Order),
    Piece { id: u64, bytes: Vec<u8> },
}

/// The task that carries. It ends when this is dropped.
pub(crate) struct Carrying {
    work: mpsc::Sender<Work>,
}

impl Carrying {
    /// Begins to wait for orders.
    pub(crate) fn begin(folder: &Path, roots: Roots, feed: Feed) -> Self {
        let (work, waiting) = mpsc::channel(WAITING_MAX);
        let tokens = Tokens::new(roots.clone());
        let carrier = Carrier { folder: folder.to_owned(), roots, feed, tokens, open: None };
        drop(tokio::spawn(carrier.run(waiting)));
        Self { work }
    }

    pub(crate) async fn order(&self, order: Order) {
        self.hand(Work::Order(order)).await;
    }

    pub(crate) async fn piece(&self, id: u64, bytes: Vec<u8>) {
        self.hand(Work::Piece { id, bytes }).await;
    }

    async fn hand(&self, work: Work) {
        if self.work.send(work).await.is_err() {
            tracing::error!("nobody carries backups any more");
        }
    }
}

struct Carrier {
    folder: PathBuf,
    roots: Roots,
    feed: Feed,
    /// Those of the HSM's managed identity.
    tokens: Tokens,
    /// The target of the last order, and what opens it: mostly the next one's too.
    open: Option<(String, Access, Place)>,
}

impl Carrier {
    async fn run(mut self, mut waiting: mpsc::Receiver<Work>) {
        let mut incoming: Option<(Order, Vec<u8>)> = None;
        while let Some(work) = waiting.recv().await {
            match (work, incoming.take()) {
                (Work::Order(order), _) if order.verb == Verb::Put => {
                    incoming = Some((order, Vec::new()));
                }
                (Work::Order(order), _) => self.work(order, Vec::new()).await,
                (Work::Piece { id, bytes }, Some((order, mut object))) if id == order.id => {
                    object.extend_from_slice(&bytes);
                    incoming = Some((order, object));
                }
                // Of an order that was given up.
                (Work::Piece { .. }, known) => incoming = known,
            }
            let is_whole = |(order, object): &mut (Order, Vec<u8>)| {
                let bytes = u64::try_from(object.len()).unwrap_or(u64::MAX);
                bytes >= order.bytes || bytes > OBJECT_BYTES_MAX
            };
            if let Some((order, object)) = incoming.take_if(is_whole) {
                self.work(order, object).await;
            }
        }
    }

    async fn work(&mut self, order: Order, object: Vec<u8>) {
        let id = order.id;
        let done = match timeout(OBJECT_TIMEOUT, self.carry(&order, object)).await {
            Ok(done) => done,
            Err(_) => Err(TargetFailure::Deadline { seconds: OBJECT_TIMEOUT.as_secs() }),
        };
        let (outcome, object) = match done {
            Ok(object) => (Outcome::Done, object),
            Err(TargetFailure::NotFound) => (Outcome::NotFound, Vec::new()),
            Err(TargetFailure::TooLong) => (Outcome::TooLong, Vec::new()),
            Err(TargetFailure::Taken) => (Outcome::Taken, Vec::new()),
            Err(failure) => {
                let name = &order.name;
                tracing::warn!(name, "an object of a backup was not carried: {}", chain(&failure));
                self.open = None;
                let text = failure.to_string();
                if let TargetFailure::IdentityDenied { .. } = failure {
                    // Its next token may say more.
                    self.tokens.forget();
                }
                let outcome = match failure {
                    TargetFailure::NoToken(_) => Outcome::NoToken(text),
                    TargetFailure::Kept { .. } => Outcome::Kept(text),
                    TargetFailure::Denied { .. } | TargetFailure::IdentityDenied { .. } => {
                        Outcome::Denied(text)
                    }
                    _ => Outcome::Refused(text),
                };
                (outcome, Vec::new())
            }
        };
        let bytes = u64::try_from(object.len()).unwrap_or(u64::MAX);
        self.feed.transferred(Report { id, outcome, bytes }, &object).await;
    }

    async fn carry(&mut self, order: &Order, object: Vec<u8>) -> Result<Vec<u8>, TargetFailure> {
        if u64::try_from(object.len()).ok() != Some(order.bytes) {
            return Err(TargetFailure::TooLong);
        }
        let place = self.place(order).await?;
        let path = place.path(&order.folder, &order.name)?;
        match order.verb {
            Verb::Put => place.put(&path, object).await.map(|()| Vec::new()),
            Verb::Remove => place.remove(&path).await.map(|()| Vec::new()),
            Verb::Get => place.get(&path).await,
        }
    }

    async fn place(&mut self, order: &Order) -> Result<&Place, TargetFailure> {
        let access = match &order.identity {
            Some(proven) => Access::identity(self.tokens.token(proven, &order.uri).await?),
            None => Access::token(&order.token),
        };
        let known = |(uri, by, _): &mut (String, Access, Place)| *uri == order.uri && *by == access;
        let open = match self.open.take_if(known) {
            Some(open) => open,
            None => {
                let place = Place::open(&order.uri, &access, &self.folder, &self.roots)?;
                (order.uri.clone(), access, place)
            }
        };
        let (_, _, place) = self.open.insert(open);
        Ok(place)
    }
}
