//! A disk of the test's own whose power can be cut, and a program whose syncs do nothing.
//!
//! Both need root: a loop mount, and a mount namespace that nobody else sees.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use casemate_test_kit::places;

/// Size of the image; sparse, so it costs what is written.
const IMAGE_BYTES: u64 = 512 << 20;

/// An ext4 filesystem in a file, mounted.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Makes and mounts a new one below a folder.
    pub fn new(below: &Path) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "a loop mount needs root");
        let disk = Self { image: below.join("disk.img"), place: below.join("disk") };
        fs::create_dir_all(&disk.place).expect("the scratch folder can be written");
        let image = fs::File::create(&disk.image).expect("the scratch folder can be written");
        image.set_len(IMAGE_BYTES).expect("a sparse file can be made");
        run(Command::new("mkfs.ext4").arg("-q").arg(&disk.image));
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Cuts the power: nothing that was not synced reaches the disk, and nothing can any more.
    pub fn cut_power(&self) {
        // EXT4_IOC_SHUTDOWN with the flag "do not flush the journal".
        let script = "import fcntl, os, struct, sys\n\
                      fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                      fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))\n";
        run(Command::new(places::python()).args(["-c", script]).arg(&self.place));
    }

    /// Reads the disk anew, as after a boot.
    ///
    /// It mounts a copy: another process's mount namespace may still hold the dead filesystem, and
    /// the kernel would give that one back for the same image.
    pub fn boot(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.place));
        let copy = self.image.with_extension("booted");
        run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&copy));
        self.image = copy;
        self.mount();
    }

    fn mount(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.place));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A failing test may leave files open: the mount then goes when they are closed.
        let _ended = Command::new("umount").arg("--lazy").arg(&self.place).output();
    }
}

/// Which syncs do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swallow {
    /// Those of the store's files.
    Store,
    /// Those of the audit log.
    Audit,
}

/// Swallows syncs by what the file holds: a SQLite database or its write-ahead log, or records.
const LIBRARY: &str = r#"
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int swallowed(int fd) {
    char head[4] = {0};
    if (pread(fd, head, 4, 0) != 4) return 0;
    if (SWALLOW_STORE) return !memcmp(head, "SQLi", 4) || !memcmp(head, "\x37\x7f\x06", 3);
    return !memcmp(head, "{\"se", 4);
}
int fsync(int fd) { return swallowed(fd) ? 0 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return swallowed(fd) ? 0 : syscall(SYS_fdatasync, fd); }
"#;

/// A command prefix under which some syncs do nothing, in all child processes too.
///
/// The partition starts with an empty environment, so the library is named in a private copy of
/// `/etc/ld.so.preload`: an overlay in a mount namespace that only this program has.
pub fn without_syncs(below: &Path, which: Swallow) -> Vec<String> {
    let source = below.join("syncs.c");
    let library = below.join("syncs.so");
    fs::write(&source, LIBRARY).expect("the scratch folder can be written");
    let define = format!("-DSWALLOW_STORE={}", u8::from(which == Swallow::Store));
    let compile = ["-shared", "-fPIC", "-D_GNU_SOURCE", define.as_str(), "-o"];
    run(Command::new("cc").args(compile).arg(&library).arg(&source));
    let etc = below.join("etc");
    fs::create_dir_all(&etc).expect("the scratch folder can be written");
    let script = "mount --make-rprivate / && mount -t tmpfs tmpfs \"$0\" \
                  && mkdir \"$0/upper\" \"$0/work\" && echo \"$1\" > \"$0/upper/ld.so.preload\" \
                  && mount -t overlay overlay \
                  -o \"lowerdir=/etc,upperdir=$0/upper,workdir=$0/work\" /etc \
                  && shift && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", script];
    let mut prefix: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    prefix.extend([etc.display().to_string(), library.display().to_string()]);
    prefix
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}
