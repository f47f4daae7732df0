//! The objects of backups, carried by the courier: one order at a time, sealed bytes only.
//!
//! Invariant: what is answered belongs to the order that was given: a report with another number is
//! of one that was given up.

use std::sync::Arc;
use std::time::Duration;

use casemate_channel::courier::{FromCourier, ToCourier};
use casemate_channel::transfer::{Order, Outcome, Verb, pieces};
use casemate_hsm::backup::{Folder, OBJECT_BYTES_MAX, Objects, TransferError};
use casemate_store_port::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::identify::Identify;

/// Messages that wait, each way.
const WAITING_MAX: usize = 4;

/// Longest time for one object; the courier itself gives up earlier.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(330);

/// How often, and how many times, a courier that is not there is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LOOKS_MAX: usize = 50;

/// Orders to the courier, whether one runs or not.
pub(crate) struct Transfers {
    /// Who knows the identity that opens targets in place of a token.
    identity: Arc<dyn Identify>,
    /// To the courier that is there.
    outgoing: Mutex<Option<mpsc::Sender<ToCourier>>>,
    /// To whom waits for an answer.
    waiting: Mutex<Option<mpsc::Sender<FromCourier>>>,
    /// The number of the last order; held while one is open.
    turn: tokio::sync::Mutex<u64>,
}

/// An object and where it lies or shall lie.
struct Wanted<'a> {
    verb: Verb,
    folder: &'a Folder,
    name: &'a str,
    object: Vec<u8>,
}

impl Transfers {
    pub(super) fn new(identity: Arc<dyn Identify>) -> Self {
        let (outgoing, waiting, turn) = Default::default();
        Self { identity, outgoing, waiting, turn }
    }

    /// A courier is there: what is to be sent to it.
    pub(super) fn attach(&self) -> mpsc::Receiver<ToCourier> {
        let (send, sending) = mpsc::channel(WAITING_MAX);
        *self.waiting.lock() = None;
        *self.outgoing.lock() = Some(send);
        sending
    }

    /// It has gone: nobody waits for it any more.
    pub(super) fn detach(&self) {
        *self.outgoing.lock() = None;
        *self.waiting.lock() = None;
    }

    /// It has said something.
    pub(super) async fn hear(&self, message: FromCourier) {
        let waiting = self.waiting.lock().clone();
        if let Some(waiting) = waiting {
            // Who waited may have given up meanwhile.
            let _given_up = waiting.send(message).await;
        }
    }

    async fn carry(&self, wanted: Wanted<'_>) -> Result<Vec<u8>, TransferError> {
        let mut turn = self.turn.lock().await;
        *turn += 1;
        let carried = timeout(OBJECT_TIMEOUT, self.carry_now(*turn, wanted)).await;
        *self.waiting.lock() = None;
        carried.unwrap_or(Err(TransferError::NoCarrier))
    }

    async fn carry_now(&self, id: u64, wanted: Wanted<'_>) -> Result<Vec<u8>, TransferError> {
        let Wanted { verb, folder, name, object } = wanted;
        let identity = match folder.target.is_opened_by_identity() {
            true => Some(Box::new(self.identity.identify().await?)),
            false => None,
        };
        let (tell, mut told) = mpsc::channel(WAITING_MAX);
        let courier = self.courier().await?;
        *self.waiting.lock() = Some(tell);
        let order = Order {
            id,
            verb,
            uri: folder.target.uri().to_owned(),
            token: folder.target.expose_token().to_owned(),
            identity,
            folder: folder.name.clone(),
            name: name.to_owned(),
            bytes: u64::try_from(object.len()).unwrap_or(u64::MAX),
        };
        let gone = |_| TransferError::NoCarrier;
        courier.send(ToCourier::Transfer(order)).await.map_err(gone)?;
        for piece in pieces(&object) {
            let bytes = piece.to_vec();
            courier.send(ToCourier::Piece { id, bytes }).await.map_err(gone)?;
        }
        drop(object);
        let report = loop {
            match told.recv().await.ok_or(TransferError::NoCarrier)? {
                FromCourier::Transferred(report) if report.id == id => break report,
                _ => {}
            }
        };
        match report.outcome {
            Outcome::Done => {}
            Outcome::NotFound => return Err(TransferError::NotFound(name.to_owned())),
            Outcome::TooLong => return Err(TransferError::TooLong),
            Outcome::Taken => return Err(TransferError::Taken(name.to_owned())),
            Outcome::Kept(why) => return Err(TransferError::Kept(why)),
            Outcome::Denied(why) => return Err(TransferError::Denied(why)),
            Outcome::Refused(why) => return Err(TransferError::Refused(why)),
            Outcome::NoToken(why) => return Err(TransferError::NoToken(why)),
        }
        let bytes = usize::try_from(report.bytes).unwrap_or(usize::MAX);
        if bytes > OBJECT_BYTES_MAX {
            return Err(TransferError::TooLong);
        }
        let mut found = Vec::with_capacity(bytes);
        while found.len() < bytes {
            match told.recv().await.ok_or(TransferError::NoCarrier)? {
                FromCourier::Piece { id: of, bytes } if of == id => found.extend(bytes),
                _ => {}
            }
        }
        if found.len() == bytes { Ok(found) } else { Err(TransferError::TooLong) }
    }

    /// The courier that is there, or comes soon.
    async fn courier(&self) -> Result<mpsc::Sender<ToCourier>, TransferError> {
        for _ in 0..LOOKS_MAX {
            let courier = self.outgoing.lock().clone();
            if let Some(courier) = courier {
                return Ok(courier);
            }
            sleep(LOOK_INTERVAL).await;
        }
        Err(TransferError::NoCarrier)
    }
}

impl Objects for Transfers {
    fn put<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async move {
            let wanted = Wanted { verb: Verb::Put, folder, name, object: bytes };
            self.carry(wanted).await.map(drop)
        })
    }

    fn get<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, TransferError>> {
        let wanted = Wanted { verb: Verb::Get, folder, name, object: Vec::new() };
        Box::pin(self.carry(wanted))
    }

    fn remove<'a>(
        &'a self,
        folder: &'a Folder,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(), TransferError>> {
        Box::pin(async move {
            let wanted = Wanted { verb: Verb::Remove, folder, name, object: Vec::new() };
            self.carry(wanted).await.map(drop)
        })
    }
}

#[cfg(test)]
mod tests;
