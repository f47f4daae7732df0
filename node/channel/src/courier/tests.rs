use super::*;
use crate::transfer::{Outcome, Verb};
use crate::{Identity, Proven, SecretText};

fn delivered(error: Option<&str>) -> FromCourier {
    let error = error.map(str::to_owned);
    let sink = "a".to_owned();
    FromCourier::Delivered(Delivered { generation: 4, sink, upto: 7, error, failures: 1 })
}

fn order() -> Order {
    Order {
        id: 9,
        verb: Verb::Put,
        uri: "https://h/c".to_owned(),
        token: "hunter2".to_owned(),
        identity: None,
        folder: "f".to_owned(),
        name: "part-000000".to_owned(),
        bytes: 3,
    }
}

fn by_identity(roots: &str, credential: String) -> Order {
    let identity = Identity {
        token_endpoint: "https://login.example/token".to_owned(),
        client_id: "hsm".to_owned(),
        federated: true,
        trust_anchors_pem: Some(roots.to_owned()),
        storage: vec!["https://a.blob.example".to_owned()],
    };
    let credential = SecretText::new(credential);
    let identity = Some(Box::new(Proven { identity, credential }));
    Order { token: String::new(), identity, ..order() }
}

#[test]
fn what_opens_a_target_is_not_printed() {
    assert!(!format!("{:?}", ToCourier::Transfer(order())).contains("hunter2"));
    let order = by_identity("roots", "hunter2".to_owned());
    assert!(!format!("{:?}", ToCourier::Transfer(order)).contains("hunter2"));
}

#[test]
fn the_longest_identity_has_room_in_an_order() {
    let mut order = by_identity(&"\n".repeat(20 * 1024), "\"".repeat(8 * 1024));
    let identity = &mut order.identity.as_mut().unwrap().identity;
    identity.storage = vec!["x".repeat(512); 16];
    identity.token_endpoint = "\"".repeat(2_048);
    identity.client_id = "\"".repeat(256);
    order.uri = "x".repeat(2_048);
    let message = ToCourier::Transfer(order);
    assert_eq!(ToCourier::decode(&message.encode()).unwrap(), message);
}

fn to_courier() -> Vec<ToCourier> {
    vec![
        ToCourier::Hello { hsm: "dev".to_owned(), resource_id: "/x".to_owned(), log: 3 },
        ToCourier::Configuration { generation: 4, json: b"{}".to_vec() },
        ToCourier::Committed(u64::MAX),
        ToCourier::Certificate("title\nhsm dev\n".to_owned()),
        ToCourier::Checkpoint("origin\n7\nroot\n".to_owned()),
        ToCourier::Entries { from: 3, lines: b"{}\n{}\n".to_vec() },
        ToCourier::Entries { from: 3, lines: Vec::new() },
        ToCourier::Transfer(order()),
        ToCourier::Transfer(by_identity("roots", "hunter2".to_owned())),
        ToCourier::Piece { id: 9, bytes: vec![1, 2, 3] },
        ToCourier::Spans { generation: 4, spans: Vec::new() },
        ToCourier::Spans { generation: 4, spans: vec![span()] },
        ToCourier::Frontier { size: 1, text: "1\nroot\n".to_owned() },
        ToCourier::Frontier { size: u64::MAX, text: String::new() },
        ToCourier::Consistency { old: 1, new: u64::MAX, text: "1\n2\nproof\n".to_owned() },
        ToCourier::Consistency { old: u64::MAX, new: 1, text: String::new() },
    ]
}

fn span() -> Span {
    Span {
        trace: Id([0xab; 16]),
        id: Id([1; 8]),
        parent: Some(Id([2; 8])),
        remote_parent: true,
        state: Some("a=1".to_owned()),
        server: true,
        name: "GET /keys".to_owned(),
        start_ns: u64::MAX,
        end_ns: 0,
        attributes: vec![
            ("http.request.method".to_owned(), SpanValue::Text("GET".to_owned())),
            ("http.response.status_code".to_owned(), SpanValue::Number(u64::MAX)),
        ],
        failed: false,
    }
}

