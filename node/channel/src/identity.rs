//! An HSM's managed identity, as its agent tells it: who it is at which issuer, and where its
//! tokens may go. The file of its credential comes as a descriptor; the agent does not read it.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Longest roots of a token endpoint's certificate, in bytes.
pub const IDENTITY_ROOTS_BYTES_MAX: usize = 32 * 1024;

/// What an operator has written of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Where its tokens come from.
    pub token_endpoint: String,
    /// The id that the issuer knows it by.
    pub client_id: String,
    /// Whether its credential is a token of another issuer; else it is a secret.
    pub federated: bool,
    /// The roots that the token endpoint's TLS certificate must come from, PEM; those of the
    /// machine if there are none.
    pub trust_anchors_pem: Option<String>,
    /// The storage accounts that its tokens may go to.
    pub storage: Vec<String>,
}

/// The answer to the question for the identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityAnswer {
    /// This one; the descriptor is the file of its credential.
    Is(Identity),
    /// The HSM has none.
    None,
    /// What was written of it, or its credential, cannot be used; the agent's log says why.
    Unusable,
}

/// An identity with its credential, as a courier needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// The identity.
    pub identity: Identity,
    /// What it proves itself with.
    pub credential: SecretText,
}

/// A text that is not printed, and wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_travels_and_is_not_printed() {
        let identity = Identity {
            token_endpoint: "https://login.example/token".to_owned(),
            client_id: "hsm".to_owned(),
            federated: false,
            trust_anchors_pem: None,
            storage: vec!["https://a.blob.example".to_owned()],
        };
        let proven = Proven { identity, credential: SecretText::new("hunter2".to_owned()) };
        let text = serde_json::to_string(&proven).unwrap();
        assert_eq!(serde_json::from_str::<Proven>(&text).unwrap(), proven);
        assert!(!format!("{proven:?}").contains("hunter2"));
        let more = text.replace("\"federated\"", "\"more\":1,\"federated\"");
        assert!(serde_json::from_str::<Proven>(&more).is_err());
    }
}
