use std::task::{Context, Poll, Waker};

use super::*;
use crate::{Kind, STEPS_MAX, Value, current, enter, step, within};

const ALL: Sampling = Sampling { ratio_ppm: 1_000_000, callers_per_second: 10 };
const WISHES: Sampling = Sampling { ratio_ppm: 0, callers_per_second: 10 };
const CALLER: Incoming = Incoming { trace: [7; 16], parent: [9; 8], sampled: true };

fn tracer(sampling: Option<Sampling>) -> Arc<Tracer> {
    let tracer = Tracer::new(|| 1_000);
    tracer.configure(sampling);
    tracer
}

fn begin(tracer: &Arc<Tracer>, incoming: Option<Incoming>) -> Option<Arc<Trace>> {
    tracer.begin(|| incoming, || Some("a=1".into()))
}

/// Answers a request of a known caller.
fn answer(tracer: &Arc<Tracer>, incoming: Option<Incoming>) {
    if let Some(trace) = begin(tracer, incoming) {
        trace.caller_is_known();
        trace.end(false);
    }
}

#[test]
fn off_means_that_nothing_is_looked_at() {
    let tracer = tracer(None);
    let never = || -> Option<Incoming> { panic!("the headers are not read") };
    assert!(tracer.begin(never, || None).is_none());
    assert_eq!(tracer.counts(), Counts { ended: 0, dropped: 0, waiting: 0, refused_wishes: 0 });
}

#[test]
fn a_request_has_its_steps_below_it_and_the_caller_above() {
    let tracer = tracer(Some(WISHES));
    let trace = begin(&tracer, Some(CALLER)).unwrap();
    {
        let _entered = enter(Some(&trace));
        let mut token = step("token");
        token.note("k", 5);
        token.end();
        step("engine").fail();
        trace.caller_is_known();
        trace.call("POST /keys/{name}".to_owned());
        trace.note("http.response.status_code", 200);
        trace.end(false);
    }
    assert!(tracer.take(9).is_empty(), "somebody still works for it");
    drop(trace);
    let [request, token, engine]: [Span; 3] = tracer.take(9).try_into().unwrap();
    assert_eq!((request.trace, request.parent), ([7; 16], Some([9; 8])));
    assert_eq!((request.kind, request.name.as_ref()), (Kind::Request, "POST /keys/{name}"));
    assert_eq!(request.state.as_deref(), Some("a=1"));
    assert_eq!(request.attributes, [("http.response.status_code", Value::Number(200))]);
    assert!(!request.failed && engine.failed && !token.failed);
    for one in [&token, &engine] {
        assert_eq!((one.trace, one.parent, one.kind), ([7; 16], Some(request.id), Kind::Step));
        assert!(one.state.is_none());
        assert!(request.start_ns <= one.start_ns && one.start_ns <= one.end_ns);
        assert!(one.end_ns <= request.end_ns);
    }
    assert_eq!((token.name.as_ref(), engine.name.as_ref()), ("token", "engine"));
    assert_eq!(token.attributes, [("k", Value::Number(5))]);
    let ids = [request.id, token.id, engine.id, [9; 8], [0; 8]];
    for (at, id) in ids.iter().enumerate() {
        assert!(!ids[at + 1..].contains(id));
    }
}

#[test]
fn a_request_of_nobody_known_is_not_traced_for_its_wish() {
    let tracer = tracer(Some(WISHES));
    for _ in 0..100 {
        begin(&tracer, Some(CALLER)).unwrap().end(false);
    }
    assert!(tracer.take(9).is_empty());
    assert_eq!(tracer.counts().ended, 0);
    answer(&tracer, Some(CALLER));
    assert_eq!(tracer.take(9).len(), 1, "and takes nothing from those who are known");
}

#[test]
fn wishes_are_followed_up_to_the_rate() {
    let tracer = tracer(Some(WISHES));
    for _ in 0..500 {
        answer(&tracer, Some(CALLER));
    }
    let kept = tracer.take(SPANS_MAX).len();
    assert!((10..=15).contains(&kept), "{kept}");
    let refused = tracer.counts().refused_wishes;
    assert_eq!(refused + u64::try_from(kept).unwrap(), 500);
}

#[test]
fn who_is_not_sampled_above_is_not_sampled_here() {
    let tracer = tracer(Some(ALL));
    assert!(begin(&tracer, Some(Incoming { sampled: false, ..CALLER })).is_none());
    answer(&tracer, None);
    let [request] = tracer.take(9).try_into().unwrap();
    assert!(request.parent.is_none() && request.state.is_none());
    assert_ne!(request.trace, CALLER.trace);
}

