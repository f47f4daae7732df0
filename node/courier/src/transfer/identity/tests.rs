use std::sync::Arc;

use casemate_channel::{Identity, SecretText};
use played::Issuer;

use super::*;

/// A played token endpoint on this machine.
mod played {
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::sleep;

    /// What it does with each request.
    #[derive(Clone)]
    pub(super) enum Does {
        /// Answers with these bytes.
        Says(String),
        /// Answers with a head and then bytes without an end.
        NeverEnds,
        /// Hangs up.
        HangsUp,
        /// Says nothing.
        Waits,
    }

    pub(super) struct Issuer {
        pub(super) port: u16,
        does: Arc<Mutex<Does>>,
        heard: Arc<Mutex<Vec<String>>>,
    }

    impl Issuer {
        pub(super) async fn start(does: Does) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (does, heard) = (Arc::new(Mutex::new(does)), Arc::<Mutex<Vec<String>>>::default());
            let (doing, hearing) = (Arc::clone(&does), Arc::clone(&heard));
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let does = doing.lock().unwrap().clone();
                    tokio::spawn(answer(stream, does, Arc::clone(&hearing)));
                }
            });
            Self { port, does, heard }
        }

        pub(super) fn now(&self, does: Does) {
            *self.does.lock().unwrap() = does;
        }

        /// The requests so far.
        pub(super) fn heard(&self) -> Vec<String> {
            self.heard.lock().unwrap().clone()
        }
    }

    async fn answer(mut stream: TcpStream, does: Does, heard: Arc<Mutex<Vec<String>>>) {
        let mut request = Vec::new();
        while !is_whole(&request) {
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => request.extend_from_slice(&piece[..bytes]),
            }
        }
        heard.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
        match does {
            Does::Says(text) => drop(stream.write_all(text.as_bytes()).await),
            Does::NeverEnds => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                drop(stream.write_all(head.as_bytes()).await);
                let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            }
            Does::HangsUp => {}
            Does::Waits => sleep(Duration::from_secs(3_600)).await,
        }
    }

    fn is_whole(request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.is_some_and(|length| body.len() >= length.parse().unwrap())
    }
}

use played::Does;

