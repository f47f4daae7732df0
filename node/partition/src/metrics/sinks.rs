//! How far the sinks of the audit log are.

use casemate_channel::{Family, MetricKind, Sample};

use super::{family, float, gauge, seconds};
use crate::courier::{Courier, SinkLag};

/// Microseconds in a millisecond.
const MS_US: u64 = 1_000;

/// All families about sinks.
pub(super) async fn families(courier: &Courier) -> Vec<Family> {
    let mut families = of(&courier.lags().await);
    families.push(gauge(
        "casemate_audit_courier_connected",
        "Whether a courier carries copies of the audit log; without one no sink gets anything.",
        u64::from(courier.is_attached()),
    ));
    families
}

fn of(lags: &[SinkLag]) -> Vec<Family> {
    let by_sink = |name: &str, help: &str, kind, value: &dyn Fn(&SinkLag) -> Option<f64>| {
        let sample = |lag: &SinkLag| {
            let labels = vec![lag.name.clone()];
            Some(Sample { labels, value: value(lag)?, counts: Vec::new() })
        };
        let samples = lags.iter().filter_map(sample).collect();
        Family { samples, ..family(name, help, kind, &["sink"]) }
    };
    let in_seconds = |time_ms: u64| seconds(time_ms.saturating_mul(MS_US));
    let at = |lag: &SinkLag| {
        let at_ms = lag.failed_at_ms.and_then(|at_ms| u64::try_from(at_ms).ok());
        at_ms.map(in_seconds)
    };
    vec![
        by_sink(
            "casemate_audit_sink_lag_records",
            "Records that a sink does not have yet.",
            MetricKind::Gauge,
            &|lag| Some(float(lag.records)),
        ),
        by_sink(
            "casemate_audit_sink_lag_seconds",
            "For how long the oldest record that a sink does not have has been waiting.",
            MetricKind::Gauge,
            &|lag| Some(in_seconds(lag.waits_ms)),
        ),
        by_sink(
            "casemate_audit_sink_failing",
            "Whether the last delivery to a sink failed.",
            MetricKind::Gauge,
            &|lag| Some(if lag.is_failing { 1.0 } else { 0.0 }),
        ),
        by_sink(
            "casemate_audit_sink_failures_total",
            "Deliveries to a sink that failed, since the sinks were set or the partition began.",
            MetricKind::Counter,
            &|lag| Some(float(lag.failed)),
        ),
        by_sink(
            "casemate_audit_sink_last_failure_timestamp_seconds",
            "When a delivery to a sink failed last, in seconds since 1970; absent if none did.",
            MetricKind::Gauge,
            &at,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sink_has_its_lag_and_a_failure_its_time() {
        let behind = SinkLag {
            name: "siem".to_owned(),
            records: 7,
            waits_ms: 1_500,
            failed: 3,
            failed_at_ms: Some(2_000),
            is_failing: true,
        };
        let good = SinkLag {
            name: "archive".to_owned(),
            records: 0,
            waits_ms: 0,
            failed: 0,
            failed_at_ms: None,
            is_failing: false,
        };
        let families = of(&[behind, good]);
        assert!(families.iter().all(Family::is_sound));
        let values: Vec<Vec<_>> = families
            .iter()
            .map(|family| {
                assert!(family.samples.iter().all(|one| one.labels.len() == 1));
                family.samples.iter().map(|one| one.value).collect()
            })
            .collect();
        let expected: [&[f64]; 5] = [&[7.0, 0.0], &[1.5, 0.0], &[1.0, 0.0], &[3.0, 0.0], &[2.0]];
        assert_eq!(values, expected);
        assert_eq!(families[4].samples[0].labels, ["siem"]);
    }
}
