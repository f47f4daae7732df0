//! What asks for a security domain: the certificates, how many of them are needed, and where others
//! already hold the domain, the approvals of those.

use serde::{Deserialize, Serialize};

use crate::{
    APPROVALS_MAX, Approval, CertificateError, HOLDERS, Holder, Jwk, Primitives, Quorum,
    QuorumRefusal, Rotation,
};

/// A request, read and checked.
#[derive(Debug)]
pub struct DownloadRequest {
    /// Who is to hold shares.
    pub quorum: Quorum,
    /// Signatures of those who hold shares now.
    pub approvals: Vec<Approval>,
    /// The new epoch, where a new secret is asked for.
    pub rotation: Option<Rotation>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No JSON of this form. The reader's own words are not repeated.
    #[error(
        "the body is not {{\"certificates\":[…],\"required\":M}} with JSON Web Keys, at line \
         {line}, column {column}"
    )]
    Form {
        /// Line of the body.
        line: usize,
        /// Column.
        column: usize,
    },
    /// One certificate.
    #[error("certificate {place} of the request cannot hold a share: {cause}")]
    Certificate {
        /// Which, from 1.
        place: usize,
        /// What is wrong.
        cause: CertificateError,
    },
    /// All of them together.
    #[error(transparent)]
    Quorum(#[from] QuorumRefusal),
    /// More approvals than there can be holders.
    #[error("a request carries at most {APPROVALS_MAX} approvals, not {found}")]
    Approvals {
        /// How many there are.
        found: usize,
    },
}

#[derive(Deserialize, Serialize)]
struct Wire {
    certificates: Vec<Jwk>,
    #[serde(default)]
    required: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    approvals: Vec<Approval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<Rotation>,
}

impl DownloadRequest {
    /// Reads the body of a request.
    pub fn parse(body: &[u8], primitives: &dyn Primitives) -> Result<Self, RequestError> {
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|error| RequestError::Form { line: error.line(), column: error.column() })?;
        // Before each is parsed: nobody makes us parse a thousand.
        if !HOLDERS.contains(&wire.certificates.len()) {
            return Err(QuorumRefusal::Holders { found: wire.certificates.len() }.into());
        }
        if wire.approvals.len() > APPROVALS_MAX {
            return Err(RequestError::Approvals { found: wire.approvals.len() });
        }
        let mut holders = Vec::with_capacity(wire.certificates.len());
        for (jwk, place) in wire.certificates.iter().zip(1..) {
            let holder = Holder::from_jwk(jwk, primitives);
            holders.push(holder.map_err(|cause| RequestError::Certificate { place, cause })?);
        }
        let quorum = Quorum::new(holders, wire.required)?;
        Ok(Self { quorum, approvals: wire.approvals, rotation: wire.rotation })
    }

    /// Writes the body of a request.
    pub fn body(&self, primitives: &dyn Primitives) -> String {
        let wire = Wire {
            certificates: self.quorum.holders().iter().map(|one| one.jwk(primitives)).collect(),
            required: Some(u64::from(self.quorum.required())),
            approvals: self.approvals.clone(),
            rotation: self.rotation,
        };
        serde_json::to_string_pretty(&wire).expect("texts and numbers make JSON")
    }
}
