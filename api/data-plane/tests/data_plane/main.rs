//! The data plane as a caller sees it: a real HSM over a real engine and store, real tokens, the
//! audit trail in memory.

mod audit;
mod crypto;
mod golden;
mod hang_up;
mod keys;
mod kit;
mod protocol;
mod revoke;
mod roles;
