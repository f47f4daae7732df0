//! What a program beside the partition needs to make an HSM of the same security domain: the keys
//! in their places, and the domain that a node's seal holds. Nothing of it serves anybody.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_channel::Seal;
use casemate_engine_port::{Engine, EngineError};
use casemate_engine_soft::SoftEngine;
use casemate_engine_soft::backup::BackupKeys;
use casemate_engine_soft::domain::{DomainKeys, RecordCipher as SoftCipher};
use casemate_hsm::backup::BackupCipher;
use casemate_hsm::security_domain::Domain;
use casemate_store_port::RecordCipher;

use crate::backup_cipher::DomainBackups;
use crate::keeper::copy;
use crate::record_cipher::DomainCipher;
use crate::seal::{NodeSeal, Sealing};

/// Why a node's seal gives no domain.
#[derive(Debug, thiserror::Error)]
pub enum SealRefusal {
    /// It does not open.
    #[error("the seal of the HSM in {} does not open: use the officers' keys", folder.display())]
    Closed {
        /// The HSM's folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HSM there has no domain yet.
    #[error("the HSM in {} is not activated, so it has no security domain yet", folder.display())]
    NotActivated {
        /// The HSM's folder.
        folder: PathBuf,
    },
}

/// The security domain that the seal in an HSM's folder holds. The seal is read and nothing else.
///
/// # Errors
/// When the seal does not open, or holds no domain.
pub fn node_domain(folder: &Path, seal: &Seal) -> Result<Domain, SealRefusal> {
    let closed = |cause: Box<_>| SealRefusal::Closed { folder: folder.to_owned(), cause };
    let sealing = match seal {
        Seal::Key { path } => Sealing::File(path.clone()),
        Seal::Slot(slot) => {
            Sealing::Keys(casemate_node_seal::open(slot).map_err(|error| closed(Box::new(error)))?)
        }
    };
    let opened = NodeSeal::open(folder, sealing).map_err(|error| closed(Box::new(error)))?;
    let domain = opened.domain().map(copy);
    domain.ok_or_else(|| SealRefusal::NotActivated { folder: folder.to_owned() })
}

/// What an HSM of a domain works with in one epoch.
pub struct DomainPorts {
    /// The software engine.
    pub engine: Arc<dyn Engine>,
    /// The cipher of its backups.
    pub backup: Arc<dyn BackupCipher>,
}

/// What an HSM of the domain works with in this epoch.
///
/// # Errors
/// When the cryptography does not pass its self-tests.
pub fn domain_ports(epoch: u32, keys: DomainKeys) -> Result<DomainPorts, EngineError> {
    let (_, _, material, backup) = keys.into_parts();
    let backup = Arc::new(DomainBackups(BackupKeys::new(epoch, backup)));
    Ok(DomainPorts { engine: Arc::new(SoftEngine::new(material)?), backup })
}

/// What seals the records of an HSM of the domain in this epoch.
pub fn record_cipher(keys: DomainKeys) -> Arc<dyn RecordCipher> {
    let (record, head, ..) = keys.into_parts();
    Arc::new(DomainCipher(SoftCipher::new(record, head)))
}
