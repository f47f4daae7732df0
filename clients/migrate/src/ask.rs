//! Asking a source: question by question and list by list, with patience and within bounds.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

use crate::legible::legible;
use crate::names::below;

/// The api-version that vaults and managed HSMs of Azure both take.
pub(crate) const API_VERSION: &str = "7.4";
/// Most pages of a list.
const PAGES_MAX: usize = 20_000;
/// How often a question is put when the source is busy, fails or does not answer.
pub(crate) const TRIES_MAX: u32 = 6;
/// Longest time that a source may have us wait before one question is put again.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest time that all waiting together takes; from then on no question is put again.
pub(crate) const WAIT_ALL_MAX: Duration = Duration::from_secs(3600);
/// After so many questions in a row that the source did not answer nothing more is asked.
pub(crate) const FAILURES_MAX: u32 = 5;
/// Longest chain of causes that is told.
const CAUSES_MAX: usize = 8;

/// What a source answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// The body; null if it is no JSON.
    pub body: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", causes(&*self.0))]
pub struct AskFailure(pub Box<dyn Error + Send + Sync>);

/// Who asks the source.
pub trait Ask {
    /// Gets a path with its query.
    fn get(&self, path: &str) -> impl Future<Output = Result<Answer, AskFailure>>;

    /// Waits so long.
    fn wait(&self, time: Duration) -> impl Future<Output = ()>;

    /// Tells how far it is.
    fn tell(&self, keys: usize);
}

/// Why a source was not read. What a source says in it is written out, for a terminal.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No answer.
    #[error("{path} got no answer; look at the address, the CA and the network")]
    NoAnswer {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        cause: AskFailure,
    },
    /// A refusal.
    #[error("{path} was answered {status}: {}; {}", legible(text), advice(*status))]
    Refused {
        /// What was asked.
        path: String,
        /// The status.
        status: u16,
        /// What was said.
        text: String,
    },
    /// Not the API.
    #[error(
        "what {path} answered is not of the Key Vault API: give the address of a vault or HSM, and \
         look whether a proxy answers in its place"
    )]
    Foreign {
        /// What was asked.
        path: String,
    },
    /// A list that leads elsewhere.
    #[error(
        "the source sent a link to another host, {:?}, where nothing is asked: give the address \
         that the source itself uses",
        legible(.0)
    )]
    Elsewhere(String),
    /// Too many.
    #[error(
        "there are more than {max} {what}, and a plan holds no more: look through the rest by hand \
         (`az keyvault key list`), or delete what is not needed and plan again"
    )]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are held.
        max: usize,
    },
    /// Nothing more is asked.
    #[error(
        "the source did not answer {failures} questions in a row, so no more was asked: see why, \
         and plan again, with a new token if that one has ended"
    )]
    GivenUp {
        /// How many.
        failures: u32,
    },
}

impl MigrateError {
    /// With its causes, in one line.
    pub(crate) fn with_cause(&self) -> String {
        causes(self)
    }

    /// Whether the source as a whole seems out of reach, and not the one thing that was asked for.
    fn is_of_source(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => *status == 401 || is_passing(*status),
            _ => false,
        }
    }
}

/// What to do about a refusal.
fn advice(status: u16) -> &'static str {
    match status {
        401 => "get a new token for this source",
        404 => "it may have been deleted since: plan again",
        status if is_passing(status) => "the source is busy or broken: plan again later",
        _ => "the plan needs a token that may list and read keys, deleted keys and roles",
    }
}

/// Whether the same question may be answered later. 501 is an answer.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=599)
}

fn causes(error: &dyn Error) -> String {
    let mut all = vec![legible(&error.to_string())];
    let mut cause = error.source();
    while let Some(error) = cause.filter(|_| all.len() < CAUSES_MAX) {
        all.push(legible(&error.to_string()));
        cause = error.source();
    }
    all.join(": ")
}

