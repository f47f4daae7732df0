//! A signed checkpoint of the log, as far as a courier must understand it: how many entries it is
//! over. Its signature is for those who verify the copy, and so is the certificate of its key.

use serde_json::json;

/// A checkpoint of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// How many entries it is over.
    pub(crate) size: u64,
    /// All of it, signatures included.
    text: String,
    /// The certificate of the key that signed it.
    certificate: Option<String>,
}

impl Checkpoint {
    /// Reads the size from the second line.
    pub(crate) fn parse(text: String, certificate: Option<String>) -> Option<Self> {
        let size = text.lines().nth(1)?.parse().ok()?;
        Some(Self { size, text, certificate })
    }

    /// The lines that stand for it in a copy, without newlines: the certificate's and its own, so
    /// that any piece of a copy can be verified by itself.
    pub(crate) fn lines(&self) -> Vec<String> {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.map(|text| json!({ "certificate": text }).to_string());
        certificate.into_iter().chain([json!({ "checkpoint": self.text }).to_string()]).collect()
    }

    /// The lines that join a piece of a copy which has ended to this checkpoint, each with its
    /// newline: the checkpoint's own, and the proof that its tree grew from what the piece ends at.
    pub(crate) fn joint(&self, proof: &str) -> Vec<u8> {
        let mut lines = self.lines();
        lines.push(json!({ "consistency": proof }).to_string());
        lines.into_iter().flat_map(|line| (line + "\n").into_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_the_second_line() {
        let text = "casemate/dev\n42\ncm9vdA==\n\n— casemate/dev c2ln\n".to_owned();
        let checkpoint = Checkpoint::parse(text, Some("title\n".to_owned())).unwrap();
        assert_eq!(checkpoint.size, 42);
        let lines = checkpoint.lines();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "{\"certificate\":\"title\\n\"}");
        assert!(lines[1].starts_with("{\"checkpoint\":\"casemate/dev\\n42\\n"));
        assert!(!lines[1].contains('\n'));
        let joint = format!("{}\n{}\n{{\"consistency\":\"7\\n42\\n\"}}\n", lines[0], lines[1]);
        assert_eq!(checkpoint.joint("7\n42\n"), joint.as_bytes());
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "x", "x\n", "x\n-1\n", "x\n1 2\n", "42\n"] {
            assert!(Checkpoint::parse(text.to_owned(), None).is_none(), "{text:?}");
        }
    }
}
