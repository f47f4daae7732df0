//! A target that speaks as much of S3, and of Azure's removals, as is asked of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Good,
    /// It answers 501 to a put under a condition.
    NoConditions,
    /// It takes no notice of a condition.
    IgnoresConditions,
    /// It answers 500 to the first put, and meanwhile another puts an object there.
    AnotherComesFirst,
    /// It takes the first object, and hangs up.
    LosesFirstAnswer,
    /// It answers 409 to a removal.
    Immutable,
    /// It answers 403 to everything.
    Denies,
}

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Vec<u8>>,
    heads: Vec<String>,
    puts: usize,
}

pub(super) struct S3 {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
}

impl S3 {
    pub(super) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Mutex::new(Held::default()));
        let holding = Arc::clone(&held);
        drop(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, manner, Arc::clone(&holding)).await;
            }
        }));
        Self { address, held }
    }

    pub(super) fn uri(&self) -> String {
        format!("s3+{}", self.azure_uri())
    }

    pub(super) fn azure_uri(&self) -> String {
        format!("http://{}/bucket", self.address)
    }

    /// The heads of all requests.
    pub(super) fn heads(&self) -> Vec<String> {
        self.held.lock().unwrap().heads.clone()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, held: Arc<Mutex<Held>>) {
    while let Some((asked, body)) = request(&mut stream).await {
        let answer = answer(&asked, body, manner, &held);
        let Some((status, body)) = answer else { return };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\netag: \"e\"\r\n\
             last-modified: Wed, 25 Nov 2026 00:00:00 GMT\r\n\
             content-type: multipart/mixed; boundary=b\r\n\r\n"
        );
        let body = if asked.starts_with("HEAD ") { &[] } else { body.as_slice() };
        if stream.write_all(&[head.as_bytes(), body].concat()).await.is_err() {
            return;
        }
    }
}

/// The answer; none where it hangs up.
fn answer(head: &str, body: Vec<u8>, manner: Manner, held: &Mutex<Held>) -> Option<(u16, Vec<u8>)> {
    let mut held = held.lock().unwrap();
    held.heads.push(head.to_owned());
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
    let only_new = head.to_ascii_lowercase().contains("if-none-match: *")
        && manner != Manner::IgnoresConditions;
    held.puts += usize::from(method == "PUT");
    let none = Vec::new;
    Some(match (method, manner) {
        (_, Manner::Denies) => (403, none()),
        ("PUT", Manner::NoConditions) if only_new => (501, none()),
        ("PUT", Manner::AnotherComesFirst) if held.puts == 1 => {
            held.objects.insert(path, b"another's".to_vec());
            return None;
        }
        ("GET", Manner::AnotherComesFirst) if held.puts == 1 => (404, none()),
        ("PUT", _) if only_new && held.objects.contains_key(&path) => (412, none()),
        ("PUT", _) => {
            held.objects.insert(path, body);
            if manner == Manner::LosesFirstAnswer && held.puts == 1 {
                return None;
            }
            (200, none())
        }
        ("DELETE", Manner::Immutable) => (409, none()),
        ("POST", Manner::Immutable) => {
            let answer = "--b\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\n\
                          HTTP/1.1 409 This operation is not permitted\r\n\r\n\r\n--b--\r\n";
            (202, answer.as_bytes().to_vec())
        }
        ("DELETE", _) => (held.objects.remove(&path).map_or(404, |_| 204), none()),
        (_, _) => match held.objects.get(&path) {
            Some(found) => (200, found.clone()),
            None => (404, none()),
        },
    })
}

/// Head and body of a request; none at the end.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}
