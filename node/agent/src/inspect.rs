//! Asking a partition what its HSM says of itself, and ordering what concerns its TLS.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use casemate_channel::{TlsOrder, ToPartition};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::hsm::HsmLink;

/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most questions that wait.
const WAITING_MAX: usize = 16;

/// Questions that wait for their answer.
#[derive(Debug, Default)]
pub(crate) struct Inspections {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    next: AtomicU64,
}

impl Inspections {
    /// What the HSM behind this link says of itself; none if it says nothing now.
    pub(crate) async fn ask(&self, link: &HsmLink) -> Option<Value> {
        self.put(link, |id| ToPartition::Inspect { id }, None).await
    }

    /// What came of an order about its TLS.
    pub(crate) async fn order(
        &self,
        link: &HsmLink,
        order: TlsOrder,
        key: Option<BorrowedFd<'_>>,
    ) -> Option<Value> {
        self.put(link, |id| ToPartition::Tls { id, order }, key).await
    }

    async fn put(
        &self,
        link: &HsmLink,
        question: impl FnOnce(u64) -> ToPartition,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Option<Value> {
        let end = link.now()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            waiting.retain(|_, waiting| !waiting.is_closed());
            if waiting.len() >= WAITING_MAX {
                return None;
            }
            waiting.insert(id, tell);
        }
        let asked = async {
            end.send(&question(id), descriptor).await.ok()?;
            told.await.ok()
        };
        let answer = timeout(ANSWER_TIMEOUT, asked).await.ok().flatten();
        self.waiting.lock().remove(&id);
        answer
    }

    /// An answer came. One that nobody waits for is passed over.
    pub(crate) fn answer(&self, id: u64, shown: Value) {
        let waiting = self.waiting.lock().remove(&id);
        let _given_up = waiting.map(|waiting| waiting.send(shown));
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
}
