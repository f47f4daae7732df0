//! One authenticated request, from its body to its answer: who asks, what they may, and the record
//! of it. The only place that writes audit records and asks for permits.
//!
//! Invariant: an answer leaves only after a durable record, and a result only if the permit and
//! the version still stand when its record has become durable.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use casemate_audit::{
    Append, Call, Detail, Identity, KeyFacts, PermitFacts, Phase, Record, Recorded, TrailError,
    Verdict,
};
use casemate_hsm::keys::{KeyRef, Used};
use casemate_hsm::rbac::{AllowedBy, DataAction, NotAuthorized, Permit, Principal, Scope};
use casemate_hsm::{Hsm, KeyName, VersionId};
use casemate_token::{Caller, GroupsUnknown, TokenRefusal};
use casemate_trace::step;
use casemate_wire::{ApiVersion, ErrorBody, ErrorDetail, InnerError, Wiped};
use http::header::USER_AGENT;
use http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::{Answer, CLIENT_REQUEST_ID};
use crate::body::BodyRefusal;
use crate::copies::CopyMissing;
use crate::plane::DataPlane;
use crate::query::{Query, Version};
use crate::refusal::{OfBackups, Problem, Refusal};
use crate::refusals::Recording;
use crate::render::{Style, json};
use crate::request_id::RequestId;
use crate::route::{Route, RouteRefusal, Routed};
use crate::traced;

mod abandoned;
mod counted;

/// What requests without a believed caller are counted as; they reach no operation.
pub(crate) const AUTHENTICATION: &str = "Authentication";

/// A body, read or refused.
pub(crate) type ReadBody = Result<Wiped, BodyRefusal>;

/// One authenticated request.
pub(crate) struct Exchange<S = Arc<Hsm>> {
    pub(crate) plane: Arc<DataPlane>,
    /// The HSM, in its state.
    pub(crate) hsm: S,
    pub(crate) started: Instant,
    pub(crate) id: RequestId,
    pub(crate) parts: Parts,
    pub(crate) peer: IpAddr,
    pub(crate) caller: Arc<Caller>,
    /// Who that is to the HSM, once its groups are known.
    pub(crate) principal: Option<Arc<Principal>>,
    /// Why some of the caller's groups are not known.
    pub(crate) groups_unknown: Option<GroupsUnknown>,
    pub(crate) url: Arc<str>,
    pub(crate) noted: Noted,
    /// Room for a long body, taken until the answer leaves.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// What became known on the way, for the record.
#[derive(Default)]
pub(crate) struct Noted {
    operation: &'static str,
    success_status: u16,
    version: Option<ApiVersion>,
    key: Option<(KeyName, Option<VersionId>)>,
    algorithm: &'static str,
    permit: Option<AllowedBy>,
    marks: Vec<&'static str>,
    /// The store's last change when rights were judged, or when the intent was recorded.
    consistency: u64,
    intent: Option<Arc<Recorded>>,
    /// The sinks of the log are read or set.
    sets_sinks: bool,
    /// The outcome of the change is recorded: what is refused now is the answer alone.
    concluded: bool,
    /// What was changed or asked, beyond what the path says.
    details: Vec<Detail>,
    /// A record that ends the call is in line.
    recorded: bool,
    /// The call came to its end: there is an answer.
    answered: bool,
}

/// What a record says besides, for those who watch over the HSM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// Somebody gave rights to itself, or to a group of its own.
    ToOneself,
    /// Somebody now holds duties that should be kept apart.
    DutiesTogether,
    /// From now on more refusals of the caller are counted instead of recorded.
    FurtherCounted,
    /// From now on more calls of the caller that the HSM could not serve are.
    FurtherFailuresCounted,
}

/// How often the record of one use is written anew when the assignment that it names was removed
/// while it was written, and another one allows the same.
const RECORDS_MAX: usize = 4;

/// The state of the HSM that a request has come to.
pub(crate) trait Stage: Clone + Send + Sync + 'static {
    /// Does what is asked, as far as the HSM does that in this state.
    fn act<'a>(
        x: &'a mut Exchange<Self>,
        route: Route,
        query: &'a Query,
        body: &'a [u8],
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send + 'a;
}

impl Noted {
    /// What the line of the request alone says.
    pub(crate) fn of(routed: &Result<Routed, RouteRefusal>) -> Self {
        let Ok(Routed { route, .. }) = routed else {
            return Self { operation: "UnknownOperation", ..Self::default() };
        };
        Self {
            operation: route.operation(),
            success_status: route.success_status(),
            key: route.key().map(|(name, version)| (name.clone(), version)),
            sets_sinks: matches!(route, Route::GetAuditSinks | Route::PutAuditSinks),
            ..Self::default()
        }
    }
}

