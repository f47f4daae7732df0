//! The secret of one sink.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Longest secret, in bytes.
pub(crate) const SECRET_BYTES_MAX: usize = 4 * 1024;
/// Beginning of a signing secret, by Standard Webhooks.
const SIGNING_PREFIX: &str = "whsec_";
/// Length of a signing key, in bytes, by Standard Webhooks.
const SIGNING_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What a sink needs to be let in, or to sign with. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkSecret(Zeroizing<String>);

impl SinkSecret {
    /// Takes the secret over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key of a signing secret (`whsec_` and base64), if it is one.
    pub fn expose_signing_key(&self) -> Option<Zeroizing<Vec<u8>>> {
        let text = self.0.strip_prefix(SIGNING_PREFIX)?;
        let key = Zeroizing::new(STANDARD.decode(text).ok()?);
        SIGNING_KEY_BYTES.contains(&key.len()).then_some(key)
    }
}

impl std::fmt::Debug for SinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SinkSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_secret_has_the_standard_form() {
        let key = |text: &str| SinkSecret::new(text.to_owned()).expose_signing_key();
        let good = format!("whsec_{}", STANDARD.encode([7; 32]));
        assert_eq!(key(&good).unwrap().as_slice(), [7; 32]);
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "whsec_!!", &STANDARD.encode([7; 32]), &short, &long] {
            assert!(key(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn it_is_not_printed() {
        assert_eq!(format!("{:?}", SinkSecret::new("hidden".to_owned())), "SinkSecret(…)");
    }
}
