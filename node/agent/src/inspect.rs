//! Asking a partition what its HSM says of itself, and ordering what concerns its TLS.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_channel::{TLS_ORDER_TIMEOUT, TlsOrder, ToPartition};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::hsm::HsmLink;

/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most questions that wait.
const WAITING_MAX: usize = 16;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It could not be asked.
    NotAsked,
    /// It was asked, and may still do what it was asked for.
    Late(Duration),
}

/// Questions that wait for their answer.
#[derive(Debug, Default)]
pub(crate) struct Inspections {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    next: AtomicU64,
}

impl Inspections {
    /// What the HSM behind this link says of itself; none if it says nothing now.
    pub(crate) async fn ask(&self, link: &HsmLink) -> Option<Value> {
        self.put(link, |id| ToPartition::Inspect { id }, None, ANSWER_TIMEOUT).await.ok()
    }

    /// What came of an order about its TLS.
    pub(crate) async fn order(
        &self,
        link: &HsmLink,
        order: TlsOrder,
        key: Option<BorrowedFd<'_>>,
    ) -> Result<Value, Unanswered> {
        let patience = patience(&order);
        self.put(link, |id| ToPartition::Tls { id, order }, key, patience).await
    }

    async fn put(
        &self,
        link: &HsmLink,
        question: impl FnOnce(u64) -> ToPartition,
        descriptor: Option<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<Value, Unanswered> {
        let end = link.now().ok_or(Unanswered::NotAsked)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.retain(|_, waiting| !waiting.is_closed());
            if waiting.len() >= WAITING_MAX {
                return Err(Unanswered::NotAsked);
            }
            waiting.insert(id, tell);
        }
        let asked = async {
            end.send(&question(id), descriptor).await.map_err(|_| Unanswered::NotAsked)?;
            told.await.map_err(|_| Unanswered::Late(patience))
        };
        let answer = timeout(patience, asked).await;
        self.waiting.lock().remove(&id);
        answer.unwrap_or(Err(Unanswered::Late(patience)))
    }

    /// An answer came. One that nobody waits for is passed over.
    pub(crate) fn answer(&self, id: u64, shown: Value) {
        let waiting = self.waiting.lock().remove(&id);
        let _given_up = waiting.map(|waiting| waiting.send(shown));
    }
}

/// How long an order is waited for.
fn patience(order: &TlsOrder) -> Duration {
    match order {
        TlsOrder::Show => ANSWER_TIMEOUT,
        _ => TLS_ORDER_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use casemate_channel::AgentEnd;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn without_a_partition_nothing_is_said() {
        let (inspections, link) = (Inspections::default(), HsmLink::new(ANSWER_TIMEOUT));
        assert_eq!(inspections.ask(&link).await, None);
        let (dead, theirs) = AgentEnd::pair().unwrap();
        drop(theirs);
        link.set(Some(Arc::new(dead)));
        assert_eq!(inspections.ask(&link).await, None);
        assert!(inspections.waiting.lock().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn an_answer_goes_to_who_asked_and_any_other_nowhere() {
        let inspections = Arc::new(Inspections::default());
        let link = Arc::new(HsmLink::new(ANSWER_TIMEOUT));
        let (end, _theirs) = AgentEnd::pair().unwrap();
        link.set(Some(Arc::new(end)));
        let asking = tokio::spawn({
            let (inspections, link) = (Arc::clone(&inspections), Arc::clone(&link));
            async move { inspections.ask(&link).await }
        });
        while inspections.waiting.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        inspections.answer(7, json!("another"));
        inspections.answer(0, json!("this"));
        inspections.answer(0, json!("twice"));
        assert_eq!(asking.await.unwrap(), Some(json!("this")));
    }

    #[tokio::test]
    async fn an_order_that_is_late_is_told_from_one_that_nobody_got() {
        const SHORT: Duration = Duration::from_millis(30);
        let (inspections, link) = (Inspections::default(), HsmLink::new(ANSWER_TIMEOUT));
        let reset = |id| ToPartition::Tls { id, order: TlsOrder::Reset };
        let nobody = inspections.order(&link, TlsOrder::Reset, None).await;
        assert_eq!(nobody, Err(Unanswered::NotAsked));
        let (end, theirs) = AgentEnd::pair().unwrap();
        link.set(Some(Arc::new(end)));
        let late = inspections.put(&link, reset, None, SHORT).await;
        assert_eq!(late, Err(Unanswered::Late(SHORT)));
        drop(theirs);
        let gone = inspections.put(&link, reset, None, SHORT).await;
        assert_eq!(gone, Err(Unanswered::NotAsked));
        assert!(inspections.waiting.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn an_order_is_waited_for_as_long_as_it_may_take() {
        let longest = casemate_channel::SIGN_TIMEOUT * 2;
        for order in [TlsOrder::Reset, TlsOrder::Request] {
            assert!(patience(&order) > longest, "after a renewal, and with one of its own");
        }
        assert_eq!(patience(&TlsOrder::Show), ANSWER_TIMEOUT, "it waits for nothing");
    }
}