impl Exchange {
    /// The active HSM.
    pub(crate) fn hsm(&self) -> Arc<Hsm> {
        Arc::clone(&self.hsm)
    }

    /// Concludes a use of a key.
    pub(crate) async fn used<A: DataAction>(
        &mut self,
        permit: &Permit<A>,
        used: &Used,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        let hsm = self.hsm();
        self.conclude(permit, || Ok(hsm.still_usable(used)?)).await?;
        Ok(answer)
    }
}

impl<S: Stage> Exchange<S> {
    /// Does what is asked and records it; the answer may leave.
    pub(crate) async fn run(
        mut self,
        routed: Result<Routed, RouteRefusal>,
        body: ReadBody,
    ) -> Answer {
        let answer = match self.done(routed, body).await {
            Ok(answer) => answer,
            Err(refusal) => self.refused(refusal).await,
        };
        self.noted.answered = true;
        let (operation, algorithm) = (self.noted.operation, self.noted.algorithm);
        let (status, took) = (answer.status.as_u16(), self.started.elapsed());
        self.plane.meter.answered(operation, algorithm, status, took);
        traced::did(operation, algorithm);
        answer
    }

    /// Turns away a caller that is known and not believed, and records that.
    pub(crate) async fn turned_away(mut self, refusal: TokenRefusal) -> Answer {
        let answer = self.refused(Refusal::Token(refusal)).await;
        self.noted.answered = true;
        let (status, took) = (answer.status.as_u16(), self.started.elapsed());
        self.plane.meter.answered(AUTHENTICATION, "", status, took);
        answer
    }

    /// What the audit trail knows of the use of a key.
    pub(crate) fn usage(&self, name: &KeyName) -> casemate_audit::KeyUsage {
        self.plane.trail.usage(name.as_str())
    }

