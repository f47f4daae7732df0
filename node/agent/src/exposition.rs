//! Families as the text that Prometheus reads (format 0.0.4), each sample with its HSM's name.

use std::collections::HashMap;

use casemate_channel::{Family, MetricKind, Sample};
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};

use crate::facts::Facts;

/// What the agent knows about a partition by itself.
pub(crate) fn agents_own(facts: &Facts, scraped: bool) -> Vec<Family> {
    let bit = |holds: bool| if holds { 1.0 } else { 0.0 };
    let restarts = u32::try_from(facts.restarts).unwrap_or(u32::MAX);
    vec![
        single(
            "casemate_partition_ready",
            "Whether the partition answers requests.",
            MetricKind::Gauge,
            bit(facts.ready),
        ),
        single(
            "casemate_audit_disk_low",
            "Whether calls are refused because the audit log's disk is nearly full.",
            MetricKind::Gauge,
            bit(facts.disk_low),
        ),
        single(
            "casemate_audit_copy_missing",
            "Whether calls are refused because the synchronous sink lacks a record.",
            MetricKind::Gauge,
            bit(facts.copy_missing),
        ),
        single(
            "casemate_partition_scraped",
            "Whether the partition told its counts for this answer.",
            MetricKind::Gauge,
            bit(scraped),
        ),
        single(
            "casemate_partition_restarts_total",
            "How often the partition was started again.",
            MetricKind::Counter,
            f64::from(restarts),
        ),
    ]
}

fn single(name: &str, help: &str, kind: MetricKind, value: f64) -> Family {
    Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        labels: Vec::new(),
        bounds: Vec::new(),
        samples: vec![Sample { labels: Vec::new(), value, counts: Vec::new() }],
    }
}

/// What is shown of all HSMs: families of the same name are one, as the format wants it.
#[derive(Default)]
pub(crate) struct Exposition {
    families: Vec<MetricFamily>,
    /// Where each name is among them.
    places: HashMap<String, usize>,
}

impl Exposition {
    /// Adds the families of one HSM. Those without a sample are left out, and so is one that
    /// another HSM has as a metric of another kind.
    pub(crate) fn add(&mut self, hsm: &str, families: &[Family]) {
        for family in families.iter().filter(|family| !family.samples.is_empty()) {
            let mut shown = translated(hsm, family);
            let known = self.places.get(&family.name).and_then(|at| self.families.get_mut(*at));
            match known {
                Some(known) if known.get_field_type() == shown.get_field_type() => {
                    let mut all = known.take_metric();
                    all.extend(shown.take_metric());
                    known.set_metric(all);
                }
                Some(_) => {}
                None => {
                    self.places.insert(family.name.clone(), self.families.len());
                    self.families.push(shown);
                }
            }
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.families)
    }
}

fn translated(hsm: &str, family: &Family) -> MetricFamily {
    let mut shown = MetricFamily::default();
    shown.set_name(family.name.clone());
    shown.set_help(family.help.clone());
    shown.set_field_type(match family.kind {
        MetricKind::Counter => MetricType::COUNTER,
        MetricKind::Gauge => MetricType::GAUGE,
        MetricKind::Histogram => MetricType::HISTOGRAM,
        MetricKind::Summary => MetricType::SUMMARY,
    });
    shown.set_metric(family.samples.iter().map(|sample| metric(hsm, family, sample)).collect());
    shown
}

fn metric(hsm: &str, family: &Family, sample: &Sample) -> Metric {
    let own = std::iter::once(label("hsm", hsm));
    let labels = family.labels.iter().zip(&sample.labels).map(|(name, value)| label(name, value));
    let mut metric = Metric::from_label(own.chain(labels).collect());
    match family.kind {
        MetricKind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(sample.value);
            metric.set_counter(counter);
        }
        MetricKind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(sample.value);
            metric.set_gauge(gauge);
        }
        MetricKind::Histogram => metric.set_histogram(histogram(family, sample)),
        MetricKind::Summary => {
            let mut summary = Summary::default();
            summary.set_sample_sum(sample.value);
            summary.set_sample_count(total(&sample.counts));
            metric.set_summary(summary);
        }
    }
    metric
}

fn histogram(family: &Family, sample: &Sample) -> Histogram {
    let mut below = 0_u64;
    let buckets = family.bounds.iter().zip(&sample.counts).map(|(bound, count)| {
        below = below.saturating_add(*count);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(total(&sample.counts));
    histogram.set_sample_sum(sample.value);
    histogram
}

/// A partition that was taken over may send any counts.
fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(hsm: &str, families: &[Family]) -> Result<String, prometheus::Error> {
        let mut exposition = Exposition::default();
        exposition.add(hsm, families);
        exposition.text()
    }

    #[test]
    fn each_kind_is_written_as_the_format_says() {
        let histogram = Family {
            name: "casemate_a_seconds".to_owned(),
            help: "A.".to_owned(),
            kind: MetricKind::Histogram,
            labels: vec!["activity_name".to_owned()],
            bounds: vec![0.5, 1.0],
            samples: vec![Sample {
                labels: vec!["KeySign".to_owned()],
                value: 2.5,
                counts: vec![1, 2, 3],
            }],
        };
        let summary = Family {
            kind: MetricKind::Summary,
            labels: Vec::new(),
            bounds: Vec::new(),
            samples: vec![Sample { labels: Vec::new(), value: 200.0, counts: vec![3] }],
            name: "casemate_b_percent".to_owned(),
            help: "B.".to_owned(),
        };
        let expected = "\
# HELP casemate_a_seconds A.
# TYPE casemate_a_seconds histogram
casemate_a_seconds_bucket{hsm=\"dev\",activity_name=\"KeySign\",le=\"0.5\"} 1
casemate_a_seconds_bucket{hsm=\"dev\",activity_name=\"KeySign\",le=\"1\"} 3
casemate_a_seconds_bucket{hsm=\"dev\",activity_name=\"KeySign\",le=\"+Inf\"} 6
casemate_a_seconds_sum{hsm=\"dev\",activity_name=\"KeySign\"} 2.5
casemate_a_seconds_count{hsm=\"dev\",activity_name=\"KeySign\"} 6
# HELP casemate_b_percent B.
# TYPE casemate_b_percent summary
casemate_b_percent_sum{hsm=\"dev\"} 200
casemate_b_percent_count{hsm=\"dev\"} 3
";
        assert_eq!(text("dev", &[histogram, summary]).unwrap(), expected);
    }

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let mut family = single("casemate_a", "A\nup 1", MetricKind::Gauge, 1.0);
        family.labels = vec!["b".to_owned()];
        family.samples[0].labels = vec!["\"} 1\nup 1\\".to_owned()];
        let text = text("dev", &[family]).unwrap();
        assert!(text.lines().all(|line| !line.starts_with("up")), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn what_has_no_sample_is_left_out() {
        let empty =
            Family { samples: Vec::new(), ..single("casemate_a", "", MetricKind::Gauge, 0.0) };
        assert_eq!(text("dev", &[empty]).unwrap(), "");
    }
}
