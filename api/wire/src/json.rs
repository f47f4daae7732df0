//! A JSON object, written straight into one buffer: for answers whose speed counts.
//!
//! Binary members need no escaping and are encoded in place, so that a long ciphertext is touched
//! once.

use crate::append_base64url;

/// Writes the members of one object.
pub struct JsonObject<'a> {
    out: &'a mut Vec<u8>,
    begun: bool,
}

impl<'a> JsonObject<'a> {
    /// Begins an object at the end of the buffer.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, begun: false }
    }

    /// Writes a member whose value needs no escaping: the caller knows that it holds neither
    /// quotes, backslashes nor control characters.
    pub fn plain(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\'), "{name}");
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
        self
    }

    /// Writes a binary member.
    pub fn binary(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        append_base64url(self.out, value);
        self.out.push(b'"');
        self
    }

    /// Writes a boolean member.
    pub fn boolean(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    /// Ends the object.
    pub fn end(&mut self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if std::mem::replace(&mut self.begun, true) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_what_a_json_reader_expects() {
        let mut out = Vec::new();
        let mut object = JsonObject::begin(&mut out);
        object.plain("kid", "https://h/keys/a").binary("value", &[0xfb]).boolean("ok", false);
        object.end();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({"kid": "https://h/keys/a", "value": "-w", "ok": false});
        assert_eq!(read, expected);
        let mut empty = Vec::new();
        JsonObject::begin(&mut empty).end();
        assert_eq!(empty, b"{}");
    }
}
