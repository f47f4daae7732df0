//! The groups of a caller whose token leaves them out: asked of the issuer's configured source.
//!
//! A token with too many groups says only that there are more (`_claim_names`, OpenID Connect Core,
//! 5.6.2; or `hasgroups`). Where it says they can be had is not believed: the address is the one in
//! the settings. It is asked as a UserInfo endpoint (5.3), with the caller's own token.
//!
//! Invariant: what is handed out was said by the issuer about exactly this caller.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::caller::Caller;
use crate::claims;
use crate::fetch::FetchError;
use crate::settings::TrustedIssuer;

/// How many callers' groups are remembered.
const REMEMBERED_MAX: usize = 1_000;
/// How long the groups of a token are believed before they are asked for anew, in seconds.
const FRESH_S: i64 = 300;
/// How long nobody asks again after a failure, in seconds.
const RETRY_S: i64 = 5;
/// Most groups of one caller: each is looked for in the assignments of every call.
const GROUPS_MAX: usize = 2_000;

/// Fetches a caller's groups over HTTPS.
pub trait GroupFetch: Send + Sync + 'static {
    /// Gets `url` with this bearer token; otherwise as
    /// [`KeyFetch::fetch`](crate::KeyFetch::fetch).
    fn fetch_groups<'a>(
        &'a self,
        url: &'a str,
        trust_anchors_pem: &'a str,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>>;
}

/// An issuer that can be asked for groups.
#[derive(Clone, Debug)]
pub struct GroupSource {
    /// The issuer, and how its names become ids.
    pub issuer: TrustedIssuer,
    /// Where it is asked; `https` only.
    pub url: String,
}

/// Why a caller's groups are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupsUnknown {
    /// Nobody can be asked.
    #[error(
        "the token leaves out the caller's groups, and no group source is configured for its \
         issuer: assign roles to the principal itself, or have the issuer list fewer groups"
    )]
    NoSource,
    /// Not to be had now.
    #[error("the token leaves out the caller's groups, and its issuer's group source failed")]
    Fetch(#[source] FetchError),
    /// Not an answer.
    #[error("the token leaves out the caller's groups, and the group source's answer is none")]
    Malformed,
    /// About somebody else.
    #[error("the token leaves out the caller's groups, and the group source named somebody else")]
    OtherPrincipal,
    /// Too many.
    #[error(
        "the caller is in {0} groups; at most {GROUPS_MAX} are looked at: assign roles to the \
         principal itself"
    )]
    TooMany(usize),
}

/// The group sources of an HSM's issuers, and what they said.
pub struct Groups {
    sources: HashMap<String, GroupSource>,
    fetch: Arc<dyn GroupFetch>,
    known: Cache<String, Arc<Known>>,
}

struct Known {
    until: i64,
    groups: Result<Vec<Uuid>, GroupsUnknown>,
}

impl Groups {
    /// These sources. Nothing is fetched before the first caller who needs it.
    #[must_use]
    pub fn new(sources: Vec<GroupSource>, fetch: Arc<dyn GroupFetch>) -> Self {
        let sources = sources.into_iter().map(|source| (source.issuer.issuer.clone(), source));
        Self { sources: sources.collect(), fetch, known: Cache::new(REMEMBERED_MAX) }
    }

    /// The groups of a caller: those that its token lists, and those that its issuer says it left
    /// out. Callers of one token wait for one answer together.
    ///
    /// # Errors
    ///
    /// One [`GroupsUnknown`] per reason; what the token lists counts all the same.
    pub async fn of(
        &self,
        caller: &Caller,
        token: &str,
        now: i64,
    ) -> Result<Vec<Uuid>, GroupsUnknown> {
        if !caller.groups_overage {
            return Ok(caller.groups.clone());
        }
        let source = self.sources.get(&*caller.issuer).ok_or(GroupsUnknown::NoSource)?;
        if self.known.get(&caller.token_id).is_some_and(|known| known.until <= now) {
            self.known.remove(&caller.token_id);
        }
        let ask = async {
            let groups = self.ask(source, caller, token).await;
            let fresh_s = if groups.is_ok() { FRESH_S } else { RETRY_S };
            Ok::<_, GroupsUnknown>(Arc::new(Known { until: now.saturating_add(fresh_s), groups }))
        };
        self.known.get_or_insert_async(&caller.token_id, ask).await?.groups.clone()
    }

    async fn ask(
        &self,
        source: &GroupSource,
        caller: &Caller,
        token: &str,
    ) -> Result<Vec<Uuid>, GroupsUnknown> {
        let anchors = &source.issuer.trust_anchors_pem;
        let body = self.fetch.fetch_groups(&source.url, anchors, token).await;
        let body = body.map_err(GroupsUnknown::Fetch)?;
        let answer: Map<String, Value> =
            serde_json::from_slice(&body).map_err(|_| GroupsUnknown::Malformed)?;
        read(source, caller, &answer)
    }
}

