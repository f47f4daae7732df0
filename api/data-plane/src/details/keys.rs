//! What a key is made as, and what of it is changed.

use casemate_audit::Detail;
use casemate_engine_port::KeySpec;
use casemate_hsm::UnixSeconds;
use casemate_hsm::keys::{CreateKey, KeyOp, KeyView, UpdateKey};

use super::{number, text, texts};
use crate::render::kty;

/// A key that is to be made.
pub(crate) fn of_new(asked: &CreateKey) -> Vec<Detail> {
    let mut all = vec![text("keyType", kind(asked.spec))];
    all.extend(asked.key_ops.as_deref().map(|ops| operations("keyOps", ops)));
    all.extend(asked.attributes.enabled.map(|enabled| text("enabled", enabled)));
    all.extend(time("nbf", asked.attributes.not_before));
    all.extend(time("exp", asked.attributes.expires));
    all
}

/// A key that was made.
pub(crate) fn of_made(view: &KeyView) -> Vec<Detail> {
    let mut all = vec![
        text("keyType", kind(view.spec)),
        operations("keyOps", &view.key_ops),
        text("enabled", view.item.enabled),
    ];
    all.extend(time("nbf", view.item.not_before));
    all.extend(time("exp", view.item.expires));
    all.push(texts("tags", view.item.tags.keys().cloned()));
    all
}

/// A change of a version: of each thing that is asked for, what it was and what it becomes. Of tags
/// their names: nobody knows what their values are.
pub(crate) fn of_update(before: Option<&KeyView>, asked: &UpdateKey) -> Vec<Detail> {
    let mut all = Vec::new();
    if let Some(ops) = &asked.key_ops {
        all.extend(before.map(|before| operations("keyOpsBefore", &before.key_ops)));
        all.push(operations("keyOps", ops));
    }
    if let Some(enabled) = asked.attributes.enabled {
        all.extend(before.map(|before| text("enabledBefore", before.item.enabled)));
        all.push(text("enabled", enabled));
    }
    if asked.attributes.not_before.is_some() {
        all.extend(before.and_then(|before| time("nbfBefore", before.item.not_before)));
        all.extend(time("nbf", asked.attributes.not_before));
    }
    if asked.attributes.expires.is_some() {
        all.extend(before.and_then(|before| time("expBefore", before.item.expires)));
        all.extend(time("exp", asked.attributes.expires));
    }
    if let Some(tags) = &asked.tags {
        all.extend(before.map(|before| texts("tagsBefore", before.item.tags.keys().cloned())));
        all.push(texts("tags", tags.clone().into_map().into_keys()));
    }
    all
}

/// Type and size, or curve.
fn kind(spec: KeySpec) -> String {
    match spec {
        KeySpec::Rsa(size) => format!("{} {}", kty(spec), size.bits()),
        KeySpec::Ec(curve) => format!("{} {}", kty(spec), curve.name()),
        KeySpec::Oct(size) => format!("{} {}", kty(spec), size.bits()),
    }
}

fn operations(name: &'static str, ops: &[KeyOp]) -> Detail {
    texts(name, ops.iter().map(|op| op.name().to_owned()))
}

/// Unix seconds.
fn time(name: &'static str, at: Option<UnixSeconds>) -> Option<Detail> {
    at.map(|at| number(name, at.0))
}
