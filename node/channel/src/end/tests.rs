use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use super::*;
use crate::message::Listener;
use crate::seal::Seal;
use crate::start::{Confine, Limits};

fn ends() -> (AgentEnd, PartitionEnd) {
    let (agent, theirs) = AgentEnd::pair().unwrap();
    (agent, Pending(theirs).into_end().unwrap())
}

fn connection() -> ToPartition {
    ToPartition::Connection {
        peer: "127.0.0.1:5".parse().unwrap(),
        listener: Listener::Named,
        sni: Some("dev.managedhsm.localhost".to_owned()),
    }
}

fn start() -> Start {
    Start {
        version: VERSION,
        hsm: "dev".to_owned(),
        names: Vec::new(),
        named_port: 8443,
        folder: "/".into(),
        seal: Seal::Key { path: "/seal.key".into() },
        engine: crate::Engine::default(),
        create: None,
        limits: Limits::default(),
        region: "local".to_owned(),
        threads: 2,
        confine: Confine { root: Some("/x".into()), uid_gid: Some((7, 8)) },
        shown_folder: "/x".into(),
        development: true,
    }
}

#[tokio::test]
async fn a_socket_travels_with_its_bytes_unread() {
    let (agent, partition) = ends();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"hello").unwrap();
    let (accepted, _) = listener.accept().unwrap();
    agent.send(&connection(), Some(accepted.as_fd())).await.unwrap();
    let (message, fd) = partition.recv().await.unwrap().unwrap();
    assert_eq!(message, connection());
    let fd = fd.unwrap();
    let flags = fcntl(&fd, FcntlArg::F_GETFD).unwrap();
    assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    let mut bytes = [0; 5];
    TcpStream::from(fd).read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn a_descriptor_that_nobody_takes_is_closed() {
    let (agent, partition) = ends();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    agent.send(&connection(), Some(accepted.as_fd())).await.unwrap();
    drop(accepted);
    drop(partition.recv().await.unwrap());
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[tokio::test]
async fn the_end_of_the_peer_is_none_on_both_sides() {
    let (agent, partition) = ends();
    drop(partition);
    assert!(agent.recv().await.unwrap().is_none());
    assert!(agent.send(&ToPartition::Stop, None).await.is_err());
    let (agent, partition) = ends();
    agent.send(&ToPartition::Stop, None).await.unwrap();
    drop(agent);
    assert_eq!(partition.recv().await.unwrap().unwrap().0, ToPartition::Stop);
    assert!(partition.recv().await.unwrap().is_none());
}

#[tokio::test]
async fn a_peer_that_dies_with_unread_messages_is_an_end_too() {
    let (agent, partition) = ends();
    agent.send(&ToPartition::Stop, None).await.unwrap();
    drop(partition);
    assert!(agent.recv().await.unwrap().is_none());
}

#[tokio::test]
async fn start_comes_through_and_another_version_is_refused() {
    let (agent, partition) = ends();
    let sent = ToPartition::Start(Box::new(start()));
    agent.send(&sent, None).await.unwrap();
    assert_eq!(partition.recv().await.unwrap().unwrap().0, sent);
    packet::send(agent.0.as_raw_fd(), br#"{"v":2,"m":"stop"}"#, None).unwrap();
    assert!(matches!(partition.recv().await, Err(ChannelError::Version { theirs: 2 })));
}

#[tokio::test]
async fn broken_messages_are_refused() {
    let (agent, partition) = ends();
    for bytes in [&b"{"[..], b"{\"v\":1,\"m\":\"jump\"}", b"\xff", b"{\"v\":1}"] {
        packet::send(agent.0.as_raw_fd(), bytes, None).unwrap();
        assert!(matches!(partition.recv().await, Err(ChannelError::Shape(_))));
    }
}

#[tokio::test]
async fn a_connection_without_a_socket_is_refused_on_both_sides() {
    let (agent, partition) = ends();
    assert!(matches!(agent.send(&connection(), None).await, Err(ChannelError::Rules { .. })));
    let bytes = encode(&connection()).unwrap();
    packet::send(agent.0.as_raw_fd(), &bytes, None).unwrap();
    assert!(matches!(partition.recv().await, Err(ChannelError::Rules { .. })));
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_on_both_sides() {
    let (agent, partition) = ends();
    let long = ToPartition::Certificate { chain_pem: "x".repeat(MESSAGE_BYTES_MAX) };
    assert!(matches!(agent.send(&long, None).await, Err(ChannelError::TooLong { .. })));
    packet::send(agent.0.as_raw_fd(), &vec![b' '; MESSAGE_BYTES_MAX + 1], None).unwrap();
    assert!(matches!(partition.recv().await, Err(ChannelError::Rules { .. })));
    agent.send(&ToPartition::Stop, None).await.unwrap();
    assert!(partition.recv().await.unwrap().is_some());
}

#[tokio::test]
async fn two_descriptors_are_refused_and_closed() {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let (agent, partition) = ends();
    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let fds = [far.as_raw_fd(), far.as_raw_fd()];
    let bytes = encode(&connection()).unwrap();
    sendmsg::<()>(
        agent.0.as_raw_fd(),
        &[std::io::IoSlice::new(&bytes)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    drop(far);
    assert!(matches!(partition.recv().await, Err(ChannelError::Rules { .. })));
    assert_eq!(near.read(&mut [0; 1]).unwrap(), 0);
}

#[tokio::test]
async fn a_full_channel_waits_and_loses_nothing() {
    let (agent, partition) = ends();
    let big = ToPartition::Certificate { chain_pem: "x".repeat(60_000) };
    let (sent, taken) = tokio::join!(
        async {
            for _ in 0..50 {
                agent.send(&big, None).await.unwrap();
            }
        },
        async {
            for _ in 0..50 {
                assert_eq!(partition.recv().await.unwrap().unwrap().0, big);
            }
        }
    );
    let ((), ()) = (sent, taken);
}

#[tokio::test]
async fn an_identity_comes_with_the_file_of_its_credential_and_that_alone() {
    let (agent, partition) = ends();
    let file = std::fs::File::open("/dev/null").unwrap();
    let identity = crate::Identity {
        token_endpoint: "https://login.example/token".to_owned(),
        client_id: "hsm".to_owned(),
        federated: true,
        trust_anchors_pem: None,
        storage: vec!["https://a.blob.example".to_owned()],
    };
    let is = ToPartition::Identity { id: 7, answer: IdentityAnswer::Is(identity) };
    assert!(agent.send(&is, None).await.is_err());
    for answer in [IdentityAnswer::None, IdentityAnswer::Unusable] {
        let message = ToPartition::Identity { id: 7, answer };
        assert!(agent.send(&message, Some(file.as_fd())).await.is_err());
        agent.send(&message, None).await.unwrap();
        let (heard, with) = partition.recv().await.unwrap().unwrap();
        assert!(with.is_none());
        assert_eq!(heard, message);
    }
    agent.send(&is, Some(file.as_fd())).await.unwrap();
    let (heard, with) = partition.recv().await.unwrap().unwrap();
    assert!(with.is_some());
    assert_eq!(heard, is);
}