/// What there is of a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) items: Vec<Value>,
    /// Why it ends before its end.
    pub(crate) cut: Option<MigrateError>,
}

/// Who reads a source.
pub(crate) struct Reader<'a, A> {
    ask: &'a A,
    pub(crate) source: &'a str,
    /// What could not be read, and why.
    pub(crate) not_read: Vec<(String, String)>,
    waited: Duration,
    failures: u32,
    /// Whether there was ever an answer: an address that is wrong is told at once.
    is_there: bool,
}

impl<'a, A: Ask> Reader<'a, A> {
    pub(crate) fn new(ask: &'a A, source: &'a str) -> Self {
        let source = source.trim_end_matches('/');
        Self {
            ask,
            source,
            not_read: Vec::new(),
            waited: Duration::ZERO,
            failures: 0,
            is_there: false,
        }
    }

    /// Whether nothing more is asked.
    pub(crate) fn is_given_up(&self) -> bool {
        self.failures >= FAILURES_MAX
    }

    /// All items of a list, page by page, as far as it can be read.
    pub(crate) async fn list(&mut self, list: &str, max: usize, what: &'static str) -> Listed {
        let mut path = format!("{list}?api-version={API_VERSION}");
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = match self.asked(&path).await {
                Ok(page) => page,
                Err(error) => return Listed { items, cut: Some(error) },
            };
            let Some(value) = page["value"].as_array() else {
                let cut = Some(MigrateError::Foreign { path: list.to_owned() });
                return Listed { items, cut };
            };
            items.extend(value.iter().cloned());
            if items.len() > max {
                items.truncate(max);
                return Listed { items, cut: Some(MigrateError::TooMany { what, max }) };
            }
            match page["nextLink"].as_str().filter(|link| !link.is_empty()) {
                None => return Listed { items, cut: None },
                Some(link) => match below(self.source, link) {
                    Some(next) => path = next.to_owned(),
                    None => {
                        let cut = Some(MigrateError::Elsewhere(link.to_owned()));
                        return Listed { items, cut };
                    }
                },
            }
        }
        Listed { items, cut: Some(MigrateError::TooMany { what, max }) }
    }

    /// Asks, and asks again while the source is busy.
    pub(crate) async fn asked(&mut self, path: &str) -> Result<Value, MigrateError> {
        if self.is_given_up() {
            return Err(MigrateError::GivenUp { failures: FAILURES_MAX });
        }
        let told = self.asked_again(path).await;
        match &told {
            Err(error) if error.is_of_source() => self.failures += 1,
            Ok(_) | Err(_) => self.failures = 0,
        }
        told
    }

    async fn asked_again(&mut self, path: &str) -> Result<Value, MigrateError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let told = self.ask.get(path).await;
            self.is_there |= told.is_ok();
            let may_wait = tries < TRIES_MAX && self.waited < WAIT_ALL_MAX;
            let asked = match told {
                Err(_) if may_wait && self.is_there => None,
                Ok(told) if is_passing(told.status) && may_wait => told.retry_after_s,
                told => return answered(told, path),
            };
            let usual = Duration::from_secs(1 << tries);
            let time = asked.map_or(usual, Duration::from_secs).min(WAIT_MAX);
            self.waited += time;
            self.ask.wait(time).await;
        }
    }
}

/// What an answer says.
fn answered(told: Result<Answer, AskFailure>, path: &str) -> Result<Value, MigrateError> {
    let path = path.to_owned();
    match told {
        Err(cause) => Err(MigrateError::NoAnswer { path, cause }),
        Ok(told) if told.status == 200 && told.body.is_object() => Ok(told.body),
        Ok(told) if told.status == 200 => Err(MigrateError::Foreign { path }),
        Ok(told) => {
            let text = told.body["error"]["message"].as_str().unwrap_or("no reason was told");
            Err(MigrateError::Refused { path, status: told.status, text: legible(text) })
        }
    }
}
