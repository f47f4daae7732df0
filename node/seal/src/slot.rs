//! A slot: one file of sealing keys under one guard.

use casemate_channel::Slot;

use crate::error::GuardError;
use crate::files::{read_sealed, replace};
use crate::guard::ready;
use crate::keys::SealingKeys;

/// Largest slot, in bytes.
const SLOT_BYTES_MAX: usize = 16 * 1024;

/// Opens a slot.
///
/// # Errors
/// When it is not there, or its guard does not open it.
pub fn open(slot: &Slot) -> Result<SealingKeys, GuardError> {
    let sealed = read_sealed(&slot.path, SLOT_BYTES_MAX)?;
    let sealed = sealed.ok_or_else(|| GuardError::NoSlot { path: slot.path.clone() })?;
    let layout = ready(&slot.guard)?.open(&sealed, &slot.path)?;
    SealingKeys::decode(&layout)
        .ok_or_else(|| GuardError::Malformed { slot: slot.path.clone(), cause: None })
}

/// Opens a slot, or makes one with a new key for a new HSM.
///
/// # Errors
/// When it does not open, or cannot be made.
pub fn open_or_create(slot: &Slot) -> Result<SealingKeys, GuardError> {
    match open(slot) {
        Err(GuardError::NoSlot { .. }) => {
            let keys = SealingKeys::generate();
            write(slot, &keys)?;
            Ok(keys)
        }
        done => done,
    }
}

/// Puts keys into a slot, durably, and opens it again with the guard read anew: what would not open
/// at the next start shows here.
pub(crate) fn write(slot: &Slot, keys: &SealingKeys) -> Result<(), GuardError> {
    let sealed = ready(&slot.guard)?.seal(&keys.encode(), &slot.path)?;
    replace(&slot.path, &sealed)?;
    if open(slot)? == *keys {
        Ok(())
    } else {
        Err(GuardError::NotGivenBack { slot: slot.path.clone() })
    }
}
