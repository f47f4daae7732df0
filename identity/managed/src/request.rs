//! The request for a token: the client credentials grant (RFC 6749, 4.4).

use url::form_urlencoded::Serializer;

use crate::{Credential, CredentialKind, ManagedIdentity};

/// What a token is asked for: Azure Storage, and nothing else.
pub const SCOPE: &str = "https://storage.azure.com/.default";

/// The type of an assertion that is a signed token (RFC 7523, 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The body of the request, `application/x-www-form-urlencoded`. It holds the credential.
pub fn form(identity: &ManagedIdentity, credential: &Credential) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials")
        .append_pair("client_id", identity.client_id())
        .append_pair("scope", SCOPE);
    match identity.credential() {
        CredentialKind::Secret => form.append_pair("client_secret", credential.expose()),
        CredentialKind::FederatedToken => form
            .append_pair("client_assertion_type", ASSERTION_TYPE)
            .append_pair("client_assertion", credential.expose()),
    };
    form.finish()
}