fn from_courier() -> Vec<FromCourier> {
    let read = FromCourier::Read { from: 5, bytes_max: 9 };
    let exported = |error: Option<&str>| {
        let error = error.map(str::to_owned);
        FromCourier::Exported(Exported { generation: 4, sent: 5, lost: 6, error, failures: 7 })
    };
    let frontier = FromCourier::Frontier { size: 6 };
    let spans = FromCourier::ReadSpans { generation: u64::MAX };
    let report = |outcome| FromCourier::Transferred(Report { id: 9, outcome, bytes: 0 });
    let reports = [
        delivered(None),
        delivered(Some("refused")),
        exported(None),
        exported(Some("")),
        report(Outcome::Done),
        report(Outcome::Taken),
        report(Outcome::Kept("no".to_owned())),
        report(Outcome::Denied("no".to_owned())),
        report(Outcome::Refused("no".to_owned())),
        FromCourier::Piece { id: 9, bytes: vec![1, 2, 3] },
    ];
    let consistency = FromCourier::Consistency { old: 7, new: u64::MAX };
    [FromCourier::Hello, read, frontier, consistency, spans].into_iter().chain(reports).collect()
}

#[test]
fn every_message_comes_back_and_no_cut_one_is_taken_for_it() {
    for message in to_courier() {
        let frame = message.encode();
        assert_eq!(ToCourier::decode(&frame).unwrap(), message);
        for end in 0..frame.len() {
            assert_ne!(ToCourier::decode(&frame[..end]).ok(), Some(to_owned(&message)), "{end}");
        }
        assert!(FromCourier::decode(&frame).is_err(), "the other way round: {message:?}");
    }
    for message in from_courier() {
        let frame = message.encode();
        assert_eq!(FromCourier::decode(&frame).unwrap(), message);
        for end in 0..frame.len() {
            assert_ne!(FromCourier::decode(&frame[..end]).ok(), Some(message.clone()), "{end}");
        }
        assert!(ToCourier::decode(&frame).is_err(), "the other way round: {message:?}");
    }
}

fn to_owned(message: &ToCourier) -> ToCourier {
    ToCourier::decode(&message.encode()).unwrap()
}

#[test]
fn a_proof_of_no_shape_is_refused() {
    let fits = [&[CONSISTENCY][..], &[0; 16], &[b'x'; CHECKPOINT_BYTES_MAX]].concat();
    assert!(ToCourier::decode(&fits).is_ok());
    for frame in [
        vec![CONSISTENCY; 16],
        [&[CONSISTENCY][..], &[0; 16], &[0xff]].concat(),
        [&fits[..], b"x"].concat(),
    ] {
        assert!(ToCourier::decode(&frame).is_err(), "{frame:?}");
    }
    for length in [1, 9, 16, 18] {
        assert!(FromCourier::decode(&vec![CONSISTENCY_WANTED; length]).is_err(), "{length}");
    }
}

