//! The headers `traceparent` and `tracestate` (W3C Trace Context, Recommendation of 2021-11-23).
//!
//! Parsed strictly: what is not exactly of the form is as if it had not been sent. The section
//! numbers below are those of the recommendation.

use crate::span::{SpanId, TraceId};

/// Length of `traceparent` of version 00, and of the part of later versions that is understood.
const PARENT_BYTES: usize = 55;
/// Longest `traceparent` of a later version, in bytes.
const PARENT_BYTES_MAX: usize = 256;
/// The one flag that is defined (3.2.2.5.1).
const SAMPLED: u8 = 0x01;
/// Longest `tracestate`, in bytes: what everybody has to pass on (3.3.1.5).
pub const STATE_BYTES_MAX: usize = 512;
/// Most members of a `tracestate` (3.3.1.1).
const STATE_MEMBERS_MAX: usize = 32;
/// Longest key and value of a member (3.3.1.3).
const STATE_PART_BYTES_MAX: usize = 256;
/// Longest tenant and system of a key with both.
const TENANT_BYTES_MAX: usize = 241;
const SYSTEM_BYTES_MAX: usize = 14;

/// What a caller says of the trace that its request is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The trace.
    pub trace: TraceId,
    /// The caller's own span.
    pub parent: SpanId,
    /// Whether the caller records its part and wishes that others do.
    pub sampled: bool,
}

impl Incoming {
    /// Reads the values of all headers `traceparent`; more than one is none (3.2.1).
    pub fn parse<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let only = values.next()?;
        if values.next().is_some() || only.len() > PARENT_BYTES_MAX {
            return None;
        }
        let (known, rest) = only.split_at_checked(PARENT_BYTES)?;
        let [version, trace, parent, flags] = fields(known)?;
        let [version] = hex(version)?;
        let later = rest.is_empty() || rest.starts_with(b"-");
        let fits = match version {
            0x00 => rest.is_empty(),
            0xff => false,
            // A later version may have more behind another dash (3.2.4).
            _ => later,
        };
        if !fits {
            return None;
        }
        let (trace, parent, [flags]) = (hex(trace)?, hex(parent)?, hex(flags)?);
        if trace == [0; 16] || parent == [0; 8] {
            return None;
        }
        Some(Self { trace, parent, sampled: flags & SAMPLED != 0 })
    }
}

/// The four fields between their dashes.
fn fields(known: &[u8]) -> Option<[&[u8]; 4]> {
    let mut fields = known.split(|byte| *byte == b'-');
    let four = [fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    fields.next().is_none().then_some(four)
}

/// Exactly so many bytes in lower-case hexadecimal digits.
fn hex<const BYTES: usize>(text: &[u8]) -> Option<[u8; BYTES]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != BYTES || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Reads the values of all headers `tracestate` as one list (3.3.1.1), without the spaces and
/// empty members that it may have. None if it holds nothing, or anything that it must not.
pub fn trace_state<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Box<str>> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let mut bytes = 0;
    for value in values {
        bytes += value.len();
        if bytes > STATE_BYTES_MAX {
            return None;
        }
        for member in value.split(|byte| *byte == b',') {
            let member = std::str::from_utf8(member).ok()?.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_new = members.iter().all(|(known, _)| *known != key);
            if members.len() == STATE_MEMBERS_MAX || !is_key(key) || !is_value(value) || !is_new {
                return None;
            }
            members.push((key, value));
        }
    }
    let texts: Vec<String> = members.iter().map(|(key, value)| format!("{key}={value}")).collect();
    // Between headers there stands a comma which no header held.
    let text = texts.join(",");
    (!text.is_empty() && text.len() <= STATE_BYTES_MAX).then(|| text.into())
}

