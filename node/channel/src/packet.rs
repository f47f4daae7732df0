//! One packet: bytes and at most one descriptor, in one system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

use crate::MESSAGE_BYTES_MAX;

/// What one receive brought.
pub(crate) enum Packet {
    /// Bytes, and the descriptor that came with them.
    Data(Vec<u8>, Option<OwnedFd>),
    /// Bytes, and a descriptor for which this process had no room: the kernel has closed it.
    NoRoom(Vec<u8>),
    /// The peer has closed its end.
    End,
    /// Something no honest peer sends; what came with it has been closed.
    Bad(&'static str),
}

/// Sends one packet.
pub(crate) fn send(
    socket: RawFd,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let raw = descriptor.map(|fd| [fd.as_raw_fd()]);
    let control: Vec<ControlMessage<'_>> =
        raw.as_ref().map(|fds| ControlMessage::ScmRights(fds)).into_iter().collect();
    let sent = sendmsg::<()>(socket, &parts, &control, MsgFlags::MSG_NOSIGNAL, None)?;
    if sent == bytes.len() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::WriteZero, "a packet was cut while it was sent"))
}

/// Receives one packet.
pub(crate) fn receive(socket: RawFd) -> io::Result<Packet> {
    // One byte more than is allowed, so that a longer packet shows.
    let mut bytes = vec![0_u8; MESSAGE_BYTES_MAX + 1];
    let mut control = nix::cmsg_space!([RawFd; 4]);
    let (length, flags, mut descriptors) = {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received =
            recvmsg::<()>(socket, &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC);
        let received = match received {
            Ok(received) => received,
            Err(nix::Error::ECONNRESET) => return Ok(Packet::End),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        // An error means that the control data was cut, which the flags say as well.
        for message in received.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(raw) = message {
                descriptors.extend(raw.into_iter().map(own));
            }
        }
        (received.bytes, received.flags, descriptors)
    };
    if length == 0 {
        return Ok(Packet::End);
    }
    if length > MESSAGE_BYTES_MAX || flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(Packet::Bad("the message is longer than allowed"));
    }
    if descriptors.len() > 1 {
        return Ok(Packet::Bad("more than one descriptor came with the message"));
    }
    bytes.truncate(length);
    if flags.contains(MsgFlags::MSG_CTRUNC) {
        return Ok(Packet::NoRoom(bytes));
    }
    Ok(Packet::Data(bytes, descriptors.pop()))
}

/// Takes ownership of a descriptor that the kernel has just made for us.
#[expect(unsafe_code, reason = "SCM_RIGHTS yields raw descriptor numbers")]
fn own(raw: RawFd) -> OwnedFd {
    // SAFETY: the kernel installed `raw` into this process during the recvmsg whose control
    // messages are being read; each number is visited once, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
