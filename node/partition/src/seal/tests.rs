//! The seal opens with its own key, and with nothing else.

use std::fs::{self, Permissions};

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_767_225_600);

struct Node {
    dir: tempfile::TempDir,
    seal: Seal,
}

impl Node {
    fn with_key() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let seal = Seal::Key { path: dir.path().join("seal.key") };
        Self { dir, seal }
    }

    fn with_passphrase(passphrase: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        write_private(&path, passphrase.as_bytes());
        Self { dir, seal: Seal::Passphrase { path } }
    }

    fn open(&self) -> Result<NodeSeal, SealFileError> {
        NodeSeal::open(self.dir.path(), &self.seal)
    }

    fn create(&self) -> NodeSeal {
        NodeSeal::open_or_create(self.dir.path(), &self.seal, NOW).unwrap()
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
    for node in [Node::with_key(), Node::with_passphrase("correct horse\n")] {
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
fn a_passphrase_counts_without_the_end_of_its_line() {
    let node = Node::with_passphrase("correct horse");
    node.create();
    write_private(&node.file("passphrase"), b"correct horse\n");
    assert!(node.open().is_ok());
    write_private(&node.file("passphrase"), b"correct horse \n");
    assert!(matches!(node.open(), Err(SealFileError::Refused { .. })));
    write_private(&node.file("passphrase"), b"\n");
    assert!(matches!(node.open(), Err(SealFileError::Refused { .. })));
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
    let passphrase = Seal::Passphrase { path: node.file("seal.key") };
    let opened = NodeSeal::open(node.dir.path(), &passphrase);
    assert!(matches!(opened, Err(SealFileError::Refused { .. })));
}

#[test]
fn files_that_others_may_read_are_refused() {
    let node = Node::with_key();
    node.create();
    for mode in [0o640, 0o604, 0o660, 0o610, 0o644] {
        fs::set_permissions(node.file("seal.key"), Permissions::from_mode(mode)).unwrap();
        let Err(SealFileError::Exposed { mode: found, .. }) = node.open() else {
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
    assert!(matches!(node.open(), Err(SealFileError::NoOpener { .. })));
    let again = NodeSeal::open_or_create(node.dir.path(), &node.seal, NOW);
    assert!(matches!(again, Err(SealFileError::NoOpener { .. })));
    let passphrase = Seal::Passphrase { path: node.file("none") };
    let other = tempfile::tempdir().unwrap();
    let made = NodeSeal::open_or_create(other.path(), &passphrase, NOW);
    assert!(matches!(made, Err(SealFileError::NoOpener { .. })));
}

#[test]
fn what_is_no_file_or_too_long_is_refused() {
    let node = Node::with_key();
    node.create();
    let folder = Seal::Key { path: node.dir.path().to_owned() };
    fs::set_permissions(node.dir.path(), Permissions::from_mode(0o700)).unwrap();
    let opened = NodeSeal::open(node.dir.path(), &folder);
    assert!(matches!(opened, Err(SealFileError::NotAFile { .. })));
    write_private(&node.file("seal.key"), &[1; 33]);
    assert!(matches!(node.open(), Err(SealFileError::Io { .. })));
    fs::write(node.file("seal.bin"), vec![0; 20_000]).unwrap();
    assert!(matches!(node.open(), Err(SealFileError::Io { .. })));
}
