//! The embedded store, alone and under the sealing wrapper.

#[path = "../cipher/mod.rs"]
mod cipher;
mod concurrent;
mod conformance;
mod faults;
mod file;
mod reseal;
mod sealed;
mod setup;
mod tamper;
mod turn;
mod unknown;
mod watched;
