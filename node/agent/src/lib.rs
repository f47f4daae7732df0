//! The agent of one machine: it accepts connections and passes them to partitions, starts those and
//! starts them again, and serves the control plane and the development issuer under its own name.
//!
//! What it does not do: it links no engine and no store, opens no sealed record, and terminates no
//! HSM's TLS. No key can ever be in its memory.

mod accept;
mod activate;
mod asker;
mod audit_key;
mod authority;
mod backoff;
mod bundle;
mod client;
mod clock;
mod courier;
mod data_call;
mod dev;
mod dial;
mod directory;
mod doctor;
mod env_file;
mod ephemeral;
mod exposition;
mod facts;
mod folder;
mod gate;
mod hello;
mod hsm;
mod inspect;
mod limits;
mod local;
mod managed_identity;
mod monitor;
mod names;
mod node;
mod officers;
mod options;
mod own_service;
mod prepare;
mod process;
mod reseal;
mod rotate;
mod say;
mod slots;
pub mod sni;
mod state;
mod supervise;
mod users;

pub use asker::{HttpsAsker, Told};
pub use authority::AuthorityError;
pub use casemate_channel::{Engine, Pkcs11};
pub use data_call::{DataCall, DataCallError, data_call};
pub use dev::{DevError, dev};
pub use doctor::{DoctorError, doctor};
pub use facts::Facts;
pub use folder::FolderError;
pub use limits::{LimitChange, LimitRefusal};
pub use managed_identity::IdentityError;
pub use node::{
    AskError, ChangeError, CommandError, ConfigRefusal, CreationRefusal, HsmCommand, NewHsm,
    NodeError, ReadSealError, RecordError, SealCommand, SealRefusal, SealsError, SetError,
    TlsCommand, TlsError, TlsQuestion, hsm, key_file_seal, node, node_seal, seal_in_force, tls,
};
pub use options::{DevOptions, OptionRefusal, RETENTION_DAYS_DEFAULT, default_data_dir};
pub use process::{COURIER_COMMAND, PARTITION_COMMAND};
pub use reseal::{RESEAL_COMMAND, ResealError};
pub use rotate::{Rotate, RotateError, rotate};
pub use state::StateError;
pub use supervise::GaveUp;
