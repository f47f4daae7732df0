//! Who uses a key: our own addition to the API, for those who decide whether a key can go.

use casemate_hsm::KeyName;
use casemate_hsm::rbac::{Scope, act};
use http::StatusCode;
use serde_json::json;

use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::refusal::Refusal;

/// Most callers in one answer: the latest.
const CALLERS_MAX: usize = 256;

/// `GET /audit/usage?key=NAME`. Asks for the right to see deleted keys: of the built-in roles,
/// Crypto Auditor and Crypto Officer have it.
pub(crate) async fn get(x: &mut Exchange, name: KeyName) -> Result<Answer, Refusal> {
    let permit = x.authorize::<act::DeletedKeysRead>(Scope::Key(name.clone()))?;
    let usage = x.usage(&name);
    let body = json!({
        "key": name.as_str(),
        "uses": usage.rows.iter().take(CALLERS_MAX).collect::<Vec<_>>(),
        "recordsCounted": usage.covered,
        "records": usage.durable,
        "usesLeftOut": usage.left_out,
    });
    let answer = Answer::json(StatusCode::OK, crate::render::json(&body));
    x.read(&permit, answer).await
}
