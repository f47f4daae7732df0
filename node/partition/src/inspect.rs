//! What an HSM says of itself to the operator of its machine: state, engine, sealed settings,
//! domain and who holds it. No secret is part of it, and nothing is changed by it.

use casemate_hsm::Door;
use casemate_hsm::security_domain::{Domain, HeldBy, Keeper};
use serde_json::{Value, json};

/// The HSM, for `casemate hsm inspect`.
pub(crate) fn inspect(hsm: &Door, keeper: &dyn Keeper) -> Value {
    let domain = keeper.domain();
    let state = match (&domain, hsm.is_recovering()) {
        (Some(_), _) => "Active",
        (None, true) => "Recovering",
        (None, false) => "Provisioned",
    };
    json!({
        "state": state,
        "engine": hsm.engine_name(),
        "sequence": hsm.sequence(),
        "settings": settings(hsm, keeper),
        "securityDomain": domain.map(|domain| of_domain(&domain, hsm, keeper)),
        "holders": hsm.held_by().map(|held| holders(&held, keeper)),
    })
}

/// The settings in force. Of trust anchors there is the digest, as `sha256sum` shows it of their
/// file: together they may be longer than a message.
fn settings(hsm: &Door, keeper: &dyn Keeper) -> Value {
    let mut settings = json!(**hsm.settings());
    for issuer in settings["issuers"].as_array_mut().into_iter().flatten() {
        let pem = issuer["trust_anchors_pem"].take();
        let digest = keeper.primitives().sha256(pem.as_str().unwrap_or_default().as_bytes());
        if let Some(issuer) = issuer.as_object_mut() {
            issuer.remove("trust_anchors_pem");
            issuer.insert("trust_anchors_sha256".to_owned(), json!(hex(&digest)));
        }
    }
    settings
}

fn of_domain(domain: &Domain, hsm: &Door, keeper: &dyn Keeper) -> Value {
    let epochs = domain.epochs().iter().map(|epoch| epoch.number);
    let earlier: Vec<u32> = epochs.filter(|epoch| *epoch != domain.epoch()).collect();
    let left = hsm.left_behind();
    json!({
        "id": hex(&domain.id()),
        "epoch": domain.epoch(),
        "earlierEpochsThatOpen": earlier,
        "leavingEpoch": keeper.leaving(),
        "recordsLeft": left.records,
        "records": left.of,
    })
}

fn holders(held: &HeldBy, keeper: &dyn Keeper) -> Value {
    let certificates = held.holders(keeper.primitives());
    let shares: Vec<Value> = certificates
        .iter()
        .map(|holder| json!({ "x5t#S256": holder.thumbprint(), "subject": holder.subject() }))
        .collect();
    json!({
        "required": held.required(),
        "shares": shares,
        "download": held.download(),
        "strict": held.is_strict(),
        "downloaded": held.downloaded().map(|(at, by)| json!({ "at": at.0, "by": by })),
        "uploaded": held.uploaded().map(|(at, by)| json!({ "at": at.0, "by": by })),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
