//! Counts that a partition shows for monitoring, on their way to the agent, which serves them.
//!
//! One message holds a part of one family. The words in it are the partition's own: no key's name,
//! no caller. The agent checks each part all the same before it passes it on: a partition that was
//! taken over must not be able to write into its neighbours' lines.

use serde::{Deserialize, Serialize};

/// Most samples of one message, so that it fits the channel.
pub const SAMPLES_PER_PART_MAX: usize = 64;

/// Most messages that answer one question.
pub const PARTS_MAX: usize = 512;

/// Most labels of a sample.
const LABELS_MAX: usize = 8;

/// Longest word of a family, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Most buckets of a histogram.
const BUCKETS_MAX: usize = 32;

/// Some samples of one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Its name, which begins with `casemate_`.
    pub name: String,
    /// What it counts, in one sentence.
    pub help: String,
    /// How the values are to be read.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// Of a histogram: the upper bounds of its buckets, growing.
    pub bounds: Vec<f64>,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// How values are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A sum, and counts by bucket.
    Histogram,
    /// A sum and a count.
    Summary,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The values of the labels, in their order.
    pub labels: Vec<String>,
    /// The value; of a histogram or summary, the sum.
    pub value: f64,
    /// Of a histogram the counts of its buckets and of what lies beyond; of a summary its count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<u64>,
}

impl Family {
    /// Whether it can be shown: words of the right form, and each sample with what belongs to it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let counts = match self.kind {
            MetricKind::Counter | MetricKind::Gauge => 0,
            MetricKind::Histogram => self.bounds.len() + 1,
            MetricKind::Summary => 1,
        };
        let is_histogram = self.kind == MetricKind::Histogram;
        let of_ours = self.name.strip_prefix("casemate_");
        of_ours.is_some_and(is_word)
            && self.help.len() <= TEXT_BYTES_MAX
            && self.labels.len() <= LABELS_MAX
            && self.labels.iter().all(|label| is_word(label) && is_free(label))
            && self.bounds.len() <= BUCKETS_MAX
            && self.bounds.is_empty() != is_histogram
            && self.bounds.is_sorted_by(|a, b| a < b)
            && self.bounds.iter().all(|bound| bound.is_finite())
            && self.samples.len() <= SAMPLES_PER_PART_MAX
            && self.samples.iter().all(|sample| {
                sample.labels.len() == self.labels.len()
                    && sample.labels.iter().all(|value| value.len() <= TEXT_BYTES_MAX)
                    && sample.counts.len() == counts
            })
    }

    /// Whether another part belongs to the same family.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.labels == other.labels
            && self.bounds == other.bounds
    }
}

fn is_word(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && text.bytes().all(fits)
}

/// Labels that the agent or the format gives by itself.
fn is_free(label: &str) -> bool {
    !matches!(label, "hsm" | "le" | "quantile")
        && !label.starts_with("__")
        && label.starts_with(|first: char| first.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family() -> Family {
        Family {
            name: "casemate_a_seconds".to_owned(),
            help: "A.".to_owned(),
            kind: MetricKind::Histogram,
            labels: vec!["activity_name".to_owned()],
            bounds: vec![0.1, 1.0],
            samples: vec![Sample {
                labels: vec!["KeySign \"\n".to_owned()],
                value: 2.0,
                counts: vec![1, 2, 3],
            }],
        }
    }

    #[test]
    fn a_sound_family_is_sound() {
        assert!(family().is_sound());
        let gauge = Family { kind: MetricKind::Gauge, bounds: Vec::new(), ..family() };
        let sample = Sample { counts: Vec::new(), ..family().samples.remove(0) };
        assert!(Family { samples: vec![sample], ..gauge }.is_sound());
    }

    #[test]
    fn what_could_disturb_other_lines_is_not_sound() {
        let with = |change: &dyn Fn(&mut Family)| {
            let mut changed = family();
            change(&mut changed);
            changed
        };
        let wrong: [(&str, Family); 14] = [
            ("name", with(&|f| f.name = "process_cpu_seconds_total".to_owned())),
            ("prefix alone", with(&|f| f.name = "casemate_".to_owned())),
            ("line break", with(&|f| f.name = "casemate_a\nup".to_owned())),
            ("space", with(&|f| f.name = "casemate_a b".to_owned())),
            ("hsm", with(&|f| f.labels = vec!["hsm".to_owned()])),
            ("le", with(&|f| f.labels = vec!["le".to_owned()])),
            ("digit first", with(&|f| f.labels = vec!["1a".to_owned()])),
            ("brace", with(&|f| f.labels = vec!["a{".to_owned()])),
            ("no label value", with(&|f| f.samples[0].labels.clear())),
            ("long value", with(&|f| f.samples[0].labels = vec!["x".repeat(257)])),
            ("too few counts", with(&|f| f.samples[0].counts = vec![1, 2])),
            ("bounds that fall", with(&|f| f.bounds = vec![1.0, 0.1])),
            ("no number", with(&|f| f.bounds = vec![0.1, f64::NAN])),
            ("gauge with bounds", with(&|f| f.kind = MetricKind::Gauge)),
        ];
        for (what, family) in wrong {
            assert!(!family.is_sound(), "{what}");
        }
        let many = with(&|f| f.samples = vec![f.samples[0].clone(); SAMPLES_PER_PART_MAX + 1]);
        assert!(!many.is_sound());
    }

    #[test]
    fn a_full_part_fits_the_channel() {
        let mut family = family();
        family.bounds = (0..14).map(|n| f64::from(n) + 0.123).collect();
        let label = || "SecurityDomainRestoreStatusGet".to_owned();
        family.labels = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let sample = Sample {
            labels: vec![label(), label(), label(), label()],
            value: 123_456_789.123_456,
            counts: vec![99_999_999_999; 15],
        };
        family.samples = vec![sample; SAMPLES_PER_PART_MAX];
        assert!(family.is_sound());
        let bytes = serde_json::to_vec(&family).unwrap().len();
        assert!(bytes < crate::MESSAGE_BYTES_MAX, "{bytes}");
    }
}
