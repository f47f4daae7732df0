//! Whether an HSM holds what a backup says, and whether its keys work: for one that was restored to
//! be thrown away. Nothing is changed, and nothing is used on behalf of anybody.
//!
//! Each key version's material is opened at its place and tried: a signature by it must be right
//! under the public part that the backup shows, and what a symmetric key encrypts it must decrypt.

use std::collections::{BTreeSet, HashSet};

use casemate_engine_port::{
    CipherAlgorithm, DecryptInput, DigestLength, EncryptInput, Engine, KeyHandle, KeySpec,
    PublicPart, SignAlgorithm, WrappedMaterial,
};
use uuid::Uuid;

use super::content::KeyContent;
use super::jobs::JobFailure;
use super::parts::Item;
use super::reading::Reader;
use super::{Counts, Folder, Objects};
use crate::handles::place;
use crate::keys::public;
use crate::rbac::{Assignment, Definition};
use crate::records::{KeyRecord, VersionRecord};
use crate::state::{State, VersionEntry};
use crate::{Hsm, KeyName, UnixSeconds, VersionId};

/// Most differences that are kept one by one; beyond them they are counted.
const DIFFERENCES_MAX: usize = 10_000;

/// What is signed or encrypted to try a key. Nobody else can be made to take it for anything: it
/// stays here.
const TRIAL: [u8; 64] = *b"Casemate tries whether a restored key still works, and no more.\n";

/// Checks a signature with nothing but a public key.
pub trait PublicVerifier {
    /// Whether the signature is right.
    fn is_right(
        &self,
        spec: KeySpec,
        public: &PublicPart,
        algorithm: SignAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> bool;
}

/// What an HSM was compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// How much the backup holds.
    pub counts: Counts,
    /// When it was made.
    pub made: UnixSeconds,
    /// After which change of the HSM.
    pub sequence: u64,
    /// Key versions whose material was opened and worked.
    pub worked: u64,
    /// What differs, the first ones of it.
    pub differences: Vec<Difference>,
    /// How many more differences there are.
    pub more: u64,
}

/// Something that is not as the backup says. *Here* is the restored HSM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// A key that is not here.
    #[error("key '{0}': is not here")]
    KeyIsMissing(KeyName),
    /// A key that the backup does not hold.
    #[error("key '{0}': is here, and the backup does not hold it")]
    KeyIsSurplus(KeyName),
    /// A key's own record.
    #[error("key '{name}': {what} differs")]
    Key {
        /// Which key.
        name: KeyName,
        /// What of it.
        what: &'static str,
    },
    /// A version that is not here.
    #[error("key '{name}', version {version}: is not here")]
    VersionIsMissing {
        /// Which key.
        name: KeyName,
        /// Which version.
        version: VersionId,
    },
    /// A version that the backup does not hold.
    #[error("key '{name}', version {version}: is here, and the backup does not hold it")]
    VersionIsSurplus {
        /// Which key.
        name: KeyName,
        /// Which version.
        version: VersionId,
    },
    /// A version's record.
    #[error("key '{name}', version {version}: {what} differs")]
    Version {
        /// Which key.
        name: KeyName,
        /// Which version.
        version: VersionId,
        /// What of it.
        what: &'static str,
    },
    /// A version that does not work.
    #[error("key '{name}', version {version}: {fault}")]
    Material {
        /// Which key.
        name: KeyName,
        /// Which version.
        version: VersionId,
        /// What is wrong.
        fault: MaterialFault,
    },
    /// A role assignment that is not here.
    #[error("role assignment {0}: is not here")]
    AssignmentIsMissing(Uuid),
    /// A role assignment that the backup does not hold.
    #[error("role assignment {0}: is here, and the backup does not hold it")]
    AssignmentIsSurplus(Uuid),
    /// A role assignment that is another one.
    #[error("role assignment {0}: differs")]
    Assignment(Uuid),
    /// A role definition that is not here.
    #[error("role definition {0}: is not here")]
    DefinitionIsMissing(Uuid),
    /// A role definition that the backup does not hold.
    #[error("role definition {0}: is here, and the backup does not hold it")]
    DefinitionIsSurplus(Uuid),
    /// A role definition that is another one.
    #[error("role definition {0}: differs")]
    Definition(Uuid),
}