fn says(status: &str, body: &str) -> Does {
    let length = body.len();
    Does::Says(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn gives(token: &str, life: u64) -> Does {
    let body = format!(r#"{{"token_type":"Bearer","expires_in":{life},"access_token":"{token}"}}"#);
    says("200 OK", &body)
}

fn proven(port: u16, credential: &str) -> Proven {
    let identity = Identity {
        token_endpoint: format!("http://127.0.0.1:{port}/tenant/oauth2/v2.0/token"),
        client_id: "hsm".to_owned(),
        federated: false,
        trust_anchors_pem: None,
        storage: vec!["https://a.blob.example".to_owned()],
    };
    Proven { identity, credential: SecretText::new(credential.to_owned()) }
}

const CONTAINER: &str = "https://a.blob.example/nightly";

#[tokio::test]
async fn a_token_is_asked_for_once_while_nothing_changes() {
    let issuer = Issuer::start(gives("first", 3_600)).await;
    let mut tokens = Tokens::new(Roots::none());
    let one = proven(issuer.port, "hunter2");
    for _ in 0..3 {
        assert_eq!(tokens.token(&one, CONTAINER).await.unwrap(), "first");
    }
    let [heard] = &issuer.heard()[..] else { panic!("{:?}", issuer.heard()) };
    assert!(heard.starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"), "{heard}");
    assert!(heard.ends_with("client_secret=hunter2"), "{heard}");
    assert!(!heard.contains("Authorization"), "{heard}");
    // Another credential, another client, or what the storage refused: a new one.
    issuer.now(gives("second", 3_600));
    assert_eq!(tokens.token(&proven(issuer.port, "other"), CONTAINER).await.unwrap(), "second");
    issuer.now(gives("third", 3_600));
    tokens.forget();
    assert_eq!(tokens.token(&one, CONTAINER).await.unwrap(), "third");
    let mut federated = one.clone();
    federated.identity.federated = true;
    assert_eq!(tokens.token(&federated, CONTAINER).await.unwrap(), "third");
    let heard = issuer.heard();
    assert_eq!(heard.len(), 4);
    assert!(heard[3].contains("jwt-bearer&client_assertion=hunter2"), "{}", heard[3]);
    assert!(!heard[3].contains("client_secret"), "{}", heard[3]);
}

#[tokio::test]
async fn a_token_is_not_used_to_its_end() {
    let issuer = Issuer::start(gives("first", 2)).await;
    let mut tokens = Tokens::new(Roots::none());
    let one = proven(issuer.port, "x");
    assert_eq!(tokens.token(&one, CONTAINER).await.unwrap(), "first");
    issuer.now(gives("second", 2));
    assert_eq!(tokens.token(&one, CONTAINER).await.unwrap(), "first");
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(tokens.token(&one, CONTAINER).await.unwrap(), "second");
}

#[tokio::test]
async fn for_storage_that_is_not_listed_no_token_is_asked_for_or_shown() {
    let issuer = Issuer::start(gives("first", 3_600)).await;
    let mut tokens = Tokens::new(Roots::none());
    let one = proven(issuer.port, "x");
    for uri in ["https://evil.example/nightly", "https://a.blob.example/nightly/more", "x"] {
        let refused = tokens.token(&one, uri).await.unwrap_err();
        assert!(matches!(refused, NoToken::NotListed), "{uri} {refused}");
    }
    assert!(issuer.heard().is_empty(), "nothing was asked");
    tokens.token(&one, CONTAINER).await.unwrap();
    let refused = tokens.token(&one, "https://evil.example/nightly").await.unwrap_err();
    assert!(matches!(refused, NoToken::NotListed), "also when there is one: {refused}");
}

/// What comes of an answer, and how often was asked.
async fn asked(does: Does) -> (String, usize) {
    let issuer = Issuer::start(does).await;
    let mut tokens = Tokens::new(Roots::none());
    let one = proven(issuer.port, "hunter2");
    let refused = tokens.token(&one, CONTAINER).await.unwrap_err();
    let text = crate::failure::chain(&refused);
    assert!(!text.contains("hunter2") && !text.contains("planted"), "{text}");
    (refused.to_string(), issuer.heard().len())
}

#[tokio::test]
async fn an_issuer_that_refuses_is_asked_once_and_named_with_the_standards_code() {
    let body = r#"{"error":"invalid_client","error_description":"planted hunter2"}"#;
    for status in ["401 Unauthorized", "400 Bad Request"] {
        let (text, times) = asked(says(status, body)).await;
        assert!(text.contains("(invalid_client)") && text.contains("127.0.0.1"), "{text}");
        assert_eq!(times, 1);
    }
    for (status, body) in [
        ("400 Bad Request", r#"{"error":"planted"}"#),
        ("404 Not Found", "planted"),
        ("302 Found", ""),
        ("204 No Content", ""),
    ] {
        let (text, times) = asked(says(status, body)).await;
        assert!(text.contains(status.split(' ').next().unwrap()), "{status}: {text}");
        assert_eq!(times, 1, "{status}");
    }
}

#[tokio::test]
async fn an_issuer_that_cannot_just_now_is_asked_again_a_few_times() {
    for does in [says("503 Service Unavailable", "planted"), says("429 Slow Down", "")] {
        let (text, times) = asked(does).await;
        assert!(text.contains("503") || text.contains("429"), "{text}");
        assert_eq!(times, 3);
    }
    let (text, times) = asked(Does::HangsUp).await;
    assert!(text.contains("does not answer"), "{text}");
    assert_eq!(times, 3);
    let issuer = Issuer::start(says("503 Service Unavailable", "")).await;
    let of = proven(issuer.port, "x");
    let healing = async {
        sleep(Duration::from_millis(200)).await;
        issuer.now(gives("healed", 3_600));
    };
    let mut tokens = Tokens::new(Roots::none());
    let (token, ()) = tokio::join!(tokens.token(&of, CONTAINER), healing);
    assert_eq!(token.unwrap(), "healed");
}

#[tokio::test]
async fn answers_that_give_no_token_are_refused() {
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    for body in ["", "planted", "{}", "[]", r#"{"access_token":"planted"}"#, &long] {
        let (text, times) = asked(says("200 OK", body)).await;
        assert!(text.contains("gave no token that can be used"), "{text}");
        assert_eq!(times, 1, "what is wrong once is wrong again");
    }
    let (text, times) = asked(Does::NeverEnds).await;
    assert!(text.contains("gave no token that can be used"), "{text}");
    assert_eq!(times, 1);
    let (text, _) = asked(says(&format!("200 {}", "x".repeat(4_000_000)), "")).await;
    assert!(text.contains("does not answer"), "a head without an end: {text}");
}

#[tokio::test]
async fn an_issuer_that_says_nothing_is_given_up() {
    let issuer = Issuer::start(Does::Waits).await;
    let usual = Tokens::new(Roots::none());
    assert_eq!(usual.patience, Duration::from_secs(10));
    let mut tokens = Tokens { patience: Duration::from_secs(1), ..usual };
    let begun = Instant::now();
    let refused = tokens.token(&proven(issuer.port, "x"), CONTAINER).await.unwrap_err();
    assert!(matches!(refused, NoToken::TooSlow { .. }), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(5), "and is not asked again");
    assert_eq!(issuer.heard().len(), 1);
}

#[tokio::test]
async fn nobody_is_asked_over_an_identity_that_is_none() {
    let issuer = Issuer::start(gives("first", 3_600)).await;
    let good = proven(issuer.port, "x");
    type Change = fn(&mut Proven);
    let changes: [Change; 6] = [
        |of| of.identity.token_endpoint = "http://login.example/token".to_owned(),
        |of| of.identity.client_id.clear(),
        |of| of.identity.storage.clear(),
        |of| of.identity.trust_anchors_pem = Some(String::new()),
        |of| of.identity.trust_anchors_pem = Some("no PEM".to_owned()),
        |of| of.credential = SecretText::new("a b".to_owned()),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        let refused = Tokens::new(Roots::none()).token(&bad, CONTAINER).await.unwrap_err();
        assert!(matches!(refused, NoToken::Identity), "{refused}");
    }
    assert!(issuer.heard().is_empty());
}

#[tokio::test]
async fn an_endpoint_is_believed_by_its_roots_alone() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut piece = [0; 4096];
            let _read = stream.read(&mut piece).await;
            let Does::Says(text) = gives("over-tls", 3_600) else { return };
            let _written = stream.write_all(text.as_bytes()).await;
            let _ended = stream.shutdown().await;
        }
    });
    let mut of = proven(port, "x");
    of.identity.token_endpoint = format!("https://localhost:{port}/token");
    let refused = Tokens::new(Roots::none()).token(&of, CONTAINER).await.unwrap_err();
    assert!(matches!(refused, NoToken::Unreachable { .. }), "{refused}");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    of.identity.trust_anchors_pem = Some(other.cert.pem());
    let refused = Tokens::new(Roots::none()).token(&of, CONTAINER).await.unwrap_err();
    assert!(matches!(refused, NoToken::Unreachable { .. }), "{refused}");
    of.identity.trust_anchors_pem = Some(made.cert.pem());
    assert_eq!(Tokens::new(Roots::none()).token(&of, CONTAINER).await.unwrap(), "over-tls");
}
