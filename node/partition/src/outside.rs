//! What a program beside the partition needs to make an HSM of the same security domain: the keys
//! in their places, and the domain that a node's seal holds. Nothing of it serves anybody.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use casemate_channel::Seal;
use casemate_engine_pkcs11::{EarlierKey, Pkcs11Engine, Token};
pub use casemate_engine_pkcs11::{TokenError, TokenOptions, Visit};
use casemate_engine_port::{Engine, EngineError};
use casemate_engine_soft::SoftEngine;
use casemate_engine_soft::backup::BackupKeys;
use casemate_engine_soft::domain::{DomainKeys, RecordCipher as SoftCipher, backup_keys};
use casemate_hsm::backup::BackupCipher;
use casemate_hsm::security_domain::{Domain, EpochKeys};
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

/// What an HSM of a domain works with, in the newest epoch of it.
pub struct DomainPorts {
    /// The engine; it opens material of earlier epochs too.
    pub engine: Arc<dyn Engine>,
    /// What ends with the HSM, if its keys are in a token.
    pub visit: Option<Visit>,
    /// The cipher of its backups; it opens those of earlier epochs too.
    pub backup: Arc<dyn BackupCipher>,
}

/// Why there are no ports.
#[derive(Debug, thiserror::Error)]
pub enum PortsRefusal {
    /// The cryptography does not pass its self-tests.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// What an HSM of the domain works with, for a short time: in a token, if one is given, which must
/// hold no keys.
///
/// # Errors
/// When the cryptography does not pass its self-tests, or the token cannot be used.
pub fn domain_ports(
    domain: &Domain,
    token: Option<&TokenOptions>,
) -> Result<DomainPorts, PortsRefusal> {
    let (_, _, material, backup) = DomainKeys::derive(domain.secret()).into_parts();
    let mut materials = Vec::new();
    let mut backups = BackupKeys::new(domain.epoch(), backup);
    for epoch in domain.epochs().iter().filter(|epoch| epoch.number != domain.epoch()) {
        let (backup, material) = match &epoch.keys {
            EpochKeys::Whole(secret) => {
                let (_, _, material, backup) = DomainKeys::derive(secret).into_parts();
                (backup, material)
            }
            EpochKeys::BackupOnly(both) => {
                backup_keys(both).expect("a domain's backup keys have their length")
            }
        };
        materials.push(EarlierKey { epoch: epoch.number, material_key: material });
        backups = backups.and_earlier(epoch.number, backup);
    }
    let (engine, visit): (Arc<dyn Engine>, _) = match token {
        None => {
            let engine = SoftEngine::new(material)?;
            let mut earlier = materials.into_iter().map(|earlier| earlier.material_key);
            (Arc::new(earlier.try_fold(engine, SoftEngine::and_earlier)?), None)
        }
        Some(token) => {
            let (engine, visit) = Pkcs11Engine::visit(Token::load(token)?, material, materials)?;
            (Arc::new(engine), Some(visit))
        }
    };
    Ok(DomainPorts { engine, visit, backup: Arc::new(DomainBackups(backups)) })
}

/// What seals the records of an HSM of the domain.
pub fn record_cipher(domain: &Domain) -> Arc<dyn RecordCipher> {
    let (record, head, ..) = DomainKeys::derive(domain.secret()).into_parts();
    Arc::new(DomainCipher(SoftCipher::new(record, head)))
}