#[test]
fn the_ratio_is_kept_and_ids_that_a_caller_chooses_do_not_matter() {
    let some = tracer(Some(Sampling { ratio_ppm: 100_000, callers_per_second: 0 }));
    let begun = (0..20_000).filter(|_| begin(&some, None).is_some()).count();
    assert!((1_700..=2_300).contains(&begun), "{begun} of 20,000 at a tenth");
    let chosen = Incoming { trace: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], ..CALLER };
    for _ in 0..100 {
        answer(&some, Some(chosen));
    }
    assert_eq!(some.take(SPANS_MAX).iter().filter(|span| span.trace == chosen.trace).count(), 0);
    let none = tracer(Some(Sampling { ratio_ppm: 0, callers_per_second: 0 }));
    assert!((0..1_000).all(|_| begin(&none, None).is_none()));
}

#[test]
fn what_has_no_room_is_dropped_whole_and_counted() {
    let tracer = tracer(Some(ALL));
    for _ in 0..SPANS_MAX {
        let trace = begin(&tracer, None).unwrap();
        let _entered = enter(Some(&trace));
        step("a").end();
        step("b").end();
    }
    let counts = tracer.counts();
    assert_eq!(counts.ended, u64::try_from(SPANS_MAX * 3).unwrap());
    assert_eq!(counts.waiting, SPANS_MAX / 3 * 3);
    assert_eq!(counts.dropped + u64::try_from(counts.waiting).unwrap(), counts.ended);
    let taken = tracer.take(SPANS_MAX);
    assert!(taken.chunks(3).all(|one| one.iter().all(|span| span.trace == one[0].trace)));
    answer(&tracer, None);
    assert_eq!(tracer.counts().waiting, 1, "there is room again");
}

#[test]
fn a_request_keeps_so_many_steps() {
    let tracer = tracer(Some(ALL));
    let trace = begin(&tracer, None).unwrap();
    {
        let _entered = enter(Some(&trace));
        for _ in 0..STEPS_MAX + 5 {
            step("a").end();
        }
    }
    drop(trace);
    assert_eq!(tracer.take(SPANS_MAX).len(), STEPS_MAX + 1);
    assert_eq!(tracer.counts().dropped, 5);
}

#[test]
fn what_was_given_up_says_so() {
    let tracer = tracer(Some(ALL));
    drop(begin(&tracer, None));
    let [request] = tracer.take(9).try_into().unwrap();
    assert_eq!(request.attributes, [("error.type", Value::from("cancelled"))]);
    assert!(!request.failed && request.end_ns >= request.start_ns);
}

#[test]
fn other_settings_forget_what_was_kept_and_off_is_off() {
    let tracer = tracer(Some(ALL));
    answer(&tracer, None);
    let late = begin(&tracer, None).unwrap();
    tracer.configure(Some(ALL));
    assert_eq!((tracer.counts().waiting, tracer.counts().dropped), (0, 1));
    tracer.configure(None);
    drop(late);
    assert_eq!((tracer.counts().waiting, tracer.counts().dropped), (0, 2));
    assert!(begin(&tracer, None).is_none());
}

#[test]
fn a_trace_is_there_while_its_future_is_polled_and_never_else() {
    let tracer = tracer(Some(ALL));
    let (one, other) = (begin(&tracer, None).unwrap(), begin(&tracer, None).unwrap());
    let mut is_second = false;
    let work = |own: Arc<Trace>| {
        std::future::poll_fn(move |_| {
            assert!(current().is_some_and(|found| Arc::ptr_eq(&found, &own)));
            step("worked").end();
            match std::mem::replace(&mut is_second, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
    };
    let mut first = std::pin::pin!(within(Some(Arc::clone(&one)), work(Arc::clone(&one))));
    let mut second = std::pin::pin!(within(Some(Arc::clone(&other)), work(Arc::clone(&other))));
    let mut context = Context::from_waker(Waker::noop());
    for done in [false, true] {
        assert_eq!(first.as_mut().poll(&mut context).is_ready(), done);
        assert!(current().is_none());
        assert_eq!(second.as_mut().poll(&mut context).is_ready(), done);
        assert!(current().is_none());
    }
    let mut untraced = std::pin::pin!(within(None, async { current().is_none() }));
    assert_eq!(untraced.as_mut().poll(&mut context), Poll::Ready(true));
    assert!(
        std::panic::catch_unwind(|| {
            let _entered = enter(Some(&begin(&self::tracer(Some(ALL)), None).unwrap()));
            panic!("as work may");
        })
        .is_err()
    );
    assert!(current().is_none(), "also after a panic");
}

#[test]
fn what_the_carrier_says_is_added_up() {
    let tracer = tracer(Some(ALL));
    let told = |sent, lost, error: Option<&str>, failures| Delivery {
        sent,
        lost,
        error: error.map(str::to_owned),
        failures,
    };
    tracer.note_delivery(told(5, 0, None, 0));
    tracer.note_delivery(told(0, 2, Some("refused"), 3));
    assert_eq!(tracer.delivery(), told(5, 2, Some("refused"), 3));
    tracer.note_delivery(told(1, 0, None, 0));
    assert_eq!(tracer.delivery(), told(6, 2, None, 0));
    tracer.note_delivery(told(u64::MAX, u64::MAX, None, 0));
    assert_eq!(tracer.delivery().sent, u64::MAX);
}
