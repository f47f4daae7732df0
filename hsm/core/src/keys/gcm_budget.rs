//! Counts the GCM encryptions of a key version, so that random initialization vectors stay safe.
//!
//! With random 96-bit vectors a key may encrypt 2^32 times (SP 800-38D, 8.3). The count is over all
//! partitions and restarts: a block is reserved in the store before its first use, and what is left
//! of it at a stop is given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use casemate_store_port::{Change, Condition, Generation, Write};
use parking_lot::Mutex;

use super::find::live;
use super::use_key::{UseRefusal, Used};
use crate::Hsm;
use crate::commit::Attempt;
use crate::records::{self, GcmRecord};
use crate::state::Applied;

/// Encryptions reserved at once: small enough that a thousand restarts a day waste nothing that
/// matters, large enough that a busy key rarely waits for the store.
const BLOCK: u64 = 1 << 20;

/// What a reservation leaves after the encryption that asked for it.
const BLOCK_REST: i64 = (1 << 20) - 1;

/// From here on a warning is logged at each reservation.
const WARNING: u64 = 1 << 31;

/// No more than this many encryptions.
const ENCRYPTIONS_MAX: u64 = 1 << 32;

/// What a version may still encrypt before it must reserve anew.
#[derive(Default)]
pub(crate) struct GcmBudget {
    /// Left of the reserved block.
    left: AtomicI64,
    reserved: AtomicU64,
    stored: Mutex<Option<Generation>>,
}

impl GcmBudget {
    /// Takes note of what the store holds, and of what this partition may use of it.
    pub(crate) fn note_stored(&self, reserved: u64, granted: i64, generation: Generation) {
        self.reserved.store(reserved, Ordering::Release);
        *self.stored.lock() = Some(generation);
        self.left.fetch_add(granted, Ordering::AcqRel);
    }

    /// How many encryptions are reserved.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// The change that last stored the count; `None` if it was never stored.
    pub(crate) fn generation(&self) -> Option<Generation> {
        *self.stored.lock()
    }

    fn take(&self) -> bool {
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take_one).is_ok()
    }
}

/// What a copy of a version counts as reserved from its beginning: half of what the version that
/// was backed up had left is the original's, so that both together stay within the limit.
pub(crate) fn reserved_by_a_copy(reserved: u64) -> u64 {
    let left = ENCRYPTIONS_MAX.saturating_sub(reserved);
    // Whole blocks: half a block can never be reserved.
    ENCRYPTIONS_MAX - left / 2 / BLOCK * BLOCK
}

fn take_one(left: i64) -> Option<i64> {
    (left > 0).then(|| left - 1)
}

impl Hsm {
    /// Counts one encryption, reserving a new block if the last is used up.
    pub(super) async fn count_gcm(self: &Arc<Self>, used: &Used) -> Result<(), UseRefusal> {
        let gcm = Arc::clone(used.gcm());
        if gcm.take() {
            return Ok(());
        }
        let key = used.key();
        let folded = key.name.folded().to_owned();
        let path = records::gcm_path(&key.name, key.version);
        self.attempt(&folded, || {
            // Another caller may have reserved while this one waited for its turn.
            if gcm.take() {
                return Ok(Attempt { change: Change::default(), applied: vec![], result: () });
            }
            let before = gcm.reserved.load(Ordering::Acquire);
            let reserved = before + BLOCK;
            if reserved > ENCRYPTIONS_MAX {
                return Err(UseRefusal::GcmExhausted);
            }
            if reserved > WARNING {
                tracing::warn!(key = %key.name, version = %key.version, reserved,
                    "a key version nears its limit of GCM encryptions: create a new version");
            }
            let state = self.state.read();
            let entry = live(&state, &key.name)?;
            let condition = (*gcm.stored.lock()).map_or(Condition::Absent, Condition::At);
            let record = GcmRecord { reserved };
            Ok(Attempt {
                change: Change {
                    // The key's own record too: a purged key leaves no count behind.
                    expect: vec![
                        (records::key_path(&key.name), Condition::At(entry.generation)),
                        (path.clone(), condition),
                    ],
                    writes: vec![Write::Put(path.clone(), records::encode(&record))],
                },
                applied: vec![Applied::Gcm {
                    key: folded.clone(),
                    version: key.version,
                    reserved,
                    granted: BLOCK_REST,
                }],
                result: (),
            })
        })
        .await
    }
}
