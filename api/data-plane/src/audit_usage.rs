//! Who uses a key: our own addition to the API, for those who decide whether a key can go.

use casemate_audit::{UsageKind, UsageRow};
use casemate_hsm::KeyName;
use casemate_hsm::rbac::{Scope, act};
use http::StatusCode;
use serde_json::json;

use crate::answer::Answer;
use crate::exchange::Exchange;
use crate::refusal::Refusal;

/// Most callers in each list of an answer: the latest.
const CALLERS_MAX: usize = 256;

/// `GET /audit/usage?key=NAME`. Asks for the right to see deleted keys: of the built-in roles,
/// Crypto Auditor and Crypto Officer have it.
pub(crate) async fn get(x: &mut Exchange, name: KeyName) -> Result<Answer, Refusal> {
    let permit = x.authorize::<act::DeletedKeysRead>(Scope::Key(name.clone()))?;
    let usage = x.usage(&name);
    let of = |kind: UsageKind| -> Vec<&UsageRow> {
        usage.rows.iter().filter(|row| row.kind == kind).take(CALLERS_MAX).collect()
    };
    let body = json!({
        "key": name.as_str(),
        "uses": of(UsageKind::Use),
        "reads": of(UsageKind::Read),
        "recordsCounted": usage.covered,
        "records": usage.durable,
        "usesLeftOut": usage.left_out,
    });
    let answer = Answer::json(StatusCode::OK, crate::render::json(&body));
    x.read(&permit, answer).await
}
