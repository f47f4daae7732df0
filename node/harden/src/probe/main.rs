//! A process for the tests: hardens itself, tries one thing per line of its arguments, and says
//! what came of it. `casemate-harden-probe FOLDER ROOT-OR-DASH UID-OR-DASH TRY…`

use std::ffi::CStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use casemate_harden::{Plan, Reach, enter};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, root, uid, tries @ ..] = arguments.as_slice() else { return ExitCode::from(2) };
    let plan = Plan {
        folder: PathBuf::from(folder),
        root: (root != "-").then(|| PathBuf::from(root)),
        uid_gid: uid.parse().ok().map(|uid| (uid, uid)),
        paths: tries.iter().filter_map(|name| name.strip_prefix("path=")).map(Into::into).collect(),
        // A first try of one of these names is none, but says what the process may reach.
        reach: match tries.first().map(String::as_str) {
            Some("network") => Reach::Network,
            Some("daemon") => Reach::Daemon,
            _ => Reach::HandedIn,
        },
    };
    if tries.first().is_some_and(|name| name == "late") {
        let waiting = std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(2)));
        say("late", enter(&plan).map(|_| ()).map_err(io::Error::other));
        drop(waiting);
        return ExitCode::SUCCESS;
    }
    let report = match enter(&plan) {
        Ok(report) => report,
        Err(error) => {
            say("enter", Err(io::Error::other(error)));
            return ExitCode::FAILURE;
        }
    };
    for (name, state) in report.facts() {
        line(&format!("report {name}: {state}"));
    }
    for name in tries {
        say(name, attempt(name, &plan));
    }
    ExitCode::SUCCESS
}

fn say(name: &str, outcome: io::Result<()>) {
    match outcome {
        Ok(()) => line(&format!("{name} ok")),
        Err(error) => line(&format!("{name} refused {}", error.raw_os_error().unwrap_or(0))),
    }
}

fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn attempt(name: &str, plan: &Plan) -> io::Result<()> {
    match name {
        "socket" => std::net::UdpSocket::bind("127.0.0.1:0").map(|_| ()),
        "tcp" => std::net::TcpStream::connect("127.0.0.1:9").map(|_| ()),
        "unix" => std::os::unix::net::UnixDatagram::unbound().map(|_| ()),
        "pair" => std::os::unix::net::UnixStream::pair().map(|_| ()),
        "exec" => run("/bin/true"),
        "network" | "daemon" => Ok(()),
        _ if name.starts_with("path=") => Ok(()),
        _ if name.starts_with("read=") => std::fs::read(&name["read=".len()..]).map(drop),
        _ if name.starts_with("make=") => std::fs::write(&name["make=".len()..], b"made"),
        "answer" => connect_back(plan),
        "resolve" => std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(|_| ()),
        "bind" => std::net::TcpListener::bind("127.0.0.1:0").map(|_| ()),
        "netlink" => forbidden(libc::SYS_socket, [libc::AF_NETLINK.into(), 3, 0]),
        "packet" => forbidden(libc::SYS_socket, [libc::AF_PACKET.into(), 3, 0]),
        "open" => std::fs::File::open("/etc/hostname").map(|_| ()),
        "up" => std::fs::read_dir("/proc").map(|_| ()),
        "write" => write_inside(plan),
        "root" => Ok(nix::unistd::setuid(nix::unistd::Uid::from_raw(0))?),
        "ptrace" => forbidden(libc::SYS_ptrace, [0, 0, 0]),
        "fork" => forbidden(libc::SYS_clone, [17, 0, 0]),
        "unshare" => Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?),
        "mount" => mount(),
        "keyctl" => forbidden(libc::SYS_keyctl, [0, 0, 0]),
        "bpf" => forbidden(libc::SYS_bpf, [0, 0, 0]),
        "perf" => forbidden(libc::SYS_perf_event_open, [0, 0, 0]),
        "userfaultfd" => forbidden(libc::SYS_userfaultfd, [0, 0, 0]),
        "process_vm" => forbidden(libc::SYS_process_vm_readv, [0, 0, 0]),
        "io_uring" => forbidden(libc::SYS_io_uring_setup, [1, 0, 0]),
        "accept" => forbidden(libc::SYS_accept4, [0, 0, 0]),
        "listen" => forbidden(libc::SYS_listen, [0, 1, 0]),
        "dumpable" => Ok(nix::sys::prctl::set_dumpable(true)?),
        "kill" => forbidden(libc::SYS_kill, [1, 0, 0]),
        "tgkill" => forbidden(libc::SYS_tgkill, [1, 1, 0]),
        "runnable" => runnable_page(),
        "core" => core_limit(),
        "thread" => threaded_socket(),
        "wait" => wait_for_input(),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Connects to the port that a file in the folder names, and reads a byte.
fn connect_back(plan: &Plan) -> io::Result<()> {
    let port = std::fs::read_to_string(plan.folder.join("port"))?;
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}"))?;
    io::Read::read_exact(&mut stream, &mut [0])
}

fn run(program: &str) -> io::Result<()> {
    std::process::Command::new(program).status().map(|_| ())
}

fn write_inside(plan: &Plan) -> io::Result<()> {
    let old = plan.folder.join("made");
    let new = plan.folder.join("renamed");
    std::fs::write(&old, "x")?;
    std::fs::File::open(&old)?.sync_all()?;
    std::fs::rename(&old, &new)?;
    std::fs::remove_file(&new)
}

fn mount() -> io::Result<()> {
    let none: Option<&CStr> = None;
    let flags = nix::mount::MsFlags::empty();
    Ok(nix::mount::mount(none, "/", Some("tmpfs"), flags, none)?)
}

fn core_limit() -> io::Result<()> {
    Ok(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 1, 1)?)
}

/// The filter holds in a thread that was made after it.
fn threaded_socket() -> io::Result<()> {
    std::thread::spawn(|| std::net::UdpSocket::bind("127.0.0.1:0").map(|_| ()))
        .join()
        .map_err(|_| io::Error::other("the thread died"))?
}

fn wait_for_input() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_line(&mut text).map(|_| ())
}

#[expect(unsafe_code, reason = "calls that no safe wrapper offers, with arguments that do nothing")]
fn forbidden(number: libc::c_long, [a, b, c]: [libc::c_long; 3]) -> io::Result<()> {
    // SAFETY: the arguments are null pointers and small numbers; the kernel checks them, and the
    // process ends right after the test.
    let done = unsafe { libc::syscall(number, a, b, c, 0, 0) };
    nix::Error::result(done)?;
    Ok(())
}

#[expect(unsafe_code, reason = "mmap")]
fn runnable_page() -> io::Result<()> {
    let bits = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous page that nothing uses.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, bits, kind, -1, 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}
