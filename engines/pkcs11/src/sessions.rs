//! The sessions of one connection: opened when needed, never more than so many, closed with it.
//!
//! A session is not closed before its connection is, because the objects that were made in it go
//! with it.

use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use parking_lot::{Condvar, Mutex};

use crate::fault::{BUSY, Fault};

/// How long a call waits for a session.
const WAIT: Duration = Duration::from_secs(10);

/// A bounded set of sessions with one token.
pub(crate) struct Sessions {
    module: Pkcs11,
    slot: Slot,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    idle: Vec<Session>,
    open: usize,
    /// Lowered when the token says that it has no more.
    max: usize,
}

/// One session, given back when dropped.
pub(crate) struct Lent<'a> {
    from: &'a Sessions,
    session: Option<Session>,
}

impl Sessions {
    /// With a first session, which keeps the login alive.
    pub(crate) fn new(module: Pkcs11, slot: Slot, first: Session, max: usize) -> Self {
        let state = State { idle: vec![first], open: 1, max: max.max(1) };
        Self { module, slot, state: Mutex::new(state), freed: Condvar::new() }
    }

    /// A session that nobody else uses; waits for one when there are as many as may be.
    pub(crate) fn take(&self) -> Result<Lent<'_>, Fault> {
        let mut state = self.state.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(self.lend(session));
            }
            if state.open < state.max {
                state.open += 1;
                drop(state);
                match self.module.open_ro_session(self.slot).map_err(Fault::from) {
                    Ok(session) => return Ok(self.lend(session)),
                    Err(Fault::Code(RvError::SessionCount | RvError::DeviceMemory)) => {
                        state = self.state.lock();
                        state.open -= 1;
                        state.max = state.open.max(1);
                    }
                    Err(fault) => {
                        self.state.lock().open -= 1;
                        self.freed.notify_one();
                        return Err(fault);
                    }
                }
            } else if self.freed.wait_for(&mut state, WAIT).timed_out() {
                return Err(Fault::Gone(BUSY));
            }
        }
    }

    /// A session of its own that changes the token itself. Nothing is made in it: it may be closed.
    pub(crate) fn that_writes(&self) -> Result<Session, Fault> {
        self.module.open_rw_session(self.slot).map_err(Fault::from)
    }

    /// A session that is idle now.
    pub(crate) fn take_idle(&self) -> Option<Lent<'_>> {
        let session = self.state.lock().idle.pop()?;
        Some(self.lend(session))
    }

    fn lend(&self, session: Session) -> Lent<'_> {
        Lent { from: self, session: Some(session) }
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session.as_ref().expect("a session is lent until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.from.state.lock().idle.push(session);
            self.from.freed.notify_one();
        }
    }
}
