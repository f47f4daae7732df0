//! The trace of the request that this thread works for at the moment.
//!
//! It is set around each poll of the request's future, and taken off afterwards: so whatever the
//! request comes through finds it, and no other request does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use crate::trace::{Step, Trace};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Trace>>> = const { RefCell::new(None) };
}

/// The trace of the present request, if it is traced.
pub fn current() -> Option<Arc<Trace>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Begins to measure a part of the present request; it ends when the result is dropped. Nothing
/// happens if the request is not traced.
pub fn step(name: &'static str) -> Step {
    CURRENT.with_borrow(|trace| Step::begin(trace.as_ref(), name))
}

/// Runs a future as work for a request.
pub async fn within<F: Future>(trace: Option<Arc<Trace>>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _entered = enter(trace.as_ref());
        future.as_mut().poll(context)
    })
    .await
}

/// Makes this thread work for a traced request until the result is dropped, on the same thread.
pub fn enter(trace: Option<&Arc<Trace>>) -> Option<Entered> {
    let trace = Arc::clone(trace?);
    Some(Entered { before: CURRENT.replace(Some(trace)), _thread: std::marker::PhantomData })
}

/// This thread works for a traced request.
pub struct Entered {
    before: Option<Arc<Trace>>,
    /// It must be dropped where it was made.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let after = CURRENT.replace(self.before.take());
        // Its last holder may be this one, and its end needs the cell.
        drop(after);
    }
}
