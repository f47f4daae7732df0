//! What a schedule is set to.

use serde::{Deserialize, Serialize};

use crate::backup::{Target, TargetError};
use crate::commit::CommitRefusal;

/// Most schedules of an HSM.
pub const SCHEDULES_MAX: usize = 8;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// Minutes from one run to the next: five minutes to 31 days.
const EVERY_MINUTES: (u32, u32) = (5, 44_640);

/// Sets of a chain.
const FULL_EVERY: (u32, u32) = (1, 100);

/// Days for which a chain is kept at least.
const KEEP_DAYS: (u32, u32) = (0, 3_650);

/// Chains that are kept at least.
const KEEP_LAST: (u32, u32) = (1, 100);

/// Most sets that a schedule may mean to keep: they are listed in its record.
const SETS_MEANT_MAX: u64 = 2_000;

const MINUTES_A_DAY: u64 = 1_440;

/// The name of a schedule: 1 to 32 of a-z, 0-9 and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleName(String);

impl ScheduleName {
    /// Reads a name; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter);
        is_name.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// When a schedule runs, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Minutes from one run to the next.
    pub every_minutes: u32,
    /// Minutes after the beginning of such a span, counted from 1970-01-01 00:00 UTC.
    pub offset_minutes: u32,
    /// Each so-many-th set is a full backup, the others are increments.
    pub full_every: u32,
    /// Days for which a chain is kept after its newest set was made.
    pub keep_days: u32,
    /// So many of the newest chains are kept however old they are.
    pub keep_last: u32,
    /// Whether it runs, and removes.
    pub enabled: bool,
}

impl Plan {
    pub(super) fn check(&self) -> Result<(), ScheduleRefusal> {
        let number = |member, number: u32, (least, most): (u32, u32)| {
            let fits = (least..=most).contains(&number);
            if fits { Ok(()) } else { Err(ScheduleRefusal::Number { member, least, most }) }
        };
        number("everyMinutes", self.every_minutes, EVERY_MINUTES)?;
        number("offsetMinutes", self.offset_minutes, (0, self.every_minutes - 1))?;
        number("fullEvery", self.full_every, FULL_EVERY)?;
        number("keepDays", self.keep_days, KEEP_DAYS)?;
        number("keepLast", self.keep_last, KEEP_LAST)?;
        let meant = self.sets_meant();
        if meant > SETS_MEANT_MAX {
            return Err(ScheduleRefusal::TooManySets { meant });
        }
        Ok(())
    }

    /// About how many sets lie there at most: those of the days that are kept, the rest of their
    /// oldest chain, and the chain that is being made.
    fn sets_meant(&self) -> u64 {
        let by_days =
            u64::from(self.keep_days) * MINUTES_A_DAY / u64::from(self.every_minutes.max(1));
        let by_count = u64::from(self.keep_last) * u64::from(self.full_every);
        by_days.max(by_count) + 2 * u64::from(self.full_every)
    }
}

/// A schedule as it is asked for. Not printable, since it holds what opens the target.
pub struct ScheduleRequest {
    /// The address of the target.
    pub uri: String,
    /// What opens it.
    pub access: ScheduleAccess,
    /// When, and what is kept.
    pub plan: Plan,
}

/// What opens a schedule's target, as it is asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum ScheduleAccess {
    /// What was set before, while the address is the same.
    Kept,
    /// The token that was set before, and not the HSM's identity.
    KeptToken,
    /// This token.
    Token(String),
    /// The HSM's managed identity.
    Identity,
}

impl ScheduleRequest {
    /// The target, with what is sent to open it or what was set for this very address: otherwise
    /// who may change schedules could have a token sent to themselves.
    pub(super) fn target(&self, before: Option<&Target>) -> Result<Target, ScheduleRefusal> {
        match &self.access {
            ScheduleAccess::Token(token) => return Ok(Target::new(&self.uri, token)?),
            ScheduleAccess::Identity => return Ok(Target::with_identity(&self.uri)?),
            ScheduleAccess::Kept | ScheduleAccess::KeptToken => {}
        }
        let asked = Target::new(&self.uri, "")?;
        let may_stay = |before: &&Target| {
            let is_meant = self.access == ScheduleAccess::Kept || !before.is_opened_by_identity();
            before.uri() == asked.uri() && is_meant
        };
        match before.filter(may_stay) {
            Some(before) => Ok(before.clone()),
            None if self.uri.starts_with("file:") => Ok(asked),
            None => Err(ScheduleRefusal::TokenIsNeeded),
        }
    }
}