fn is_key(key: &str) -> bool {
    let part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
    let of = |text: &str, bytes_max: usize, first: fn(&u8) -> bool| {
        text.len() <= bytes_max
            && text.as_bytes().first().is_some_and(first)
            && text.bytes().all(part)
    };
    match key.split_once('@') {
        None => of(key, STATE_PART_BYTES_MAX, u8::is_ascii_lowercase),
        Some((tenant, system)) => {
            let letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            of(tenant, TENANT_BYTES_MAX, letter_or_digit)
                && of(system, SYSTEM_BYTES_MAX, u8::is_ascii_lowercase)
        }
    }
}

/// Printable, without comma and equals sign, and not ending in a space.
fn is_value(value: &str) -> bool {
    let fits = |byte: u8| matches!(byte, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    value.len() <= STATE_PART_BYTES_MAX
        && value.bytes().last().is_some_and(|byte| byte != b' ')
        && value.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<Incoming> {
        Incoming::parse([text.as_bytes()].into_iter())
    }

    fn state(values: &[&str]) -> Option<String> {
        trace_state(values.iter().map(|value| value.as_bytes())).map(String::from)
    }

    #[test]
    fn the_recommendations_own_example_is_read() {
        let read = parse(GOOD).unwrap();
        assert_eq!(read.trace[..4], [0x4b, 0xf9, 0x2f, 0x35]);
        assert_eq!(read.parent, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert!(read.sampled);
        let with_flags = |flags: &str| parse(&GOOD.replace("-01", flags)).unwrap().sampled;
        assert!(!with_flags("-00"));
        assert!(!with_flags("-fe"), "flags that nobody knows yet are not this one");
        assert!(with_flags("-ff"));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = |rest: &str| parse(&format!("01{}{rest}", &GOOD[2..]));
        assert!(later("").is_some() && later("-what-the-future-brings").is_some());
        assert!(later("-").is_some());
        for rest in [".x", "x", " ", &format!("-{}", "x".repeat(PARENT_BYTES_MAX))] {
            assert_eq!(later(rest), None, "{rest}");
        }
        assert!(parse(&format!("fe{}", &GOOD[2..])).is_some());
    }

    #[test]
    fn whatever_else_is_none() {
        let (version, rest) = GOOD.split_at(2);
        let replaced = |from: &str, to: &str| GOOD.replacen(from, to, 1);
        let zeros = |count: usize| "0".repeat(count);
        let wrong = [
            String::new(),
            "00".to_owned(),
            "-".repeat(PARENT_BYTES),
            "0".repeat(PARENT_BYTES),
            format!("ff{rest}"),
            format!("0{rest}"),
            format!("000{rest}"),
            format!("0g{rest}"),
            format!("{version}{rest}-00"),
            format!("{version}{rest}-"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            format!("\"{GOOD}\""),
            GOOD[..PARENT_BYTES - 1].to_owned(),
            GOOD[1..].to_owned(),
            GOOD.to_uppercase(),
            replaced("4bf", "4BF"),
            replaced("4bf", "4bg"),
            replaced("4bf", "+bf"),
            replaced("4bf", "4 f"),
            replaced("4bf", "4\0f"),
            replaced("4bf92f3577b34da6a3ce929d0e0e4736", &zeros(32)),
            replaced("00f067aa0ba902b7", &zeros(16)),
            replaced("-00f067aa", "0-0f067aa"),
            replaced("00f067aa0ba902b7-01", "00f067aa0ba902b-011"),
            replaced("-01", "-0x"),
            replaced("-01", "--1"),
            replaced("-01", "-1-"),
            replaced("-", "_"),
            replaced("4bf9", "4bü"),
            GOOD.replace('-', ""),
            format!("{GOOD},{GOOD}"),
            format!("01{}{}", rest, "-x".repeat(PARENT_BYTES_MAX)),
        ];
        for text in &wrong {
            assert_eq!(parse(text), None, "{text:?}");
        }
        for end in 0..GOOD.len() {
            assert_eq!(parse(&GOOD[..end]), None, "cut after {end}");
        }
        assert_eq!(Incoming::parse(std::iter::empty()), None);
        let twice = [GOOD.as_bytes(), GOOD.as_bytes()];
        assert_eq!(Incoming::parse(twice.into_iter()), None, "two headers say two things");
        let with_empty = [GOOD.as_bytes(), b""];
        assert_eq!(Incoming::parse(with_empty.into_iter()), None);
        assert_eq!(Incoming::parse([&[0xff; PARENT_BYTES][..]].into_iter()), None);
    }

    #[test]
    fn every_single_wrong_byte_shows_or_changes_what_is_read() {
        let good = parse(GOOD);
        for at in 0..GOOD.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = GOOD.as_bytes().to_vec();
                if bytes[at] == byte {
                    continue;
                }
                bytes[at] = byte;
                let Some(read) = Incoming::parse([bytes.as_slice()].into_iter()) else { continue };
                let is_hex = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let is_dash = GOOD.as_bytes()[at] == b'-';
                assert!(is_hex && !is_dash, "byte {byte:#x} at {at}");
                let of_ids = (3..35).contains(&at) || (36..52).contains(&at);
                assert_eq!(Some(read) == good, !of_ids && read.sampled, "{at} {byte:#x}");
            }
        }
    }

    #[test]
    fn states_are_lists_of_members() {
        for (values, read) in [
            (&["rojo=00f067aa0ba902b7"][..], "rojo=00f067aa0ba902b7"),
            (&["rojo=1,congo=t61rcWkgMzE"], "rojo=1,congo=t61rcWkgMzE"),
            (&["rojo=1", "congo=2"], "rojo=1,congo=2"),
            (&[" rojo=1 ,\t, congo=a b\t,"], "rojo=1,congo=a b"),
            (&["fw529a3039@dt=FfAAAAAAA=".trim_end_matches('=')], "fw529a3039@dt=FfAAAAAAA"),
            (&["0tenant@s=~!"], "0tenant@s=~!"),
            (&["a_-*/0=x"], "a_-*/0=x"),
        ] {
            assert_eq!(state(values).as_deref(), Some(read), "{values:?}");
        }
        let most: Vec<_> = (0..STATE_MEMBERS_MAX).map(|at| format!("k{at}=v")).collect();
        assert!(state(&[&most.join(",")]).is_some());
        let long = "v".repeat(STATE_PART_BYTES_MAX);
        assert!(state(&[&format!("k={long}")]).is_some());
    }

    #[test]
    fn a_state_with_anything_wrong_is_none_altogether() {
        let many: Vec<_> = (0..=STATE_MEMBERS_MAX).map(|at| format!("k{at}=v")).collect();
        let long = "v".repeat(STATE_PART_BYTES_MAX + 1);
        let wrong = [
            "",
            ",",
            " , ",
            "a",
            "=",
            "a=",
            "=b",
            "a=b=c",
            "A=b",
            "ä=b",
            "a b=c",
            "a=ü",
            "a=\u{7f}",
            "a=b\tc",
            "0a=b",
            "@=b",
            "a@=b",
            "@b=c",
            "a@0=b",
            "a@b@c=d",
            "A@b=c",
            "a@abcdefghijklmno=x",
            "a=1,a=2",
            "a=1,b",
            "a =1",
            &many.join(","),
            &format!("k={long}"),
            &format!("{long}=k"),
        ];
        for text in wrong {
            assert_eq!(state(&[text]), None, "{text:?}");
        }
        assert_eq!(state(&["a=1", "a=2"]), None, "a key twice, in two headers");
        assert_eq!(state(&["a=1", "b"]), None);
        let half = format!("a={}", "v".repeat(250));
        let other = format!("b={}", "v".repeat(250));
        assert!(state(&[&half, &other]).is_some());
        assert_eq!(state(&[&half, &other, "c=123456"]), None, "too long together");
        assert_eq!(trace_state([&b"a=\xff"[..]].into_iter()), None);
    }
}
