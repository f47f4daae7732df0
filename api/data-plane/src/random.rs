//! Random bytes.

use casemate_hsm::rbac::{Scope, act};
use casemate_wire::{RandomBytesResult, Wiped};
use http::StatusCode;

use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::parameters;
use crate::refusal::Refusal;

pub(crate) async fn bytes(x: &mut Exchange, body: &[u8]) -> Result<Answer, Refusal> {
    let count = parameters::random_count(body)?;
    let permit = x.authorize::<act::Rng>(Scope::Root)?;
    let drawn = x.hsm().random_bytes(&permit, count)?;
    let json = RandomBytesResult { value: drawn.expose() }.to_json();
    x.read(&permit, Answer::secret(StatusCode::OK, Wiped::new(json))).await
}