    /// How answers are written.
    pub(crate) fn style(&self) -> Style<'_> {
        Style {
            url: &self.url,
            version: self.noted.version,
            oct_key_ops: self.plane.door.settings().oct_key_ops,
        }
    }

    /// Asks for a permit.
    pub(crate) fn authorize<A: DataAction>(&mut self, scope: Scope) -> Result<Permit<A>, Refusal> {
        let _step = step("authorize");
        self.noted.consistency = self.plane.door.sequence();
        let principal = self.principal.as_ref().ok_or(Refusal::Broken)?;
        let permit = self.plane.door.authorize::<A>(principal, scope);
        let permit = permit.map_err(|refusal| match self.groups_unknown.clone() {
            Some(why) => Refusal::GroupsUnknown { refusal, why },
            None => refusal.into(),
        })?;
        self.noted.permit = Some(permit.by().clone());
        Ok(permit)
    }

    /// Records the algorithm, or the type of the key.
    pub(crate) fn note_algorithm(&mut self, name: &'static str) {
        self.noted.algorithm = name;
    }

    /// Records which key it turned out to be about.
    pub(crate) fn note_key(&mut self, name: &KeyName) {
        self.noted.key = Some((name.clone(), None));
    }

    /// Records which version it came to.
    pub(crate) fn note_version(&mut self, key: &KeyRef) {
        self.noted.key = Some((key.name.clone(), Some(key.version)));
    }

    /// Records which version is used, before it is.
    pub(crate) fn note_used(&mut self, key: KeyRef) {
        self.noted.key = Some((key.name, Some(key.version)));
    }

    /// Records what is changed or asked, in place of what was said of it before.
    pub(crate) fn tell(&mut self, details: Vec<Detail>) {
        self.noted.details = details;
    }

    /// Records more of what is changed.
    pub(crate) fn tell_more(&mut self, details: Vec<Detail>) {
        self.noted.details.extend(details);
    }

    /// Records that a change is about to be made; the change may begin when this has answered.
    pub(crate) async fn intend(&mut self) -> Result<Arc<Recorded>, Refusal> {
        self.noted.consistency = self.plane.door.sequence();
        let recorded = self.record(Phase::Intent, Verdict::Pending).await;
        let intent = Arc::new(recorded.map_err(not_recorded)?);
        self.noted.intent = Some(Arc::clone(&intent));
        self.copied(&intent).await?;
        Ok(intent)
    }

    /// Concludes a reading.
    pub(crate) async fn read<A: DataAction>(
        &mut self,
        permit: &Permit<A>,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        self.conclude(permit, || Ok(())).await?;
        Ok(answer)
    }

    /// Records what was done under the assignment that allows it now, and that only if one does.
    /// The record is in line before the outcome of any removal that it does not know of; if its
    /// assignment fell while it became durable, it does not count.
    async fn conclude<A: DataAction>(
        &mut self,
        permit: &Permit<A>,
        stands: impl Fn() -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let hsm = self.plane.door.clone();
        for _ in 0..RECORDS_MAX {
            stands()?;
            let (by, recorded) = hsm.while_authorized(permit, |by| {
                self.noted.recorded = true;
                self.noted.permit = Some(by.clone());
                (by.clone(), self.record(Phase::Use, Verdict::Success))
            })?;
            let recorded = recorded.await.map_err(not_recorded)?;
            self.copied(&recorded).await?;
            stands()?;
            if hsm.still_allowed_by(permit, &by) {
                return Ok(());
            }
        }
        Err(NotAuthorized::of(permit).into())
    }

    /// Concludes a change that was made. Its outcome is what happened, whatever became of the
    /// permit meanwhile; only the answer is kept back if the permit fell.
    pub(crate) async fn changed<A: DataAction>(
        &mut self,
        permit: &Permit<A>,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        let answer = self.ended_by(permit, answer).await?;
        self.plane.door.still_authorized(permit)?;
        Ok(answer)
    }

    /// Concludes a change that may have ended its own permit, or left it to another assignment.
    pub(crate) async fn ended_by<A: DataAction>(
        &mut self,
        permit: &Permit<A>,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        let hsm = self.plane.door.clone();
        // Where nothing allows it any more, the record names what did.
        let _fell = hsm.while_authorized(permit, |by| self.noted.permit = Some(by.clone()));
        self.ended(answer).await
    }

    /// Concludes a change that may have ended its own permit: taking away one's own role.
    pub(crate) async fn ended(&mut self, answer: Answer) -> Result<Answer, Refusal> {
        let recorded = self.record(Phase::Outcome, Verdict::Success).await;
        let recorded = recorded.map_err(|cause| Refusal::Audit { cause, after_change: true })?;
        self.noted.concluded = true;
        self.copied(&recorded).await?;
        Ok(answer)
    }

    /// Waits for the synchronous copy of a record, if one is set. Who sets the sinks does not wait
    /// for them: otherwise a sink that is gone could never be taken out.
    async fn copied(&self, recorded: &Recorded) -> Result<(), CopyMissing> {
        if self.noted.sets_sinks {
            return Ok(());
        }
        self.plane.copies.acknowledged(recorded.sequence()).await
    }

    async fn done(
        &mut self,
        routed: Result<Routed, RouteRefusal>,
        body: ReadBody,
    ) -> Result<Answer, Refusal> {
        let Routed { route, query } = routed?;
        let _under_way = self.plane.admission.enter(self.caller.object_id)?;
        match query.version {
            Version::Known(version) => self.noted.version = Some(version),
            Version::Unknown => return Err(Refusal::VersionUnknown),
            // A link to the next page, which was given out here, need not carry one.
            Version::Missing if query.skip_token.is_some() && route.is_list() => {}
            Version::Missing if route.is_own() || route.is_polled() => {}
            Version::Missing => return Err(Refusal::VersionMissing),
        }
        if self.plane.door.is_restoring() && !matches!(route, Route::RestoreStatus(_)) {
            return Err(OfBackups::Restoring.into());
        }
        if !route.is_of_settings()
            && let Some(lost) = self.plane.waits_for_acceptance()
        {
            return Err(Refusal::AuditLost { lost });
        }
        let body = body?;
        S::act(self, route, &query, &body).await
    }

    async fn refused(&mut self, refusal: Refusal) -> Answer {
        let (refusal, recording) = self.within_budget(refusal);
        let problem = refusal.problem(&self.url);
        self.log(&refusal, &problem);
        if recording == Recording::Counted || refusal.is_of_the_trail() {
            return error_answer(&problem, &self.id);
        }
        let is_outcome = self.noted.intent.is_some() && !self.noted.concluded;
        let phase = if is_outcome { Phase::Outcome } else { Phase::Refusal };
        let status = Some(problem.status.as_u16());
        let description = refusal.to_string();
        let verdict = Verdict::Failure { status, code: problem.code, description: &description };
        self.noted.recorded = true;
        let recorded = match recording {
            Recording::Begins(whose) => {
                counted::begins(&self.plane, whose, self.append(phase, verdict)).await
            }
            Recording::Each | Recording::Counted => self.record(phase, verdict).await,
        };
        match recorded {
            // What lacks its copy does not wait for that of its refusal.
            Ok(_) if matches!(refusal, Refusal::Copy { .. }) => error_answer(&problem, &self.id),
            Ok(recorded) => match self.copied(&recorded).await {
                Ok(()) => error_answer(&problem, &self.id),
                Err(missing) => error_answer(&Refusal::from(missing).problem(&self.url), &self.id),
            },
            // What is already a fault of ours keeps its text: it says what may have happened.
            Err(_) if problem.status.is_server_error() => error_answer(&problem, &self.id),
            Err(cause) => {
                let refusal = Refusal::Audit { cause, after_change: self.noted.concluded };
                let problem = refusal.problem(&self.url);
                self.log(&refusal, &problem);
                error_answer(&problem, &self.id)
            }
        }
    }

    /// Faults of ours go to the log, with their causes.
    fn log(&self, refusal: &Refusal, problem: &Problem) {
        if problem.status.is_server_error() {
            let mut causes = Vec::new();
            let mut error: &dyn std::error::Error = refusal;
            while let Some(cause) = error.source() {
                causes.push(cause.to_string());
                error = cause;
            }
            let (id, operation) = (self.id.as_str(), self.noted.operation);
            tracing::error!(id, operation, error = %refusal, ?causes, "a request failed");
        }
    }
}