/// Why a key version does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaterialFault {
    /// It does not open under the domain's material key at its place.
    #[error("its key material does not open")]
    Closed,
    /// It opens and gives no result.
    #[error("its key material opens, and does not work")]
    Useless,
    /// Its signature is not right under its public part.
    #[error("its key material belongs to another public part")]
    OtherPublicPart,
}

impl Hsm {
    /// Compares this HSM with a backup, and tries every key version.
    ///
    /// `own` is who restored the throw-away HSM: a backup need not hold its role assignment.
    /// `is_its_restore` says whether this HSM was restored from this very backup: then versions
    /// count their GCM encryptions as copies, and are compared in that too.
    pub async fn compare(
        &self,
        folder: &Folder,
        objects: &dyn Objects,
        verifier: &dyn PublicVerifier,
        (own, is_its_restore): (Uuid, bool),
    ) -> Result<Compared, JobFailure> {
        let mut reader = Reader::open(self, folder, objects).await?;
        let manifest = reader.newest();
        let found = Compared {
            counts: manifest.whole(),
            made: manifest.made,
            sequence: manifest.sequence,
            worked: 0,
            differences: Vec::new(),
            more: 0,
        };
        let (names, seen) = (BTreeSet::new(), HashSet::new());
        let mut comparing = Comparing { hsm: self, verifier, is_its_restore, found, names, seen };
        while let Some(item) = reader.next().await? {
            match item {
                Item::Key(content) => comparing.key(&content),
                Item::Assignment(assignment) => comparing.assignment(&assignment),
                Item::Definition(definition) => comparing.definition(&definition),
                // The reader keeps it to itself.
                Item::Roll(_) => {}
            }
        }
        comparing.surplus(own);
        Ok(comparing.found)
    }
}

struct Comparing<'a> {
    hsm: &'a Hsm,
    verifier: &'a dyn PublicVerifier,
    is_its_restore: bool,
    found: Compared,
    /// Keys that the backup has shown, in lower case.
    names: BTreeSet<String>,
    /// Assignments and definitions that it has shown.
    seen: HashSet<Uuid>,
}

