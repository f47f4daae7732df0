//! The port of the place where a restored HSM is made ready, beside the one that is there.

use std::sync::Arc;

use casemate_store_port::{BoxFuture, Store};

/// Why the place aside cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the place beside the store cannot be used: the operator must look at its disk")]
pub struct AsideError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where a store is made ready aside, and how it takes the place of the present one.
pub trait Aside: Send + Sync + 'static {
    /// Makes an empty store aside; one that was left there is removed.
    fn create(&self) -> BoxFuture<'_, Result<Arc<dyn Store>, AsideError>>;

    /// Decides, durably, that the store aside takes the place of the present one, and has the HSM
    /// opened anew from it. Every share of the store aside was dropped before.
    fn take_over(&self) -> BoxFuture<'_, Result<(), AsideError>>;

    /// Removes the store aside, if there is one.
    fn discard(&self) -> BoxFuture<'_, ()>;
}
