//! Receivers of alerts hear that they are taken out; nothing waits for one that does not answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::partition::{Courier, Log};
use crate::receivers::{Authority, Manner, Receiver};
use crate::{at, eventually, folder, hook};

/// How long after a change it is sure that nothing was sent: many times what a message takes.
const SETTLED: Duration = Duration::from_millis(1_500);

fn removals(pager: &Receiver) -> Vec<Value> {
    let bodies = pager.taken().into_iter().map(|taken| taken.body);
    let data = bodies.map(|body| serde_json::from_slice::<Value>(&body).unwrap()["data"].clone());
    data.filter(|data| data["rule"] == "sinkRemoved").collect()
}

pub(crate) async fn a_receiver_of_alerts_hears_that_it_is_taken_out() {
    let (dir, authority, log) = (folder(), Authority::new(), Log::of(20));
    let (pager, web) = (Receiver::https(&authority).await, Receiver::https(&authority).await);
    let alerts = at("pager", "alerts", "/", &pager, &authority);
    let courier = Courier::start(dir.path(), &log, &json!({ "sinks": [alerts] }));
    courier.delivered("pager").await;

    // A sink beside it is none of its business.
    courier.configure(&json!({ "sinks": [alerts, hook("web", &web, &authority)] }));
    courier.delivered("web").await;
    tokio::time::sleep(SETTLED).await;
    assert_eq!(removals(&pager), Vec::<Value>::new());

    // A rule that is turned off would hide even the change itself.
    let mut deaf = alerts.clone();
    deaf["rules"] = json!({ "sinkChange": false });
    courier.configure(&json!({ "sinks": [deaf] }));
    eventually("it is told of its rules", || removals(&pager).len() == 1).await;

    courier.configure(&json!({ "sinks": [] }));
    eventually("it is told that it goes", || removals(&pager).len() == 2).await;
    are_messages_of_leave(&pager, log.len());
    assert!(courier.end().await);
}

fn are_messages_of_leave(pager: &Receiver, log: u64) {
    for told in removals(pager) {
        assert_eq!((&told["subject"], &told["hsm"]), (&json!("pager"), &json!("dev")));
        assert!(told["index"].as_u64().unwrap() <= log);
    }
    let ids: Vec<_> = pager.taken().iter().map(|one| one.headers["webhook-id"].clone()).collect();
    assert!(ids[0] != ids[1], "a receiver takes no id twice: {ids:?}");
    assert!(pager.taken().iter().all(|one| one.headers.contains_key("webhook-signature")));
}

pub(crate) async fn a_receiver_that_is_gone_holds_up_no_change() {
    for manner in [Manner::Hangs, Manner::HangsUp, Manner::Status(503), Manner::SlowLoris] {
        let (dir, authority, log) = (folder(), Authority::new(), Log::of(20));
        let (pager, web) = (Receiver::https(&authority).await, Receiver::https(&authority).await);
        let alerts = at("pager", "alerts", "/", &pager, &authority);
        let courier = Courier::start(dir.path(), &log, &json!({ "sinks": [alerts] }));
        courier.delivered("pager").await;
        pager.behave(manner);
        let begun = Instant::now();
        courier.configure(&json!({ "sinks": [hook("web", &web, &authority)] }));
        courier.delivered("web").await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{manner:?}: {:?}", begun.elapsed());
        eventually("it was tried", || pager.seen() > 0).await;
        if manner == Manner::Status(503) {
            tokio::time::sleep(SETTLED).await;
            assert_eq!(pager.seen(), 1, "one try");
        }
        assert!(courier.end().await);
    }
}
