//! What whole-system tests need to run the real program and to look at it from outside.
//!
//! It starts `casemate dev` as a user would, speaks REST to it over TLS, drives foreign clients,
//! reads the audit log and searches memory images and files for planted secrets.
//!
//! It deliberately links nothing of the product: what it knows, it knows from the processes, the
//! files and the wire, so a fault inside cannot hide itself from the tests.
//!
//! Invariant: every process that it starts is ended by its own id, also when a test fails.

pub mod audit;
pub mod clients;
pub mod dev;
pub mod kryoptic;
pub mod node;
pub mod own_main;
pub mod places;
pub mod process;
pub mod random;
pub mod rest;
pub mod scan;
pub mod softhsm;
pub mod tls;
pub mod tokens;

pub use dev::{Dev, Options};
pub use node::Node;
pub use rest::{Answer, Rest};
