//! The path of a request: host, token, route, body; then the exchange, which for a change runs to
//! its end even if the caller hangs up.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use casemate_token::{Caller, TokenRefusal};
use casemate_trace::{Step, current, step, within};
use casemate_wire::Wiped;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderName, Method, Request, Response};
use http_body_util::Full;
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::{Answer, CLIENT_REQUEST_ID, Envelope, send};
use crate::authenticate::{Unbelieved, authenticate, principal};
use crate::authority::asked;
use crate::body::{self, BodyRefusal};
use crate::exchange::{AUTHENTICATION, Exchange, Noted, ReadBody, Stage, error_answer};
use crate::plane::{BACKUPS_AT_ONCE_MAX, ConnectionFacts, DataPlane, Name, Serving};
use crate::refusal::Refusal;
use crate::request_id::RequestId;
use crate::route::{self, BodyKind, RouteRefusal, Routed};
use crate::traced;

/// Names the method that is meant, on a POST: for callers that cannot send others.
const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method");

/// Most bytes of a body that nobody looks at which are let pass before its answer.
const UNWANTED_BYTES_MAX: usize = 1024 * 1024;
/// Longest time for that.
const UNWANTED_DEADLINE: Duration = Duration::from_secs(5);

/// One request, on its way.
struct Arrived<'a, B> {
    started: Instant,
    id: RequestId,
    parts: Parts,
    body: B,
    connection: &'a ConnectionFacts,
}

/// A request whose caller is known.
struct Asked<B> {
    started: Instant,
    id: RequestId,
    parts: Parts,
    body: B,
    peer: IpAddr,
    caller: Arc<Caller>,
    /// The part of its trace that ends when its caller's groups are known.
    token: Step,
}

