//! The hidden command that puts an HSM's sealing keys under another guard, while the HSM runs.
//!
//! It is a process of its own: the agent that starts it holds no key, and the partition is confined
//! and reaches no guard. It writes the new slot and touches nothing else; that the new slot counts
//! is the agent's to say, once all HSMs have one.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use casemate_channel::{Reseal, Resealed, Seal, chain};
use casemate_engine_soft::seal::open_with_key;

use crate::error::GuardError;
use crate::files::{read_private, read_sealed};
use crate::keys::{KEY_BYTES, SealingKeys};
use crate::slot;

/// Largest order, in bytes.
const ORDER_BYTES_MAX: u64 = 64 * 1024;
/// Largest node seal, in bytes.
const SEALED_BYTES_MAX: usize = 16 * 1024;

/// Does what standard input says and answers on standard output.
pub fn main() -> ExitCode {
    let answer = match order().and_then(|order| reseal(&order)) {
        Ok(()) => Resealed::Done,
        Err(error) => Resealed::Refused { message: chain(&error) },
    };
    let text = serde_json::to_string(&answer).unwrap_or_default();
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn order() -> Result<Reseal, GuardError> {
    serde_json::from_reader(io::stdin().take(ORDER_BYTES_MAX)).map_err(GuardError::NoOrder)
}

/// Opens the keys with the guard in force and puts them, behind a new one, into the new slot.
pub(crate) fn reseal(order: &Reseal) -> Result<(), GuardError> {
    let keys = match &order.from {
        Seal::Key { path } => SealingKeys::of_file(read_private(path, KEY_BYTES)?),
        Seal::Slot(slot) => slot::open(slot)?,
    };
    let in_use = in_use(&keys, &order.sealed)?;
    slot::write(&order.to, &keys.renewed(in_use))
}

/// Which key the node seal is under.
fn in_use(keys: &SealingKeys, sealed: &Path) -> Result<usize, GuardError> {
    let bytes = read_sealed(sealed, SEALED_BYTES_MAX)?;
    let opens = |bytes: &[u8]| {
        let mut keys = keys.all().iter();
        keys.position(|key| open_with_key(key, bytes).is_ok())
    };
    bytes
        .as_deref()
        .and_then(opens)
        .ok_or_else(|| GuardError::ForeignKeys { sealed: sealed.to_owned() })
}
