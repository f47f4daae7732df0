//! One key in the token: opened when it is used, opened anew when the token has forgotten it,
//! destroyed when nobody has it any more.

use std::sync::Arc;

use cryptoki::error::Error;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use parking_lot::Mutex;

use crate::fault::Fault;
use crate::template::{Role, in_use};
use crate::token::{Bound, Token};
use crate::wrapping::{self, Method, Under};

/// A wrapped key and, while it is open, its object.
pub(crate) struct KeyObject {
    token: Arc<Token>,
    under: Under,
    method: Method,
    wrapped: Vec<u8>,
    role: Role,
    open: Mutex<Option<(u64, ObjectHandle)>>,
}

impl KeyObject {
    /// Not open yet.
    pub(crate) fn new(
        token: Arc<Token>,
        (under, method): (Under, Method),
        wrapped: Vec<u8>,
        role: Role,
    ) -> Self {
        Self { token, under, method, wrapped, role, open: Mutex::new(None) }
    }

    /// Lets work use the open key, in one session. Work may run twice.
    pub(crate) fn with<T>(
        &self,
        work: impl Fn(&Session, ObjectHandle) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        self.token.with(|bound| {
            let object = self.object(bound)?;
            match work(bound.session, object).map_err(Fault::from) {
                Err(fault) if fault.is_lost_object() => {
                    self.drop_object(bound.generation, object);
                    Ok(work(bound.session, self.object(bound)?)?)
                }
                done => done,
            }
        })
    }

    /// The object in this connection.
    fn object(&self, bound: &Bound<'_>) -> Result<ObjectHandle, Fault> {
        let mut open = self.open.lock();
        if let Some((generation, object)) = *open
            && generation == bound.generation
        {
            return Ok(object);
        }
        let template = in_use(self.role);
        let object = wrapping::unwrap(bound, self.under, self.method, &self.wrapped, &template)?;
        *open = Some((bound.generation, object));
        Ok(object)
    }

    /// The token does not know the object any more.
    fn drop_object(&self, generation: u64, object: ObjectHandle) {
        let mut open = self.open.lock();
        if *open == Some((generation, object)) {
            *open = None;
        }
    }
}

impl Drop for KeyObject {
    fn drop(&mut self) {
        if let Some((generation, object)) = self.open.lock().take() {
            self.token.forget(generation, object);
        }
    }
}
