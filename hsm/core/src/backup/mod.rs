//! Backups: what leaves the HSM sealed, to come back into an HSM of the same security domain.
//!
//! The formats are specified in `docs/design/backup.md`. What a backup holds of key material is
//! what the store holds: material under the engine's material key, bound to its place. It is sealed
//! once more, with everything else, under the domain's backup key.
//!
//! Invariant: nothing of a backup is believed before the cipher has opened it.

mod aside;
mod chain;
mod cipher;
mod compare;
mod content;
mod envelope;
mod full_backup;
mod full_restore;
mod jobs;
mod key_backup;
mod key_restore;
mod manifest;
mod material;
mod parts;
mod reading;
mod schedules;
mod transfer;

pub use aside::{Aside, AsideError};
pub use cipher::{BackupCipher, BackupCipherError, DIGEST_BYTES, DOMAIN_SIGN_BYTES};
pub use compare::{Compared, Difference, MaterialFault, PublicVerifier};
pub(crate) use content::KeyContent;
pub use envelope::{BackupError, epoch_of_manifest};
pub use full_backup::Made;
pub use full_restore::Prepared;
pub(crate) use jobs::Jobs;
pub use jobs::{Begun, Done, Job, JobFailure, JobId, JobKind, JobState, StartRefusal};
pub(crate) use key_backup::seal as seal_key;
pub use key_backup::{KEY_BACKUP_BYTES_MAX, KeyBackup};
pub use manifest::{Counts, MANIFEST};
pub(crate) use schedules::ScheduleRecord;
pub use schedules::{
    Plan, Removal, RemovalFailure, SCHEDULES_MAX, ScheduleAccess, ScheduleFacts, ScheduleFailure,
    ScheduleName, ScheduleRefusal, ScheduleRequest, ScheduleStatus, ScheduleView, ScheduledRun,
};
pub use transfer::{Folder, OBJECT_BYTES_MAX, Objects, Target, TargetError, TransferError};
