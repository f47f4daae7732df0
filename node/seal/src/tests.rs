//! The suite of the port: every guard passes it, and a guard that is not here is not shipped.

#[cfg(feature = "token-tests")]
mod token;
#[cfg(feature = "tpm")]
mod tpm;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use casemate_channel::{Guard, Reseal, Seal, Slot, chain};
use casemate_engine_port::Secret;
use casemate_engine_soft::seal::{open_with_key, under_key};

use crate::error::GuardError;
use crate::keys::SealingKeys;
use crate::reseal::reseal;
use crate::slot::{open, open_or_create};

/// What the suite needs of a guard.
struct Kind {
    name: &'static str,
    /// Makes what the guard needs in the folder; each call makes another secret.
    make: fn(&Path) -> Guard,
    /// Puts another secret in the place of the guard's, as a mistake would.
    mistake: fn(&Guard),
    /// What is said of the mistake.
    says: &'static str,
    /// Takes away what the guard needs.
    lose: fn(&Guard),
    /// What is said of the loss.
    lost: &'static str,
}

fn kinds() -> Vec<Kind> {
    let kinds = plain().into_iter();
    #[cfg(feature = "token-tests")]
    let kinds = kinds.chain(token::kind());
    #[cfg(feature = "tpm")]
    let kinds = kinds.chain([tpm::kind()]);
    kinds.collect()
}

/// Those that need no device.
fn plain() -> [Kind; 2] {
    [
        Kind {
            name: "passphrase",
            make: |folder| {
                let file = folder.join("passphrase");
                private(&file, b"correct horse battery staple\n");
                Guard::Passphrase { file }
            },
            mistake: |guard| private(file_of(guard), b"incorrect horse\n"),
            says: "does not open the seal",
            lose: |guard| fs::remove_file(file_of(guard)).unwrap(),
            lost: "put it back",
        },
        Kind {
            name: "credential",
            make: |folder| {
                let file = folder.join("credential");
                private(&file, &[7; 32]);
                Guard::Credential { file }
            },
            mistake: |guard| private(file_of(guard), &[8; 32]),
            says: "right credential",
            lose: |guard| fs::remove_file(file_of(guard)).unwrap(),
            lost: "put it back",
        },
    ]
}

fn file_of(guard: &Guard) -> &Path {
    match guard {
        Guard::Passphrase { file } | Guard::Credential { file } => file,
        Guard::Tpm { .. } | Guard::Token { .. } => unreachable!("it has no file"),
    }
}

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// One guard with its slot.
struct Place {
    folder: tempfile::TempDir,
    slot: Slot,
}

impl Place {
    fn of(kind: &Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let guard = (kind.make)(folder.path());
        let slot = Slot { path: folder.path().join("1.seal"), guard };
        Self { folder, slot }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A node seal under the first of the keys.
    fn node_seal(&self, keys: &SealingKeys) -> PathBuf {
        let path = self.file("seal.bin");
        let payload = Secret::new(b"the domain secret".to_vec());
        fs::write(&path, under_key(&keys.all()[0], &payload).unwrap()).unwrap();
        path
    }

    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter_map(|path| Some((path.clone(), fs::read(&path).ok()?))).collect();
        files.sort();
        files
    }
}

