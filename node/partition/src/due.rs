//! What the service does by itself when its time has come: it purges keys whose retention ended.

use std::sync::Arc;
use std::time::Duration;

use casemate_audit::{Call, KeyFacts, Phase, Record, Recorded, Trail, TrailError, Verdict};
use casemate_data_plane::of_purge;
use casemate_hsm::keys::PurgeRefusal;
use casemate_hsm::{Hsm, KeyName};

use crate::failure::chain;

/// How often the keys are looked through.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
const OPERATION: &str = "KeyPurge";

/// Purges due keys, now and again. Never ends.
pub(crate) async fn purge_when_due(hsm: Arc<Hsm>, trail: Trail) {
    loop {
        for name in hsm.due_for_purge() {
            if let Err(error) = purge(&hsm, &trail, &name).await {
                tracing::warn!(key = %name, "not purged: {}; tried again later", chain(&*error));
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// One key, with its intent before and its outcome after.
async fn purge(
    hsm: &Arc<Hsm>,
    trail: &Trail,
    name: &KeyName,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let details = of_purge(&hsm.assignments_of_key(name));
    let call = Call { consistency: hsm.sequence(), details: &details, ..Call::default() };
    let intent = record(trail, name, &call, Verdict::Pending, None).await?;
    let done = hsm.purge_due_key(&intent, name).await;
    let description = done.as_ref().err().map(|refusal| chain(refusal)).unwrap_or_default();
    let verdict = match &done {
        Ok(_) => Verdict::Success,
        Err(refusal) => {
            Verdict::Failure { status: None, code: code(refusal), description: &description }
        }
    };
    let removed = done.as_ref().map(|removed| of_purge(removed)).unwrap_or_default();
    let call = Call { details: &removed, ..call };
    record(trail, name, &call, verdict, Some(&intent)).await?;
    done?;
    Ok(())
}

async fn record(
    trail: &Trail,
    name: &KeyName,
    call: &Call<'_>,
    verdict: Verdict<'_>,
    intent: Option<&Recorded>,
) -> Result<Recorded, TrailError> {
    let appended = trail.append(&Record {
        phase: Phase::Service,
        operation: OPERATION,
        call,
        verdict,
        permit: None,
        key: Some(KeyFacts { name: name.as_str(), ..KeyFacts::default() }),
        intent,
    });
    appended.await
}

fn code(refusal: &PurgeRefusal) -> &'static str {
    match refusal {
        PurgeRefusal::Find(_) => "KeyNotFound",
        PurgeRefusal::Protected { .. } | PurgeRefusal::NotDue => "Forbidden",
        PurgeRefusal::Commit(_) => "InternalError",
    }
}
