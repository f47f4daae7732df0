//! The server name in a TLS hello: bytes in; a name, "none", or "need more" out.
//!
//! Pure, for bytes from anybody. It checks no more of the hello than is needed to find the name:
//! the partition performs the real handshake over the same bytes. RFC 8446 §4.1.2 and §5.1, RFC
//! 6066 §3.

use std::net::IpAddr;

/// The largest hello that is looked at, in bytes, record headers included.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sni {
    /// The hello asks for this name (lower case, no dot at the end).
    Name(String),
    /// A whole hello without a name, or with an address in its place.
    Absent,
    /// So far a hello; at least this many bytes, from the start, are needed to say more.
    NeedMore(usize),
    /// No TLS hello, or one that breaks the rules or the limit.
    NotTls,
}

const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_TYPE_HOST: u8 = 0;
const HOST_BYTES_MAX: usize = 253;

/// Looks for the server name at the start of a connection.
#[must_use]
pub fn parse(bytes: &[u8]) -> Sni {
    match hello(bytes) {
        Ok(body) => name_of(&body).unwrap_or(Sni::NotTls),
        Err(other) => other,
    }
}

/// The body of the ClientHello, put together from its records.
fn hello(bytes: &[u8]) -> Result<Vec<u8>, Sni> {
    let mut message = Vec::new();
    let mut rest = Bytes(bytes);
    let mut consumed = 0_usize;
    loop {
        let record = record(&mut rest, consumed)?;
        consumed += RECORD_HEADER + record.declared;
        message.extend_from_slice(record.present);
        match whole_message(&message)? {
            Some(body) => return Ok(body),
            None if record.present.len() < record.declared => return Err(Sni::NeedMore(consumed)),
            None if consumed >= HELLO_BYTES_MAX => return Err(Sni::NotTls),
            None => {}
        }
    }
}

struct Record<'a> {
    declared: usize,
    present: &'a [u8],
}

fn record<'a>(rest: &mut Bytes<'a>, consumed: usize) -> Result<Record<'a>, Sni> {
    let need_header = Sni::NeedMore(consumed + RECORD_HEADER);
    // Each byte is judged as soon as it is there: what is not TLS need not be waited for.
    match rest.0 {
        [kind, ..] if *kind != HANDSHAKE => return Err(Sni::NotTls),
        [_, major, ..] if *major != 3 => return Err(Sni::NotTls),
        _ => {}
    }
    let header = rest.take(RECORD_HEADER).ok_or(need_header)?;
    let declared = match header {
        [_, _, _, high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(Sni::NotTls),
    };
    if declared == 0 || consumed + RECORD_HEADER + declared > HELLO_BYTES_MAX {
        return Err(Sni::NotTls);
    }
    let present = rest.take_up_to(declared);
    Ok(Record { declared, present })
}

/// The body once all of it is there; an error as soon as it cannot be a hello.
fn whole_message(message: &[u8]) -> Result<Option<Vec<u8>>, Sni> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Sni::NotTls);
    }
    let [_, a, b, c, body @ ..] = message else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap_or(usize::MAX);
    if length > HELLO_BYTES_MAX {
        return Err(Sni::NotTls);
    }
    Ok(body.get(..length).map(<[u8]>::to_vec))
}

/// `None` where the body breaks its own lengths.
fn name_of(body: &[u8]) -> Option<Sni> {
    let mut rest = Bytes(body);
    rest.take(2 + 32)?;
    rest.vector8()?;
    let suites = rest.vector16()?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return None;
    }
    rest.vector8()?;
    if rest.0.is_empty() {
        // TLS 1.2 without extensions.
        return Some(Sni::Absent);
    }
    let mut extensions = Bytes(rest.vector16()?);
    let mut found = Sni::Absent;
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        if kind == EXTENSION_SERVER_NAME {
            if found != Sni::Absent {
                return None;
            }
            found = server_name(content)?;
        }
    }
    Some(found)
}

fn server_name(content: &[u8]) -> Option<Sni> {
    let mut outer = Bytes(content);
    let mut list = Bytes(outer.vector16()?);
    let kind = list.u8()?;
    let host = list.vector16()?;
    if kind != NAME_TYPE_HOST || !outer.0.is_empty() || !list.0.is_empty() {
        return None;
    }
    host_name(host)
}

/// A name that can be a host's, or an address, which counts as no name.
fn host_name(bytes: &[u8]) -> Option<Sni> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.parse::<IpAddr>().is_ok() {
        return Some(Sni::Absent);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.bytes().all(allowed) {
        return None;
    }
    Some(Sni::Name(text.to_ascii_lowercase()))
}

/// A reader that cannot run past its end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn take_up_to(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let pair: [u8; 2] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(pair))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests;