#[test]
fn what_is_of_no_shape_is_refused() {
    let long = |kind: u8, bytes: usize| [vec![kind], vec![b' '; bytes]].concat();
    let spans_of = |json: &str| [&[SPANS][..], &[0; 8], json.as_bytes()].concat();
    let one = serde_json::to_string(&[span()]).unwrap();
    assert!(ToCourier::decode(&spans_of(&one)).is_ok(), "{one}");
    let most = ToCourier::Spans { generation: 1, spans: vec![span(); SPANS_MAX] };
    assert_eq!(ToCourier::decode(&most.encode()).unwrap(), most);
    for frame in [
        vec![],
        vec![0],
        vec![0xff, 1],
        vec![HELLO],
        vec![COMMITTED, 1, 2],
        vec![FRONTIER, 0, 0, 0],
        vec![FRONTIER, 0, 0, 0, 0, 0, 0, 0, 1, 0xff],
        long(FRONTIER, 9 + CHECKPOINT_BYTES_MAX),
        vec![COMMITTED; 10],
        vec![ENTRIES, 0, 0, 0],
        [vec![ENTRIES], vec![0; 8], b"no newline".to_vec()].concat(),
        vec![CHECKPOINT, 0xff],
        vec![CERTIFICATE, 0xff],
        long(CERTIFICATE, CHECKPOINT_BYTES_MAX + 1),
        long(CHECKPOINT, CHECKPOINT_BYTES_MAX + 1),
        long(CONFIGURATION, CONFIGURATION_BYTES_MAX + 1),
        long(HELLO, REPORT_BYTES_MAX + 1),
        long(ENTRIES, FRAME_BYTES_MAX),
        long(TRANSFER, ORDER_BYTES_MAX + 1),
        long(PIECE, 8),
        long(PIECE, 8 + PIECE_BYTES_MAX + 1),
        vec![SPANS, 0, 0, 0],
        spans_of("[{}]"),
        spans_of("{}"),
        spans_of(""),
        spans_of(&one.replace("\"abab", "\"ABab")),
        spans_of(&one.replace("\"abab", "\"ab")),
        spans_of(&one.replace("\"abab", "\"xbab")),
        spans_of(&one.replace("\"failed\"", "\"other\"")),
        spans_of(&format!("[{}]", vec![&one[1..one.len() - 1]; SPANS_MAX + 1].join(","))),
        long(SPANS, SPANS_BYTES_MAX + 1),
    ] {
        assert!(ToCourier::decode(&frame).is_err(), "{:?}", frame.get(..16.min(frame.len())));
    }
    for frame in [
        vec![],
        vec![FROM_HELLO],
        vec![FROM_HELLO, 0, 0, 0, 2],
        vec![READ; 12],
        vec![READ; 14],
        vec![DELIVERED],
        vec![READ_SPANS; 8],
        vec![READ_SPANS; 10],
        vec![EXPORTED],
        long(EXPORTED, REPORT_BYTES_MAX + 1),
        [&[EXPORTED][..], br#"{"generation":1,"sent":-1,"lost":0,"error":null,"failures":0}"#]
            .concat(),
        long(DELIVERED, REPORT_BYTES_MAX + 1),
        [
            &[DELIVERED][..],
            br#"{"generation":1,"sink":"a","upto":1,"error":null,"failures":0,"x":1}"#,
        ]
        .concat(),
        [&[DELIVERED][..], br#"{"generation":1,"sink":"a","upto":-1,"error":null,"failures":0}"#]
            .concat(),
    ] {
        assert!(FromCourier::decode(&frame).is_err(), "{:?}", frame.get(..16.min(frame.len())));
    }
    let other = br#"{"version":2,"hsm":"a","resource_id":"b","log":0}"#;
    let refused = ToCourier::decode(&[&[HELLO][..], other].concat());
    assert!(matches!(refused, Err(CourierProtocolError::Version { theirs: 2 })));
}

#[tokio::test]
async fn frames_pass_a_stream_and_bad_lengths_do_not() {
    let (mut one, mut other) = tokio::io::duplex(64);
    let frame = ToCourier::Entries { from: 1, lines: [vec![b'x'; 5_000], vec![b'\n']].concat() };
    let bytes = frame.encode();
    let (sent, received) = tokio::join!(write_frame(&mut one, &bytes), read_frame(&mut other));
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap(), bytes);
    drop(one);
    assert!(read_frame(&mut other).await.unwrap().is_none(), "the end between two frames");
    for length in [0_u32, u32::try_from(FRAME_BYTES_MAX).unwrap() + 1, u32::MAX] {
        let bytes = length.to_be_bytes();
        let refused = read_frame(&mut &bytes[..]).await;
        assert!(matches!(refused, Err(CourierProtocolError::Length { .. })), "{length}");
    }
    for torn in [&[0_u8, 0][..], &[0, 0, 0, 9, 1, 2]] {
        assert!(read_frame(&mut &*torn).await.is_err(), "{torn:?}");
    }
    let long = vec![0; FRAME_BYTES_MAX + 1];
    assert!(write_frame(&mut tokio::io::sink(), &long).await.is_err());
}

/// Found by the fuzzer: without the names of its members a text is shorter than it is written.
#[test]
fn what_would_be_too_long_as_it_is_written_is_refused() {
    let named = "a".repeat(REPORT_BYTES_MAX - 20);
    let short = format!("[1,\"\",\"{named}\",0]");
    assert!(short.len() < REPORT_BYTES_MAX);
    assert!(ToCourier::decode(&framed(HELLO, short.as_bytes())).is_err());
    let report = format!("[4,\"a\",7,\"{named}\",1]");
    for kind in [DELIVERED, EXPORTED] {
        assert!(FromCourier::decode(&framed(kind, report.as_bytes())).is_err());
    }
    for text in ["[1,\"dev\",\"/x\",3]", r#"{"log":3,"version":1,"hsm":"dev","resource_id":"/x"}"#]
    {
        let read = ToCourier::decode(&framed(HELLO, text.as_bytes())).unwrap();
        assert_eq!(read, to_courier().remove(0), "{text}");
    }
}