/// Why a schedule was not set, shown, or asked to run.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleRefusal {
    /// A number out of range.
    #[error("'{member}' must be {least} to {most}; send such a number")]
    Number {
        /// The member.
        member: &'static str,
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// More sets than its record could list.
    #[error(
        "that means to keep about {meant} sets, and the most of one schedule is {SETS_MEANT_MAX}; \
         run it less often, or keep fewer days"
    )]
    TooManySets {
        /// How many.
        meant: u64,
    },
    /// As many as there can be.
    #[error("there are {SCHEDULES_MAX} schedules, the most there can be; remove one first")]
    TooMany,
    /// A token is kept for its own address alone.
    #[error(
        "'token' is needed, or 'useManagedIdentity': what was set is kept only while \
         'storageResourceUri' stays the same; send one of them"
    )]
    TokenIsNeeded,
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is none of that name.
    #[error("there is no schedule '{0}'")]
    NoSuchSchedule(ScheduleName),
    /// It does nothing while it is disabled.
    #[error("the schedule '{0}' is disabled; enable it first")]
    Disabled(ScheduleName),
    /// No random numbers.
    #[error("the engine gave no random numbers")]
    Engine(#[from] casemate_engine_port::EngineError),
    /// Not stored.
    #[error(transparent)]
    Commit(#[from] CommitRefusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        every_minutes: 60,
        offset_minutes: 59,
        full_every: 24,
        keep_days: 30,
        keep_last: 2,
        enabled: true,
    };

    #[test]
    fn names_are_short_and_plain() {
        for bad in ["", "A", "a b", "a/b", ".", "a.b", "ä", "a_b", &"a".repeat(33)] {
            assert!(ScheduleName::parse(bad).is_none(), "{bad}");
        }
        for good in ["a", "nightly-2", "pending", "-", &"a".repeat(32)] {
            assert_eq!(ScheduleName::parse(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_plan_beyond_its_bounds_is_refused_and_one_at_them_is_not() {
        let refused = |plan: Plan| plan.check().unwrap_err().to_string();
        let bad = [
            (Plan { every_minutes: 0, ..PLAN }, "everyMinutes"),
            (Plan { every_minutes: 4, offset_minutes: 0, ..PLAN }, "everyMinutes"),
            (Plan { every_minutes: 44_641, ..PLAN }, "everyMinutes"),
            (Plan { offset_minutes: 60, ..PLAN }, "offsetMinutes"),
            (Plan { offset_minutes: u32::MAX, ..PLAN }, "offsetMinutes"),
            (Plan { full_every: 0, ..PLAN }, "fullEvery"),
            (Plan { full_every: 101, ..PLAN }, "fullEvery"),
            (Plan { keep_days: 3_651, ..PLAN }, "keepDays"),
            (Plan { keep_last: 0, ..PLAN }, "keepLast"),
            (Plan { keep_last: 101, ..PLAN }, "keepLast"),
            (Plan { every_minutes: 5, offset_minutes: 0, ..PLAN }, "8688 sets"),
            (Plan { full_every: 100, keep_last: 19, ..PLAN }, "2100 sets"),
            (Plan { keep_days: 3_650, ..PLAN }, "87648 sets"),
        ];
        for (plan, why) in bad {
            assert!(refused(plan).contains(why), "{plan:?}: {}", refused(plan));
        }
        let good = [
            PLAN,
            Plan { every_minutes: 5, offset_minutes: 4, keep_days: 6, ..PLAN },
            Plan { every_minutes: 44_640, keep_days: 3_650, full_every: 1, ..PLAN },
            Plan { full_every: 100, keep_last: 18, ..PLAN },
            Plan { keep_days: 0, keep_last: 1, enabled: false, ..PLAN },
        ];
        for plan in good {
            plan.check().unwrap_or_else(|refusal| panic!("{plan:?}: {refusal}"));
        }
    }

    #[test]
    fn an_identity_stays_until_something_else_is_said() {
        let of = |uri: &str, access, before: Option<&Target>| {
            ScheduleRequest { uri: uri.to_owned(), access, plan: PLAN }.target(before)
        };
        let (here, there) = ("https://a.example/c", "https://b.example/c");
        let identity = of(here, ScheduleAccess::Identity, None).unwrap();
        assert!(identity.is_opened_by_identity());
        let kept = of(here, ScheduleAccess::Kept, Some(&identity)).unwrap();
        assert!(kept.is_opened_by_identity(), "it is kept");
        let token = of(here, ScheduleAccess::Token("sig=1".to_owned()), Some(&identity)).unwrap();
        assert!(!token.is_opened_by_identity());
        assert!(of(here, ScheduleAccess::KeptToken, Some(&token)).unwrap() == token);
        for (uri, access, before) in [
            (here, ScheduleAccess::KeptToken, &identity),
            (there, ScheduleAccess::Kept, &identity),
            (there, ScheduleAccess::KeptToken, &token),
        ] {
            let refused = of(uri, access, Some(before));
            assert!(matches!(refused, Err(ScheduleRefusal::TokenIsNeeded)), "{uri}");
        }
        for other in ["file:///n", "s3+https://h/b"] {
            let refused = of(other, ScheduleAccess::Identity, None);
            assert!(matches!(refused, Err(ScheduleRefusal::Target(_))), "{other}");
        }
    }

    #[test]
    fn a_token_stays_with_its_address() {
        let request = |uri: &str, token: Option<&str>| ScheduleRequest {
            uri: uri.to_owned(),
            access: token.map_or(ScheduleAccess::Kept, |token| ScheduleAccess::Token(token.into())),
            plan: PLAN,
        };
        let before = Target::new("https://a.example/c", "sig=1").unwrap();
        let of = |uri: &str, token| {
            let target = request(uri, token).target(Some(&before));
            target.map(|target| target.expose_token().to_owned())
        };
        assert_eq!(of("https://a.example/c/", None).unwrap(), "sig=1");
        assert_eq!(of("https://a.example/c", Some("?sig=2")).unwrap(), "sig=2");
        assert_eq!(of("file:///nightly", None).unwrap(), "");
        for other in [
            "https://b.example/c",
            "https://a.example/d",
            "https://a.example/c/d",
            "http://a.example/c",
            "https://A.example/c",
        ] {
            assert!(matches!(of(other, None), Err(ScheduleRefusal::TokenIsNeeded)), "{other}");
        }
        for bad in ["", "c", "https://a.example/c?x=1"] {
            assert!(matches!(of(bad, None), Err(ScheduleRefusal::Target(_))), "{bad}");
        }
        let first = request("https://a.example/c", None).target(None);
        assert!(matches!(first, Err(ScheduleRefusal::TokenIsNeeded)));
    }
}
