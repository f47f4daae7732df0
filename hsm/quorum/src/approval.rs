//! An officer's word for a change of hands: a signature over who is to hold shares from now on.
//!
//! It is made offline, with the key that holds a share now. It names the domain and the number of
//! the download that it is for, so it serves once, in one domain.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{Holder, Primitives, PrivateKey, Quorum, base64url, from_base64url};

/// Most approvals of one request.
pub const APPROVALS_MAX: usize = 10;

/// One officer's signature.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Approval {
    /// The certificate that holds a share now: SHA-256 of its DER, base64url.
    #[serde(rename = "x5t#S256")]
    pub x5t_s256: String,
    /// RSA-PSS with SHA-256 over [`Terms::text`], base64url.
    pub signature: String,
}

/// What an officer agrees to.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The domain.
    pub domain: [u8; 16],
    /// The number of the download that this is for; the first was 1.
    pub download: u64,
    /// Who is to hold shares.
    pub quorum: &'a Quorum,
    /// The new epoch, where the secret is to be a new one.
    pub rotation: Option<Rotation>,
}

/// A change of the domain's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The number of the epoch that begins.
    pub epoch: u32,
    /// Backups of all epochs before this one are not to be opened any more.
    #[serde(rename = "forgetBefore", default, skip_serializing_if = "Option::is_none")]
    pub forget_before: Option<u32>,
}

/// Why approvals do not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalRefusal {
    /// Somebody who holds no share.
    #[error("the approval by {thumbprint} is by nobody who holds a share now")]
    NotAHolder {
        /// Who.
        thumbprint: String,
    },
    /// Somebody twice.
    #[error("{thumbprint} approves twice; each holder counts once")]
    Twice {
        /// Who.
        thumbprint: String,
    },
    /// A signature over something else, or none.
    #[error(
        "the approval by {thumbprint} is not its signature over this request: other certificates, \
         another quorum, another domain, another epoch, or made for another download than number \
         {download}"
    )]
    Signature {
        /// Who.
        thumbprint: String,
        /// The download that approvals serve next.
        download: u64,
    },
    /// Fewer than hold the domain.
    #[error("{found} of the {required} needed approvals by present share holders are there")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many are needed.
        required: u8,
    },
}

impl Terms<'_> {
    /// The text that is signed: lines, each ended by a line feed.
    pub fn text(&self) -> String {
        let mut text = "casemate security domain approval 1\ndomain ".to_owned();
        for byte in self.domain {
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, "\ndownload {}\nrequired {}\n", self.download, self.quorum.required());
        if let Some(Rotation { epoch, forget_before }) = self.rotation {
            let _ = writeln!(text, "rotate to epoch {epoch}");
            if let Some(before) = forget_before {
                let _ = writeln!(text, "forget backups before epoch {before}");
            }
        }
        for holder in self.quorum.holders() {
            let _ = writeln!(text, "certificate {}", holder.thumbprint());
        }
        text
    }

    /// The signature of one who holds a share now; none if the library fails.
    pub fn approve(&self, holder: &Holder, key: &dyn PrivateKey) -> Option<Approval> {
        let signature = key.pss256_sign(self.text().as_bytes())?;
        Some(Approval {
            x5t_s256: holder.thumbprint().to_owned(),
            signature: base64url(&signature),
        })
    }
}

/// Whether enough of the present holders approve. Each that does not count is refused by name,
/// rather than passed over.
pub fn approved(
    terms: &Terms<'_>,
    approvals: &[Approval],
    present: &Quorum,
    primitives: &dyn Primitives,
) -> Result<(), ApprovalRefusal> {
    let text = terms.text();
    for (at, approval) in approvals.iter().enumerate() {
        let thumbprint = || approval.x5t_s256.clone();
        let mut holders = present.holders().iter();
        let holder = holders.find(|holder| holder.thumbprint() == approval.x5t_s256);
        let holder =
            holder.ok_or_else(|| ApprovalRefusal::NotAHolder { thumbprint: thumbprint() })?;
        if approvals.iter().take(at).any(|other| other.x5t_s256 == approval.x5t_s256) {
            return Err(ApprovalRefusal::Twice { thumbprint: thumbprint() });
        }
        let signed = from_base64url(&approval.signature).is_some_and(|signature| {
            primitives.rsa_pss256_verify(holder.public(), text.as_bytes(), &signature)
        });
        if !signed {
            let (thumbprint, download) = (thumbprint(), terms.download);
            return Err(ApprovalRefusal::Signature { thumbprint, download });
        }
    }
    let (found, required) = (approvals.len(), present.required());
    if found < usize::from(required) {
        return Err(ApprovalRefusal::TooFew { found, required });
    }
    Ok(())
}
