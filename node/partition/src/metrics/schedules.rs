//! How the schedules of backups are.

use casemate_channel::{Family, MetricKind, Sample};
use casemate_hsm::backup::ScheduleFacts;

use super::{count_of, family, float};

/// All families about schedules.
pub(super) fn families(schedules: &[ScheduleFacts]) -> Vec<Family> {
    let by_schedule = |name: &str, help: &str, value: &dyn Fn(&ScheduleFacts) -> u64| {
        let sample = |facts: &ScheduleFacts| Sample {
            labels: vec![facts.name.to_string()],
            value: float(value(facts)),
            counts: Vec::new(),
        };
        let samples = schedules.iter().map(sample).collect();
        Family { samples, ..family(name, help, MetricKind::Gauge, &["schedule"]) }
    };
    vec![
        by_schedule(
            "casemate_backup_schedule_enabled",
            "Whether a schedule of backups runs.",
            &|facts| u64::from(facts.enabled),
        ),
        by_schedule(
            "casemate_backup_schedule_interval_seconds",
            "Time from one backup of a schedule to the next.",
            &|facts| facts.every_s,
        ),
        by_schedule(
            "casemate_backup_schedule_age_seconds",
            "Time since a schedule made a backup; where it made none, since it was set.",
            &|facts| facts.age_s,
        ),
        by_schedule(
            "casemate_backup_schedule_failures",
            "Runs of a schedule that failed since it made a backup.",
            &|facts| u64::from(facts.failures),
        ),
        by_schedule(
            "casemate_backup_schedule_removal_failures",
            "Removals that failed since a schedule removed something.",
            &|facts| u64::from(facts.removal_failures),
        ),
        by_schedule(
            "casemate_backup_schedule_backups",
            "Backups that a schedule made and remembers.",
            &|facts| count_of(facts.sets),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use casemate_hsm::backup::ScheduleName;

    use super::*;

    #[test]
    fn each_schedule_has_its_age_and_its_failures() {
        let of = |name: &str, enabled, failures| ScheduleFacts {
            name: ScheduleName::parse(name).unwrap(),
            enabled,
            every_s: 3_600,
            age_s: 7,
            failures,
            removal_failures: 2,
            sets: 5,
        };
        let families = families(&[of("hourly", true, 0), of("nightly", false, 3)]);
        assert!(families.iter().all(Family::is_sound));
        let values: Vec<Vec<_>> = families
            .iter()
            .map(|family| family.samples.iter().map(|one| one.value).collect())
            .collect();
        let expected: [[f64; 2]; 6] =
            [[1.0, 0.0], [3_600.0, 3_600.0], [7.0, 7.0], [0.0, 3.0], [2.0, 2.0], [5.0, 5.0]];
        assert_eq!(values, expected);
        assert_eq!(families[0].samples[1].labels, ["nightly"]);
        assert!(super::families(&[]).iter().all(|family| family.samples.is_empty()));
    }
}
