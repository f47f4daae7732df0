//! The sessions of one connection: opened when needed, never more than so many, closed with it.
//!
//! A session is not closed before its connection is, because the objects that were made in it go
//! with it. One of them is that of the login: it keeps the login alive, and it alone can change the
//! token itself. So that needs no session more, of which the token may have none.

use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::RvError;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use parking_lot::{Condvar, Mutex};

use crate::fault::{BUSY, Fault};

/// How long a call waits for a session.
const WAIT: Duration = Duration::from_secs(10);

/// Where sessions come from.
pub(crate) trait Door {
    /// One of them.
    type Session;

    /// Opens one that does not change the token itself.
    fn open(&self) -> Result<Self::Session, Fault>;
}

/// The slot of a token.
pub(crate) struct OfSlot {
    pub(crate) module: Pkcs11,
    pub(crate) slot: Slot,
}

impl Door for OfSlot {
    type Session = Session;

    fn open(&self) -> Result<Session, Fault> {
        self.module.open_ro_session(self.slot).map_err(Fault::from)
    }
}

/// A bounded set of sessions with one token.
pub(crate) struct Sessions<D: Door = OfSlot> {
    door: D,
    state: Mutex<State<D::Session>>,
    freed: Condvar,
}

struct State<S> {
    /// That of the login, while nobody uses it.
    login: Option<S>,
    idle: Vec<S>,
    /// How many there are, that of the login among them.
    open: usize,
    /// Lowered when the token says that it has no more.
    max: usize,
    /// How many wait for that of the login: nobody else gets it then.
    writers: usize,
}

/// One session, given back when dropped.
pub(crate) struct Lent<'a, D: Door = OfSlot> {
    from: &'a Sessions<D>,
    session: Option<D::Session>,
    is_login: bool,
}

impl<D: Door> Sessions<D> {
    /// With the session of the login.
    pub(crate) fn new(door: D, login: D::Session, max: usize) -> Self {
        let (login, idle) = (Some(login), Vec::new());
        let state = State { login, idle, open: 1, max: max.max(1), writers: 0 };
        Self { door, state: Mutex::new(state), freed: Condvar::new() }
    }

    /// A session that nobody else uses; waits for one when there are as many as may be.
    pub(crate) fn take(&self) -> Result<Lent<'_, D>, Fault> {
        let mut state = self.state.lock();
        loop {
            if let Some((session, is_login)) = state.free() {
                return Ok(self.lend(session, is_login));
            }
            if state.open < state.max {
                state.open += 1;
                drop(state);
                match self.door.open() {
                    Ok(session) => return Ok(self.lend(session, false)),
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

    /// The one session that changes the token itself; waits until nobody uses it, and is the next
    /// who does.
    pub(crate) fn that_writes(&self) -> Result<Lent<'_, D>, Fault> {
        self.that_writes_until(Instant::now() + WAIT)
    }

    fn that_writes_until(&self, until: Instant) -> Result<Lent<'_, D>, Fault> {
        let mut state = self.state.lock();
        state.writers += 1;
        let mut is_late = false;
        while state.login.is_none() && !is_late {
            is_late = self.freed.wait_until(&mut state, until).timed_out();
        }
        state.writers -= 1;
        let login = state.login.take().ok_or(Fault::Gone(BUSY))?;
        Ok(self.lend(login, true))
    }

    /// A session that is idle now.
    pub(crate) fn take_idle(&self) -> Option<Lent<'_, D>> {
        let (session, is_login) = self.state.lock().free()?;
        Some(self.lend(session, is_login))
    }

    fn lend(&self, session: D::Session, is_login: bool) -> Lent<'_, D> {
        Lent { from: self, session: Some(session), is_login }
    }
}

impl<S> State<S> {
    /// One that nobody uses, and whether it is that of the login.
    fn free(&mut self) -> Option<(S, bool)> {
        match self.idle.pop() {
            Some(session) => Some((session, false)),
            None if self.writers == 0 => self.login.take().map(|login| (login, true)),
            None => None,
        }
    }
}

impl<D: Door> std::ops::Deref for Lent<'_, D> {
    type Target = D::Session;

    fn deref(&self) -> &D::Session {
        self.session.as_ref().expect("a session is lent until it is dropped")
    }
}

impl<D: Door> Drop for Lent<'_, D> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut state = self.from.state.lock();
        match self.is_login {
            true => state.login = Some(session),
            false => state.idle.push(session),
        }
        // Who waits for that of the login must not sleep through it.
        if state.writers == 0 {
            self.from.freed.notify_one();
        } else {
            self.from.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// A token with so many sessions beside that of the login, which is number 0.
    struct Few {
        more: usize,
        opened: AtomicUsize,
    }

    impl Door for Few {
        type Session = usize;

        fn open(&self) -> Result<usize, Fault> {
            let number = self.opened.fetch_add(1, Ordering::SeqCst) + 1;
            match number <= self.more {
                true => Ok(number),
                false => Err(Fault::Code(RvError::SessionCount)),
            }
        }
    }

    fn sessions(more: usize) -> Sessions<Few> {
        Sessions::new(Few { more, opened: AtomicUsize::new(0) }, 0, 16)
    }

    fn in_a_moment() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn the_token_is_changed_in_the_session_of_the_login_and_needs_no_other() {
        for more in 0..3 {
            let sessions = sessions(more);
            assert_eq!(*sessions.that_writes().unwrap(), 0, "{more}");
            // All that there are have been used, and the token has no more.
            let all: Vec<_> = (0..=more).map(|_| sessions.take().unwrap()).collect();
            drop(all);
            for _ in 0..3 {
                assert_eq!(*sessions.that_writes().unwrap(), 0, "{more}");
            }
            let opened = sessions.door.opened.load(Ordering::SeqCst);
            assert!(opened <= more, "writing opened none: {opened} of {more}");
        }
    }

    #[test]
    fn who_is_to_change_the_token_waits_for_nobody_but_the_one_who_has_that_session() {
        let sessions = sessions(3);
        let login = sessions.take().unwrap();
        assert_eq!(*login, 0);
        let other = sessions.take().unwrap();
        assert!(sessions.that_writes_until(in_a_moment()).is_err(), "it is in use");
        thread::scope(|scope| {
            let writer = scope.spawn(|| sessions.that_writes().map(|lent| *lent));
            while sessions.state.lock().writers == 0 {
                thread::yield_now();
            }
            drop(login);
            assert_eq!(writer.join().unwrap().unwrap(), 0);
        });
        drop(other);
    }

    #[test]
    fn nobody_takes_it_from_who_waits_to_change_the_token() {
        let sessions = sessions(0);
        sessions.state.lock().writers = 1;
        assert!(sessions.take_idle().is_none());
        sessions.state.lock().writers = 0;
        assert_eq!(*sessions.take_idle().unwrap(), 0);
        assert_eq!(*sessions.take().unwrap(), 0);
    }

    #[test]
    fn a_token_that_has_no_more_sessions_is_not_asked_again() {
        let sessions = sessions(1);
        let (one, two) = (sessions.take().unwrap(), sessions.take().unwrap());
        thread::scope(|scope| {
            let third = scope.spawn(|| sessions.take().map(|lent| *lent));
            while sessions.state.lock().max != 2 {
                thread::yield_now();
            }
            drop(one);
            assert_eq!(third.join().unwrap().unwrap(), 0);
        });
        drop(two);
        assert_eq!(sessions.door.opened.load(Ordering::SeqCst), 2);
    }
}
