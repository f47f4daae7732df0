use super::*;

const OPENSSL_NAMED: &[u8] = include_bytes!("../../testdata/openssl-named.hello");
const OPENSSL_NO_NAME: &[u8] = include_bytes!("../../testdata/openssl-no-name.hello");
const OPENSSL_TLS12: &[u8] = include_bytes!("../../testdata/openssl-tls12.hello");

/// A hello as rustls makes it today, with its hybrid key share.
fn rustls_named() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "dev.managedhsm.localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn name(text: &str) -> Sni {
    Sni::Name(text.to_owned())
}

#[test]
fn recorded_hellos_say_their_name() {
    assert_eq!(parse(OPENSSL_NAMED), name("dev.managedhsm.localhost"));
    assert_eq!(parse(OPENSSL_TLS12), name("dev.vault.localhost"));
    assert_eq!(parse(&rustls_named()), name("dev.managedhsm.localhost"));
    assert_eq!(parse(OPENSSL_NO_NAME), Sni::Absent);
}

#[test]
fn every_prefix_needs_more_and_says_how_much_truly() {
    for hello in [OPENSSL_NAMED, OPENSSL_NO_NAME, OPENSSL_TLS12, &rustls_named()] {
        for length in 0..hello.len() {
            match parse(&hello[..length]) {
                Sni::NeedMore(total) => assert!(total > length && total <= hello.len()),
                other => panic!("{other:?} after {length} bytes"),
            }
        }
    }
}

#[test]
fn bytes_after_the_hello_change_nothing() {
    let mut more = OPENSSL_NAMED.to_vec();
    more.extend_from_slice(&[0xff; 100]);
    assert_eq!(parse(&more), name("dev.managedhsm.localhost"));
}

#[test]
fn a_hello_in_many_records_is_put_together() {
    let mut split = Vec::new();
    for part in OPENSSL_NAMED[RECORD_HEADER..].chunks(7) {
        split.extend_from_slice(&[22, 3, 1, 0, u8::try_from(part.len()).unwrap()]);
        split.extend_from_slice(part);
    }
    assert_eq!(parse(&split), name("dev.managedhsm.localhost"));
    for length in 0..split.len() {
        assert!(matches!(parse(&split[..length]), Sni::NeedMore(total) if total > length));
    }
}

#[test]
fn what_is_not_tls_is_known_at_once() {
    for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\n\r\n", &[22, 2], &[21, 3, 3, 0, 2], &[0x80, 0x2e]]
    {
        assert_eq!(parse(bytes), Sni::NotTls);
    }
}

#[test]
fn another_handshake_message_is_no_hello() {
    assert_eq!(parse(&[22, 3, 1, 0, 4, 2]), Sni::NotTls);
}

#[test]
fn hellos_over_the_limit_are_refused_before_they_are_awaited() {
    assert_eq!(parse(&[22, 3, 1, 0x40, 0x01]), Sni::NotTls);
    assert_eq!(parse(&[22, 3, 1, 0, 4, 1, 0x01, 0, 0]), Sni::NotTls);
    let endless: Vec<u8> = std::iter::repeat_n([22, 3, 1, 0, 1, 1], 6_000).flatten().collect();
    assert_eq!(parse(&endless), Sni::NotTls);
}

#[test]
fn empty_records_are_refused() {
    assert_eq!(parse(&[22, 3, 1, 0, 0]), Sni::NotTls);
}

#[test]
fn names_are_lower_case_without_the_last_dot_and_addresses_are_none() {
    assert_eq!(host_name(b"Dev.ManagedHSM.localhost."), Some(name("dev.managedhsm.localhost")));
    assert_eq!(host_name(b"127.0.0.1"), Some(Sni::Absent));
    assert_eq!(host_name(b"::1"), Some(Sni::Absent));
}

#[test]
fn names_that_are_none_are_refused() {
    for bytes in
        [&b""[..], b".", b"a b", b"a/b", b"\xff", b"a\0b", "\u{e4}".as_bytes(), &[b'a'; 254]]
    {
        assert_eq!(host_name(bytes), None, "{bytes:?}");
    }
}

#[test]
fn two_names_are_refused() {
    let one = b"\0\0\0\x06\0\x04\0\0\x01a";
    let mut body = vec![3, 3];
    body.extend_from_slice(&[0; 32]);
    body.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0]);
    let with = |count: usize| {
        let mut hello = body.clone();
        hello.extend_from_slice(&u16::try_from(one.len() * count).unwrap().to_be_bytes());
        hello.extend_from_slice(&one.repeat(count));
        name_of(&hello)
    };
    assert_eq!(with(0), Some(Sni::Absent));
    assert_eq!(with(1), Some(name("a")));
    assert_eq!(with(2), None);
}

#[test]
fn every_flipped_byte_and_every_cut_length_is_survived() {
    for hello in [OPENSSL_NAMED, OPENSSL_TLS12, &rustls_named()] {
        for place in 0..hello.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = hello.to_vec();
                changed[place] = value;
                if let Sni::NeedMore(total) = parse(&changed) {
                    assert!(total <= HELLO_BYTES_MAX && total > changed.len());
                }
            }
        }
    }
}
