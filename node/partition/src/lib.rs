//! One HSM, one process: here, and only here, engine, store, audit, domain and data plane are put
//! together.
//!
//! It contains no rule of the domain and opens no network socket: connections, incoming and
//! outgoing, are handed in by the agent over the channel.
//!
//! Invariants:
//! - The process is confined before it reads a byte from outside and before a second thread
//!   exists.
//! - It says that it is ready only after all of its store has been verified and a record could be
//!   added to its audit trail.
//! - It never serves below the last change that its node seal remembers.

mod agent;
mod aside;
mod backup_cipher;
mod boot;
mod certificate;
mod clock;
mod confirm;
mod courier;
mod due;
mod failure;
mod fetch;
mod files;
mod identify;
mod inspect;
mod keeper;
mod ledger;
mod loss;
mod metrics;
mod open;
mod outside;
mod own_certificate;
mod places;
mod pool;
mod record_cipher;
mod resolve;
mod rewrap;
mod run;
mod schedules;
mod seal;
mod sentinel;
mod serve;
mod spawn;
mod tls;
mod traced_engine;

use std::io::Write as _;
use std::process::ExitCode;

pub use clock::SystemClock;
pub use ledger::is_identity;
pub use outside::{
    DomainPorts, PortsRefusal, SealRefusal, TokenError, TokenOptions, Visit, domain_ports,
    node_domain, record_cipher,
};

const BY_HAND: &str = "casemate: a partition has no channel to an agent; agents start partitions \
                       by themselves: use `casemate dev`\n";

/// Runs a partition: the hidden subcommand of the one executable. The channel to the agent is
/// descriptor 3, and no other thread exists yet.
pub fn main() -> ExitCode {
    let done = boot::begin().and_then(run::run);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code() == "channel" {
                // By hand there is no agent, and no log either.
                let _ = std::io::stderr().write_all(BY_HAND.as_bytes());
            }
            tracing::error!(code = failure.code(), "{}", failure.text());
            ExitCode::FAILURE
        }
    }
}