impl DataPlane {
    /// Answers one request. The body is read here, after the caller is known.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        connection: &ConnectionFacts,
    ) -> Response<Full<Bytes>>
    where
        B: http_body::Body,
        B::Data: Buf,
    {
        let started = Instant::now();
        let id = self.request_ids.next();
        let (parts, body) = request.into_parts();
        let client_request_id = parts.headers.get(CLIENT_REQUEST_ID).cloned();
        let is_get = parts.method == Method::GET;
        let trace = traced::begin(&self.tracer, &parts, &id);
        let arrived = Arrived { started, id, parts, body, connection };
        let answering = pin!(self.answer(arrived));
        let (answer, authenticated) = within(trace.clone(), answering).await;
        if let Some(trace) = trace {
            traced::end(&trace, answer.status);
        }
        let envelope = Envelope {
            id: &id,
            client_request_id: client_request_id.as_ref(),
            authenticated: authenticated.then_some(connection),
            is_get,
            latency_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        send(self, &envelope, answer)
    }

    /// The answer, and whether its caller was believed.
    async fn answer<B>(self: &Arc<Self>, arrived: Arrived<'_, B>) -> (Answer, bool)
    where
        B: http_body::Body,
        B::Data: Buf,
    {
        let Arrived { started, id, parts, body, connection } = arrived;
        let unknown = |answer: Answer| {
            let (status, took) = (answer.status.as_u16(), started.elapsed());
            self.meter.answered(AUTHENTICATION, "", status, took);
            (answer, false)
        };
        let Some(name) = asked(&self.names, &parts) else {
            self.let_pass(&parts, body).await;
            return unknown(error_answer(&Refusal::Misdirected.problem(""), &id));
        };
        traced::addressed(name);
        let token = step("token");
        let caller = match authenticate(self, name, &parts, &id, connection.peer).await {
            Ok(caller) => caller,
            Err(Unbelieved::Unknown(answer)) => {
                token.end();
                self.let_pass(&parts, body).await;
                return unknown(answer);
            }
            Err(Unbelieved::CutOff { caller, refusal, challenge }) => {
                self.let_pass(&parts, body).await;
                let peer = connection.peer;
                let asked = Asked { started, id, parts, body: (), peer, caller, token };
                let mut answer = match &self.hsm {
                    Serving::Active(hsm) => self.turned_away(hsm, asked, name, refusal).await,
                    Serving::NotActivated(hsm) => self.turned_away(hsm, asked, name, refusal).await,
                };
                answer.challenge = Some(challenge);
                return (answer, false);
            }
        };
        let asked = Asked { started, id, parts, body, peer: connection.peer, caller, token };
        let answer = match &self.hsm {
            Serving::Active(hsm) => self.exchange(hsm, asked, name).await,
            Serving::NotActivated(hsm) => self.exchange(hsm, asked, name).await,
        };
        (answer, true)
    }

    /// Has it done by the HSM in its state; a change in a task of its own. From here on the call
    /// has a record, whenever its caller hangs up.
    async fn exchange<S: Stage, B>(
        self: &Arc<Self>,
        hsm: &S,
        asked: Asked<B>,
        name: &Name,
    ) -> Answer
    where
        B: http_body::Body,
        B::Data: Buf,
    {
        let (mut exchange, routed, body, token) = self.begun(hsm, asked, name);
        let id = exchange.id;
        let is_change = routed.as_ref().is_ok_and(|routed| routed.route.is_change());
        let (principal, groups_unknown) = principal(self, &exchange.caller, &exchange.parts).await;
        (exchange.principal, exchange.groups_unknown) = (Some(principal), groups_unknown);
        token.end();
        traced::known_caller(&exchange.parts.method, &routed);
        let (room, body) = self.body(&exchange.parts, &routed, body).await;
        exchange.room = room;
        if !is_change {
            return exchange.run(routed, body).await;
        }
        match tokio::spawn(within(current(), exchange.run(routed, body))).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(id = id.as_str(), %error, "a change broke off");
                error_answer(&Refusal::Broken.problem(&name.url), &id)
            }
        }
    }

    /// Tells a caller whose tokens were cut off, and records that it came.
    async fn turned_away<S: Stage>(
        self: &Arc<Self>,
        hsm: &S,
        asked: Asked<()>,
        name: &Name,
        refusal: TokenRefusal,
    ) -> Answer {
        let (exchange, _, (), token) = self.begun(hsm, asked, name);
        token.end();
        exchange.turned_away(refusal).await
    }

    /// The exchange of a request whose caller is known, with what it asks for.
    fn begun<S: Stage, B>(
        self: &Arc<Self>,
        hsm: &S,
        asked: Asked<B>,
        name: &Name,
    ) -> (Exchange<S>, Result<Routed, RouteRefusal>, B, Step) {
        let Asked { started, id, parts, body, peer, caller, token } = asked;
        let routed = route::parse(meant(&parts), parts.uri.path(), parts.uri.query());
        let exchange = Exchange {
            plane: Arc::clone(self),
            hsm: hsm.clone(),
            started,
            id,
            parts,
            peer,
            caller,
            principal: None,
            groups_unknown: None,
            url: Arc::clone(&name.url),
            noted: Noted::of(&routed),
            room: None,
        };
        (exchange, routed, body, token)
    }

    async fn body<B>(
        &self,
        parts: &Parts,
        routed: &Result<Routed, RouteRefusal>,
        body: B,
    ) -> (Option<OwnedSemaphorePermit>, ReadBody)
    where
        B: http_body::Body,
        B::Data: Buf,
    {
        let kind = routed.as_ref().map_or(BodyKind::None, |routed| routed.route.body());
        let bytes_max = match kind {
            BodyKind::None => {
                self.let_pass(parts, body).await;
                return (None, Ok(Wiped::default()));
            }
            BodyKind::Parameters => self.limits.body_bytes_max,
            BodyKind::Payload => self.limits.payload_bytes_max,
            BodyKind::Backup => self.limits.backup_bytes_max,
        };
        let room = match kind {
            BodyKind::Backup => match Arc::clone(&self.backup_room).try_acquire_owned() {
                Ok(room) => Some(room),
                Err(_) => {
                    self.let_pass(parts, body).await;
                    let max = BACKUPS_AT_ONCE_MAX;
                    return (None, Err(BodyRefusal::TooManyLong { max }));
                }
            },
            BodyKind::None | BodyKind::Parameters | BodyKind::Payload => None,
        };
        let _step = step("read_body");
        let mut body = pin!(body);
        let read = body::read(body.as_mut(), bytes_max, self.limits.body_deadline).await;
        if let Err(BodyRefusal::TooLarge { .. }) = &read {
            self.let_pass(parts, body).await;
        }
        (room, read)
    }

    /// Lets pass a body that is not looked at, so that its sender comes to read the answer. One
    /// that asked whether to send it at all is told no by the answer itself.
    async fn let_pass<B>(&self, parts: &Parts, body: B)
    where
        B: http_body::Body,
        B::Data: Buf,
    {
        if !body.is_end_stream() && !parts.headers.contains_key(EXPECT) {
            body::let_pass(body, UNWANTED_BYTES_MAX, UNWANTED_DEADLINE).await;
        }
    }
}

fn meant(parts: &Parts) -> &str {
    let method = parts.method.as_str();
    if parts.method != Method::POST {
        return method;
    }
    parts.headers.get(METHOD_OVERRIDE).and_then(|value| value.to_str().ok()).unwrap_or(method)
}
