//! Who is calling: the bearer token, looked at before anything else of the request but its host.
//!
//! No record is written here: of a caller that was not believed, the chain knows nothing. One whose
//! tokens were cut off is known, and gets its record from who asks.

use std::net::IpAddr;
use std::sync::Arc;

use casemate_hsm::rbac::Principal;
use casemate_token::{Caller, GroupsUnknown, RefusalKind, TokenRefusal, claims_challenge};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::answer::Answer;
use crate::budget::site;
use crate::exchange::error_answer;
use crate::plane::{DataPlane, Name};
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// Why a call goes no further.
pub(crate) enum Unbelieved {
    /// Nobody knows whose call it is: the answer sends the client to its issuer.
    Unknown(Answer),
    /// It is known whose call it is, and its tokens were cut off.
    CutOff {
        /// Whose it is.
        caller: Arc<Caller>,
        /// What it is told.
        refusal: TokenRefusal,
        /// Where it gets a new token.
        challenge: HeaderValue,
    },
}

/// The caller, or why it is not believed.
pub(crate) async fn authenticate(
    plane: &DataPlane,
    name: &Name,
    parts: &Parts,
    id: &RequestId,
    peer: IpAddr,
) -> Result<Arc<Caller>, Unbelieved> {
    let Some(token) = bearer(parts) else {
        let answer = Answer::challenge(&parts.method, name.challenge.clone());
        return Err(Unbelieved::Unknown(answer));
    };
    let now = plane.door.now().0;
    if let Some(caller) = plane.validator.cached(token, now) {
        return Ok(caller);
    }
    plane.validator.validate(token, now).await.map_err(|refusal| {
        // Nobody is known to ask for it: whoever can connect could fill the log.
        if plane.token_lines.take(site(peer)) {
            tracing::info!(id = id.as_str(), %refusal, "a token was refused");
        }
        refused(refusal, name, id)
    })
}

/// Who the caller is to the HSM: its id with its groups, and why they are not all known. What the
/// token lists counts in any case.
pub(crate) async fn principal(
    plane: &DataPlane,
    caller: &Caller,
    parts: &Parts,
) -> (Arc<Principal>, Option<GroupsUnknown>) {
    let token = bearer(parts).unwrap_or_default();
    let (groups, unknown) = match plane.groups.of(caller, token, plane.door.now().0).await {
        Ok(groups) => (groups, None),
        Err(unknown) => (caller.groups.clone(), Some(unknown)),
    };
    (Arc::new(Principal { id: caller.object_id, groups }), unknown)
}

/// The token of the one `Authorization` header, if that is a bearer's (RFC 6750, section 2.1).
fn bearer(parts: &Parts) -> Option<&str> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let only = headers.next()?.to_str().ok()?;
    if headers.next().is_some() {
        return None;
    }
    let (scheme, token) = only.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

fn refused(refusal: TokenRefusal, name: &Name, id: &RequestId) -> Unbelieved {
    if let TokenRefusal::CutOff { not_before, caller } = &refusal {
        let text = claims_challenge(&name.authorization, &name.resource, *not_before);
        let challenge = HeaderValue::try_from(text).unwrap_or_else(|_| name.challenge.clone());
        return Unbelieved::CutOff { caller: Arc::clone(caller), refusal, challenge };
    }
    let is_at_fault = refusal.kind() != RefusalKind::Unavailable;
    let mut answer = error_answer(&Refusal::Token(refusal).problem(&name.url), id);
    answer.challenge = is_at_fault.then(|| name.challenge.clone());
    Unbelieved::Unknown(answer)
}