impl<S> Exchange<S> {
    /// Records something besides.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.noted.marks.push(match mark {
            Mark::ToOneself => "grantToOneself",
            Mark::DutiesTogether => "dutiesTogether",
            Mark::FurtherCounted => "furtherRefusalsCounted",
            Mark::FurtherFailuresCounted => "furtherFailuresCounted",
        });
    }

    /// Puts a record in line; the future answers when it is durable.
    fn record(
        &self,
        phase: Phase,
        verdict: Verdict<'_>,
    ) -> impl Future<Output = Result<Recorded, TrailError>> {
        self.plane.meter.audited(self.append(phase, verdict))
    }

    fn append(&self, phase: Phase, verdict: Verdict<'_>) -> Append {
        let noted = &self.noted;
        let header = |name: &http::HeaderName| {
            self.parts.headers.get(name).map(http::HeaderValue::as_bytes).unwrap_or_default()
        };
        let call = Call {
            started: Some(self.started),
            api_version: noted.version.map(ApiVersion::name).unwrap_or_default(),
            request_uri: self.parts.uri.path(),
            consistency: noted.consistency,
            success_status: noted.success_status,
            caller_address: Some(self.peer),
            user_agent: header(&USER_AGENT),
            correlation_id: header(&CLIENT_REQUEST_ID),
            identity: Identity {
                object_id: Some(self.caller.object_id),
                app_id: self.caller.app_id.as_deref().unwrap_or_default(),
                user_name: self.caller.upn.as_deref().unwrap_or_default(),
                token_id: &self.caller.token_id,
            },
            marks: &noted.marks,
            activity_id: self.id.as_str(),
            details: &noted.details,
        };
        let permit = noted.permit.as_ref().map(|by| PermitFacts {
            assignment: by.assignment.name,
            role: by.role.name(),
            role_id: by.role.id(),
            revision: by.revision,
        });
        let key = noted.key.as_ref().map(|(name, version)| KeyFacts {
            name: name.as_str(),
            version: version.as_ref().map(|version| *version.as_bytes()),
            algorithm: noted.algorithm,
        });
        self.plane.trail.append(&Record {
            phase,
            operation: noted.operation,
            call: &call,
            verdict,
            permit,
            key,
            intent: noted.intent.as_deref(),
        })
    }
}

fn not_recorded(cause: casemate_audit::TrailError) -> Refusal {
    Refusal::Audit { cause, after_change: false }
}

/// A refusal as an answer.
pub(crate) fn error_answer(problem: &Problem, id: &RequestId) -> Answer {
    let message = format!("{} (Activity ID: {})", problem.message, id.as_str());
    let innererror = problem.inner.map(|code| InnerError { code });
    let error = ErrorDetail { code: problem.code, message: message.into(), innererror };
    let mut answer = Answer::json(problem.status, json(&ErrorBody { error }));
    answer.retry_after_s = problem.retry_after_s;
    answer.allow = problem.allow;
    answer
}