impl Comparing<'_> {
    fn differ(&mut self, difference: Difference) {
        match self.found.differences.len() < DIFFERENCES_MAX {
            true => self.found.differences.push(difference),
            false => self.found.more += 1,
        }
    }

    fn key(&mut self, content: &KeyContent) {
        let name = &content.key.name;
        self.names.insert(name.folded().to_owned());
        let held = {
            let state = self.hsm.state.read();
            let entry = state.keys.get(name.folded());
            entry.map(|entry| (entry.record.clone(), entry.versions.clone()))
        };
        let Some((record, versions)) = held else {
            return self.differ(Difference::KeyIsMissing(name.clone()));
        };
        if let Some(what) = of_key(&record, &content.key) {
            self.differ(Difference::Key { name: name.clone(), what });
        }
        let said: HashSet<VersionId> = content.versions.iter().map(|one| one.id).collect();
        for surplus in versions.iter().filter(|one| !said.contains(&one.record.id)) {
            let version = surplus.record.id;
            self.differ(Difference::VersionIsSurplus { name: name.clone(), version });
        }
        let counts = content.counts_of_a_copy();
        for (said, count) in content.versions.iter().zip(counts) {
            let (name, version) = (name.clone(), said.id);
            let Some(held) = versions.iter().find(|one| one.record.id == version) else {
                self.differ(Difference::VersionIsMissing { name, version });
                continue;
            };
            let counted = self.is_its_restore && !counts_as_a_copy(held, count);
            let counted = counted.then_some("the count of GCM encryptions");
            let is_same =
                is_same_material(&*self.hsm.engine, self.is_its_restore, &name, &held.record, said);
            let other = !is_same;
            let material = other.then_some("its wrapped key material");
            if let Some(what) = of_version(&held.record, said).or(material).or(counted) {
                self.differ(Difference::Version { name: name.clone(), version, what });
            }
            match tried(&*self.hsm.engine, self.verifier, &name, &held.record, said) {
                Ok(()) => self.found.worked += 1,
                Err(fault) => self.differ(Difference::Material { name, version, fault }),
            }
        }
    }

    fn assignment(&mut self, said: &Assignment) {
        self.seen.insert(said.name);
        let state = self.hsm.state.read();
        let held = state.assignments.get(&said.name).map(|(one, _)| **one == *said);
        drop(state);
        match held {
            Some(true) => {}
            Some(false) => self.differ(Difference::Assignment(said.name)),
            None => self.differ(Difference::AssignmentIsMissing(said.name)),
        }
    }

    fn definition(&mut self, said: &Definition) {
        self.seen.insert(said.id);
        let state = self.hsm.state.read();
        let held = state.definitions.get(&said.id).map(|(one, _)| **one == *said);
        drop(state);
        match held {
            Some(true) => {}
            Some(false) => self.differ(Difference::Definition(said.id)),
            None => self.differ(Difference::DefinitionIsMissing(said.id)),
        }
    }

    /// What is here and was not shown.
    fn surplus(&mut self, own: Uuid) {
        let mut surplus = self.unseen(&self.hsm.state.read(), own);
        // Of a map without an order.
        surplus.sort_by_key(ToString::to_string);
        for difference in surplus {
            self.differ(difference);
        }
    }

    fn unseen(&self, state: &State, own: Uuid) -> Vec<Difference> {
        let entries = state.keys.iter().filter(|(name, _)| !self.names.contains(*name));
        let keys = entries.map(|(_, entry)| entry.record.name.clone());
        let unseen = |id: &Uuid| !self.seen.contains(id);
        let assignments = state.assignments.iter();
        let assignments =
            assignments.filter(|(name, (one, _))| unseen(name) && one.principal != own);
        let definitions = state.definitions.keys().filter(|id| unseen(id));
        keys.map(Difference::KeyIsSurplus)
            .chain(assignments.map(|(name, _)| Difference::AssignmentIsSurplus(*name)))
            .chain(definitions.map(|id| Difference::DefinitionIsSurplus(*id)))
            .collect()
    }
}

/// What of a key is not as the backup says, if anything is not.
fn of_key(held: &KeyRecord, said: &KeyRecord) -> Option<&'static str> {
    let KeyRecord { name, created, versions, life } = said;
    let checks = [
        (held.name.to_string() == name.to_string(), "its name as first written"),
        (held.created == *created, "the time of its creation"),
        (held.life == *life, "whether it is deleted, and until when it can be recovered"),
        (held.versions == *versions, "which versions it has, or their order"),
    ];
    checks.into_iter().find(|(is_same, _)| !is_same).map(|(_, what)| what)
}

/// What of a version is not as the backup says, if anything is not.
fn of_version(held: &VersionRecord, said: &VersionRecord) -> Option<&'static str> {
    let VersionRecord { id, spec, public: part, key_ops, enabled, .. } = said;
    let VersionRecord { not_before, expires, created, updated, tags, .. } = said;
    let checks = [
        (held.id == *id && held.spec == *spec, "its type or size"),
        (public(&held.public) == public(part), "its public part"),
        (held.key_ops == *key_ops, "what it may be used for"),
        (held.enabled == *enabled, "whether it is enabled"),
        (held.not_before == *not_before, "from when on it may be used"),
        (held.expires == *expires, "until when it may be used"),
        (held.created == *created, "the time of its creation"),
        (held.updated == *updated, "the time of its last change"),
        (held.tags == *tags, "its tags"),
    ];
    checks.into_iter().find(|(is_same, _)| !is_same).map(|(_, what)| what)
}

fn counts_as_a_copy(held: &VersionEntry, count: Option<u64>) -> bool {
    held.gcm.reserved() == count.unwrap_or_default()
}

