//! The seal opens with its own key, and with nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_767_225_600);

/// Where a test's sealing keys are.
enum Kind {
    File,
    /// As those of a slot, by a byte each.
    Slot(Vec<u8>),
}

struct Node {
    dir: tempfile::TempDir,
    sealing: Kind,
}

impl Node {
    fn with_key() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, sealing: Kind::File }
    }

    fn with_slot(keys: &[u8]) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), sealing: Kind::Slot(keys.to_vec()) }
    }

    /// The same folder with other keys.
    fn under(self, keys: &[u8]) -> Self {
        Self { sealing: Kind::Slot(keys.to_vec()), ..self }
    }

    fn sealing(&self) -> Sealing {
        match &self.sealing {
            Kind::File => Sealing::File(self.file("seal.key")),
            Kind::Slot(keys) => {
                let key = |byte: &u8| Secret::new(vec![*byte; SECRET_BYTES]);
                Sealing::Keys(SealingKeys::of(keys.iter().map(key).collect()).unwrap())
            }
        }
    }

    fn open(&self) -> Result<NodeSeal, SealFileError> {
        NodeSeal::open(self.dir.path(), self.sealing())
    }

    fn create(&self) -> NodeSeal {
        NodeSeal::open_or_create(self.dir.path(), self.sealing(), NOW).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_was_made_opens_again_with_what_was_remembered() {
    for node in [Node::with_key(), Node::with_slot(&[1])] {
        let mut made = node.create();
        made.remember(7).unwrap();
        made.remember(3).unwrap();
        let opened = node.open().unwrap();
        assert_eq!(opened.domain_secret(), made.domain_secret());
        assert_eq!(opened.identity(), made.identity());
        assert_eq!(opened.last_sequence(), 7);
        assert_eq!(opened.content.created, NOW);
        let again = node.create();
        assert_eq!(again.domain_secret(), made.domain_secret(), "made once");
    }
}

#[test]
fn two_seals_have_nothing_in_common() {
    let (one, two) = (Node::with_key().create(), Node::with_key().create());
    assert_ne!(one.domain_secret(), two.domain_secret());
    assert_ne!(one.identity(), two.identity());
}

#[test]
fn an_earlier_key_still_opens_and_the_first_one_seals() {
    let node = Node::with_slot(&[1]);
    let made = node.create();
    let node = node.under(&[2, 1]);
    assert_eq!(node.open().unwrap().domain_secret(), made.domain_secret());
    let node = node.under(&[3, 2]);
    assert!(matches!(node.open(), Err(SealFileError::Refused { .. })), "opened is not sealed anew");
    let node = node.under(&[3, 2, 1]);
    // As at each start: whatever the change, the file is written once under the first key.
    node.open().unwrap().remember(0).unwrap();
    let node = node.under(&[3]);
    assert_eq!(node.open().unwrap().domain_secret(), made.domain_secret());
    let node = node.under(&[2, 1]);
    assert!(matches!(node.open(), Err(SealFileError::Refused { .. })), "the old ones open no more");
}

#[test]
fn another_key_another_kind_and_changed_bytes_are_refused() {
    let node = Node::with_key();
    node.create();
    let sealed = fs::read(node.file("seal.bin")).unwrap();
    let key = fs::read(node.file("seal.key")).unwrap();
    for other in [&key[..31], &[0; 32], &[]] {
        write_private(&node.file("seal.key"), other);
        assert!(matches!(node.open(), Err(SealFileError::Refused { .. })));
    }
    write_private(&node.file("seal.key"), &key);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        fs::write(node.file("seal.bin"), &changed).unwrap();
        assert!(matches!(node.open(), Err(SealFileError::Refused { .. })), "byte {at}");
        fs::write(node.file("seal.bin"), &sealed[..at]).unwrap();
        assert!(matches!(node.open(), Err(SealFileError::Refused { .. })), "cut at {at}");
    }
    fs::write(node.file("seal.bin"), &sealed).unwrap();
    let node = node.under(&[1, 2, 3]);
    assert!(matches!(node.open(), Err(SealFileError::Refused { .. })));
}

#[test]
fn files_that_others_may_read_are_refused() {
    let node = Node::with_key();
    node.create();
    for mode in [0o640, 0o604, 0o660, 0o610, 0o644] {
        fs::set_permissions(node.file("seal.key"), Permissions::from_mode(mode)).unwrap();
        let Err(SealFileError::Key(GuardError::Exposed { mode: found, .. })) = node.open() else {
            panic!("mode {mode:o} was accepted");
        };
        assert_eq!(found, mode);
    }
    fs::set_permissions(node.file("seal.key"), Permissions::from_mode(0o400)).unwrap();
    assert!(node.open().is_ok());
}

#[test]
fn a_seal_or_key_that_is_gone_is_not_made_anew() {
    let node = Node::with_key();
    assert!(matches!(node.open(), Err(SealFileError::Missing { .. })));
    node.create();
    fs::remove_file(node.file("seal.key")).unwrap();
    assert!(matches!(node.open(), Err(SealFileError::Key(GuardError::NoFile { .. }))));
    let again = NodeSeal::open_or_create(node.dir.path(), node.sealing(), NOW);
    assert!(matches!(again, Err(SealFileError::Key(GuardError::NoFile { .. }))));
}

#[test]
fn what_is_no_file_or_too_long_is_refused() {
    let node = Node::with_key();
    node.create();
    let folder = Sealing::File(node.dir.path().to_owned());
    fs::set_permissions(node.dir.path(), Permissions::from_mode(0o700)).unwrap();
    let opened = NodeSeal::open(node.dir.path(), folder);
    assert!(matches!(opened, Err(SealFileError::Key(GuardError::NotAFile { .. }))));
    write_private(&node.file("seal.key"), &[1; 33]);
    assert!(matches!(node.open(), Err(SealFileError::Key(GuardError::Io { .. }))));
    fs::write(node.file("seal.bin"), vec![0; 20_000]).unwrap();
    assert!(matches!(node.open(), Err(SealFileError::Io { .. })));
}