/// What must have worked; if it has not, the test says why.
fn opened<T>(done: Result<T, GuardError>) -> T {
    done.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn text<T>(done: Result<T, GuardError>) -> String {
    match done {
        Ok(_) => "it worked".to_owned(),
        Err(error) => chain(&error),
    }
}

#[test]
fn what_was_put_in_comes_out_and_the_key_is_nowhere_in_clear() {
    for kind in kinds() {
        let place = Place::of(&kind);
        assert!(text(open(&place.slot)).contains("there is no seal"), "{}", kind.name);
        let made = opened(open_or_create(&place.slot));
        for _ in 0..2 {
            assert!(opened(open(&place.slot)) == made, "{}", kind.name);
            assert!(opened(open_or_create(&place.slot)) == made, "{}: made once", kind.name);
        }
        let mode = fs::metadata(&place.slot.path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", kind.name);
        let key = made.all()[0].expose();
        for (path, bytes) in place.files() {
            let planted = bytes.windows(16).any(|window| window == &key[..16]);
            assert!(!planted, "{}: {}", kind.name, path.display());
        }
    }
}

#[test]
fn a_mistaken_secret_and_a_lost_one_are_told_apart_and_change_nothing() {
    for kind in kinds() {
        let place = Place::of(&kind);
        opened(open_or_create(&place.slot));
        let sealed = fs::read(&place.slot.path).unwrap();
        (kind.mistake)(&place.slot.guard);
        let said = text(open_or_create(&place.slot));
        assert!(said.contains(kind.says), "{}: {said}", kind.name);
        (kind.lose)(&place.slot.guard);
        let said = text(open_or_create(&place.slot));
        assert!(said.contains(kind.lost), "{}: {said}", kind.name);
        assert_eq!(fs::read(&place.slot.path).unwrap(), sealed, "{}", kind.name);
        assert!(!place.file("1.seal.new").exists(), "{}", kind.name);
    }
}

#[test]
fn changed_and_cut_slots_are_refused() {
    for kind in kinds() {
        let place = Place::of(&kind);
        opened(open_or_create(&place.slot));
        let sealed = fs::read(&place.slot.path).unwrap();
        // All of the header, and some of the rest: a passphrase costs its time each.
        let step = if kind.name == "credential" { 1 } else { 7 };
        for at in (0..10).chain((10..sealed.len()).step_by(step)) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            fs::write(&place.slot.path, &changed).unwrap();
            assert!(open(&place.slot).is_err(), "{}: byte {at}", kind.name);
            fs::write(&place.slot.path, &sealed[..at]).unwrap();
            assert!(open(&place.slot).is_err(), "{}: cut at {at}", kind.name);
        }
        fs::write(&place.slot.path, vec![0; 20_000]).unwrap();
        assert!(open(&place.slot).is_err(), "{}: too long", kind.name);
    }
}

#[test]
fn a_slot_of_another_guard_is_named_as_that() {
    for kind in kinds() {
        for other in kinds().iter().filter(|other| other.name != kind.name) {
            let place = Place::of(&kind);
            opened(open_or_create(&place.slot));
            let guard = (other.make)(place.folder.path());
            let said = text(open(&Slot { guard, ..place.slot.clone() }));
            assert!(said.contains("something else"), "{} {}: {said}", kind.name, other.name);
        }
    }
}

#[test]
fn a_link_in_the_place_of_a_slot_is_not_followed() {
    for kind in kinds() {
        let place = Place::of(&kind);
        opened(open_or_create(&place.slot));
        let elsewhere = place.file("elsewhere");
        fs::rename(&place.slot.path, &elsewhere).unwrap();
        symlink(&elsewhere, &place.slot.path).unwrap();
        assert!(matches!(open(&place.slot), Err(GuardError::Io { .. })), "{}", kind.name);
    }
}

#[test]
fn every_guard_is_changed_to_every_other_and_the_old_slot_opens_nothing_new() {
    for kind in kinds() {
        for other in kinds() {
            let (place, target) = (Place::of(&kind), Place::of(&other));
            let before = opened(open_or_create(&place.slot));
            let sealed = place.node_seal(&before);
            let files = place.files();
            let order = Reseal {
                from: Seal::Slot(place.slot.clone()),
                to: target.slot.clone(),
                sealed: sealed.clone(),
            };
            reseal(&order).unwrap();
            assert_eq!(place.files(), files, "{}: nothing old is touched", kind.name);
            let after = opened(open(&target.slot));
            let bytes = fs::read(&sealed).unwrap();
            // The partition may be killed before it seals anew: the old key still opens.
            assert!(open_with_key(&after.all()[1], &bytes).is_ok());
            assert_eq!(after.all().len(), 2);
            // What it seals from then on opens with no key of the old slot.
            let bytes = fs::read(target.node_seal(&after)).unwrap();
            assert!(open_with_key(&after.all()[0], &bytes).is_ok());
            assert!(open_with_key(&before.all()[0], &bytes).is_err());
            // Once more, as after a kill: the same slot is made anew.
            reseal(&order).unwrap();
            assert!(opened(open(&target.slot)) != after);
        }
    }
}

#[test]
fn a_key_file_is_changed_to_every_guard() {
    for kind in kinds() {
        let place = Place::of(&kind);
        let keys = SealingKeys::generate();
        private(&place.file("seal.key"), keys.all()[0].expose());
        let sealed = place.node_seal(&keys);
        let from = Seal::Key { path: place.file("seal.key") };
        reseal(&Reseal { from, to: place.slot.clone(), sealed }).unwrap();
        assert!(opened(open(&place.slot)).all()[1] == keys.all()[0], "{}", kind.name);
    }
}

#[test]
fn a_change_from_what_does_not_open_makes_no_slot() {
    for kind in kinds() {
        let (place, target) = (Place::of(&kind), Place::of(&kind));
        let keys = opened(open_or_create(&place.slot));
        let sealed = place.node_seal(&keys);
        let order = |sealed: &Path| Reseal {
            from: Seal::Slot(place.slot.clone()),
            to: target.slot.clone(),
            sealed: sealed.to_owned(),
        };
        // A node seal of other keys, and none.
        place.node_seal(&SealingKeys::generate());
        for sealed in [&sealed, &place.file("none")] {
            let said = text(reseal(&order(sealed)));
            assert!(said.contains("from another time"), "{}: {said}", kind.name);
        }
        place.node_seal(&keys);
        (kind.mistake)(&place.slot.guard);
        assert!(text(reseal(&order(&sealed))).contains(kind.says), "{}", kind.name);
        assert!(!target.slot.path.exists(), "{}", kind.name);
    }
}

#[test]
fn files_for_a_guard_are_private_and_plain() {
    let kind = &kinds()[0];
    let place = Place::of(kind);
    let file = file_of(&place.slot.guard).to_owned();
    for mode in [0o640, 0o604, 0o660, 0o610, 0o644] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        assert!(text(open_or_create(&place.slot)).contains("chmod 600"), "{mode:o}");
    }
    for (bytes, says) in [
        (Vec::new(), "holds no passphrase"),
        (b"\n".to_vec(), "holds no passphrase"),
        (vec![b'x'; 1025], "its size"),
    ] {
        fs::remove_file(&file).unwrap();
        private(&file, &bytes);
        let said = text(open_or_create(&place.slot));
        assert!(said.contains(says), "{said}");
    }
    let guard = Guard::Passphrase { file: place.folder.path().to_owned() };
    assert!(text(open_or_create(&Slot { guard, ..place.slot.clone() })).contains("plain file"));
    assert!(!place.slot.path.exists(), "nothing was made");
}

#[test]
#[cfg(not(feature = "tpm"))]
fn a_tpm_is_refused_by_a_program_without() {
    let mut slot = Place::of(&kinds()[0]).slot;
    slot.guard = Guard::Tpm { device: "device:/dev/tpmrm0".to_owned(), pcrs: Vec::new() };
    assert!(text(open_or_create(&slot)).contains("--features tpm"));
    assert!(!slot.path.exists());
}

#[test]
fn a_credential_is_a_whole_key() {
    let place = Place::of(&kinds()[1]);
    for length in [0, 16, 31, 33, 64] {
        private(file_of(&place.slot.guard), &vec![7; length]);
        let said = text(open_or_create(&place.slot));
        assert!(said.contains("systemd-creds") && said.contains(&length.to_string()), "{said}");
    }
    assert!(!place.slot.path.exists());
}