/// Whether what is held is what the backup says: the same bytes or, where one of them is of an
/// epoch before the other, the same key under another secret. What was restored from this very
/// backup was wrapped anew only if that is of an earlier epoch. That a pair is the same is seen
/// when it is tried.
fn is_same_material(
    engine: &dyn Engine,
    is_its_restore: bool,
    name: &KeyName,
    held: &VersionRecord,
    said: &VersionRecord,
) -> bool {
    if held.wrapped == said.wrapped {
        return true;
    }
    let place = place(name, said.id);
    let was = WrappedMaterial(said.wrapped.clone());
    match engine.rewrap(said.spec, &was, &place) {
        Ok(Some(_)) => {}
        Ok(None) if !is_its_restore => {}
        Ok(None) | Err(_) => return false,
    }
    let KeySpec::Oct(size) = said.spec else { return true };
    let (iv, plaintext) = (Some(&TRIAL[..16]), TRIAL.as_slice());
    let sealed = |wrapped: &[u8]| {
        let handle = engine.open(said.spec, &WrappedMaterial(wrapped.to_vec()), &place).ok()?;
        let input = EncryptInput { plaintext, iv, aad: None };
        Some(handle.encrypt(CipherAlgorithm::AesCbc(size), input).ok()?.ciphertext)
    };
    let was = sealed(&said.wrapped);
    was.is_some() && was == sealed(&held.wrapped)
}

/// Opens what is held, and tries it against the public part that the backup shows.
fn tried(
    engine: &dyn Engine,
    verifier: &dyn PublicVerifier,
    name: &KeyName,
    held: &VersionRecord,
    said: &VersionRecord,
) -> Result<(), MaterialFault> {
    let wrapped = WrappedMaterial(held.wrapped.clone());
    let handle = engine.open(held.spec, &wrapped, &place(name, held.id));
    let handle = handle.map_err(|_| MaterialFault::Closed)?;
    match held.spec {
        KeySpec::Oct(size) => tried_symmetric(&*handle, CipherAlgorithm::AesCbc(size)),
        KeySpec::Rsa(_) | KeySpec::Ec(_) => tried_pair(&*handle, verifier, held.spec, said),
    }
}

fn tried_symmetric(
    handle: &dyn KeyHandle,
    algorithm: CipherAlgorithm,
) -> Result<(), MaterialFault> {
    let (iv, plaintext) = (Some(&TRIAL[..16]), TRIAL.as_slice());
    let input = EncryptInput { plaintext, iv, aad: None };
    let sealed = handle.encrypt(algorithm, input).map_err(|_| MaterialFault::Useless)?;
    let ciphertext = sealed.ciphertext.as_slice();
    let input = DecryptInput { ciphertext, iv, aad: None, tag: None };
    let opened = handle.decrypt(algorithm, input).map_err(|_| MaterialFault::Useless)?;
    match ciphertext != plaintext && opened.expose() == plaintext {
        true => Ok(()),
        false => Err(MaterialFault::Useless),
    }
}

fn tried_pair(
    handle: &dyn KeyHandle,
    verifier: &dyn PublicVerifier,
    spec: KeySpec,
    said: &VersionRecord,
) -> Result<(), MaterialFault> {
    let algorithm = SignAlgorithm::ALL.into_iter().find(|algorithm| algorithm.fits(spec));
    let algorithm = algorithm.ok_or(MaterialFault::Useless)?;
    let length = match algorithm.input_length(spec) {
        DigestLength::Exactly(length) => length,
        DigestLength::AtMost(most) => most.min(TRIAL.len()),
    };
    let digest = TRIAL.get(..length).unwrap_or(&TRIAL);
    let signature = handle.sign(algorithm, digest).map_err(|_| MaterialFault::Useless)?;
    match verifier.is_right(spec, &public(&said.public), algorithm, digest, &signature) {
        true => Ok(()),
        false => Err(MaterialFault::OtherPublicPart),
    }
}