/// The groups of an answer, if it is about this caller.
fn read(
    source: &GroupSource,
    caller: &Caller,
    answer: &Map<String, Value>,
) -> Result<Vec<Uuid>, GroupsUnknown> {
    let who = claims::principal(answer, &source.issuer).map_err(|_| GroupsUnknown::Malformed)?;
    if who != caller.object_id {
        return Err(GroupsUnknown::OtherPrincipal);
    }
    if !answer.contains_key("groups") {
        return Err(GroupsUnknown::Malformed);
    }
    let mut groups =
        claims::groups(answer, &source.issuer).map_err(|_| GroupsUnknown::Malformed)?;
    groups.extend(&caller.groups);
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > GROUPS_MAX {
        return Err(GroupsUnknown::TooMany(groups.len()));
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://i";

    /// Says what it is told to say, and counts.
    struct Told {
        says: parking_lot::Mutex<Result<String, FetchError>>,
        asked: AtomicUsize,
    }

    impl GroupFetch for Told {
        fn fetch_groups<'a>(
            &'a self,
            url: &'a str,
            _: &'a str,
            token: &'a str,
        ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
            assert_eq!((url, token), ("https://i/userinfo", "the-token"));
            self.asked.fetch_add(1, Ordering::SeqCst);
            let says = self.says.lock().clone();
            Box::pin(async move { says.map(String::into_bytes) })
        }
    }

    fn world(says: Result<Value, FetchError>) -> (Groups, Arc<Told>) {
        let says = parking_lot::Mutex::new(says.map(|says| says.to_string()));
        let told = Arc::new(Told { says, asked: AtomicUsize::new(0) });
        let issuer = TrustedIssuer {
            issuer: ISSUER.to_owned(),
            metadata_url: String::new(),
            trust_anchors_pem: String::new(),
            directory: true,
        };
        let source = GroupSource { issuer, url: "https://i/userinfo".to_owned() };
        (Groups::new(vec![source], Arc::<Told>::clone(&told)), told)
    }

    fn caller(issuer: &str, groups_overage: bool) -> Caller {
        Caller {
            issuer: Arc::from(issuer),
            object_id: Uuid::from_u128(1),
            tenant: Uuid::nil(),
            app_id: None,
            upn: None,
            groups: vec![Uuid::from_u128(9)],
            groups_overage,
            token_id: "t".to_owned(),
            not_before: 0,
            issued_at: 0,
            expires_at: 10_000,
        }
    }

    fn about(id: u128, groups: Value) -> Value {
        json!({"oid": Uuid::from_u128(id), "sub": "s", "groups": groups})
    }

    #[tokio::test]
    async fn what_a_token_lists_is_not_asked_for() {
        let (groups, told) = world(Err(FetchError::Unreachable));
        let listed = groups.of(&caller(ISSUER, false), "the-token", 0).await.unwrap();
        assert_eq!(listed, [Uuid::from_u128(9)]);
        assert_eq!(told.asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn what_was_left_out_is_asked_for_once_and_again_when_it_is_old() {
        let (groups, told) = world(Ok(about(1, json!([Uuid::from_u128(7)]))));
        let caller = caller(ISSUER, true);
        for at in [0, 1, FRESH_S - 1] {
            let found = groups.of(&caller, "the-token", at).await.unwrap();
            assert_eq!(found, [Uuid::from_u128(7), Uuid::from_u128(9)]);
        }
        assert_eq!(told.asked.load(Ordering::SeqCst), 1);
        *told.says.lock() = Ok(about(1, json!([])).to_string());
        let found = groups.of(&caller, "the-token", FRESH_S).await.unwrap();
        assert_eq!(found, [Uuid::from_u128(9)], "who left a group leaves it here too");
        assert_eq!(told.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn without_a_source_nobody_is_asked() {
        let (groups, told) = world(Ok(about(1, json!([]))));
        let refused = groups.of(&caller("https://other", true), "the-token", 0).await;
        assert_eq!(refused, Err(GroupsUnknown::NoSource));
        assert_eq!(told.asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn answers_that_are_none_or_about_another_give_no_groups() {
        let many: Vec<_> = (0..=GROUPS_MAX as u128).map(Uuid::from_u128).collect();
        for (says, refusal) in [
            (Ok(about(2, json!([]))), GroupsUnknown::OtherPrincipal),
            (Ok(json!({"oid": Uuid::from_u128(1)})), GroupsUnknown::Malformed),
            (Ok(json!({"groups": []})), GroupsUnknown::Malformed),
            (Ok(about(1, json!("g"))), GroupsUnknown::Malformed),
            (Ok(about(1, json!([7]))), GroupsUnknown::Malformed),
            (Ok(json!([])), GroupsUnknown::Malformed),
            (Ok(about(1, json!(many))), GroupsUnknown::TooMany(GROUPS_MAX + 1)),
            (Err(FetchError::TimedOut), GroupsUnknown::Fetch(FetchError::TimedOut)),
        ] {
            let (groups, told) = world(says);
            for _ in 0..3 {
                let refused = groups.of(&caller(ISSUER, true), "the-token", 0).await;
                assert_eq!(refused, Err(refusal.clone()));
            }
            assert_eq!(
                told.asked.load(Ordering::SeqCst),
                1,
                "a failure is not asked at once again"
            );
            assert!(groups.of(&caller(ISSUER, true), "the-token", RETRY_S).await.is_err());
            assert_eq!(told.asked.load(Ordering::SeqCst), 2);
        }
    }
}
