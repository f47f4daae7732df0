//! What can be typed after `casemate audit`.

use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand};

use super::AuditError;
use super::place::logs;

/// Commands over an audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the verifier keys: of the log, and of the HSM's identity, which certifies it.
    Key {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
    },
    /// Check every byte of a log, or of a sink's copy; fails if anything is found.
    Verify {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
        /// How.
        #[command(flatten)]
        check: Check,
    },
    /// Give up a log that was lost or altered, so that its HSM begins a new one. The HSM is
    /// stopped; an Administrator accepts it too before the HSM serves anybody.
    AcceptLoss {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
        /// What, and who.
        #[command(flatten)]
        accepted: Accepted,
    },
    /// Print the lines of a copy that a syslog or OTLP receiver keeps, for `verify --from`.
    Unwrap {
        /// The receiver's file: syslog messages, one a line, or OTLP in JSON; `-` reads the input.
        file: PathBuf,
    },
    /// Print a proof that golang.org/x/mod/sumdb and others of the kind can check, as JSON.
    Prove {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
        /// What is proved.
        #[command(flatten)]
        what: Wanted,
    },
    /// Print the last records, one JSON line each.
    Tail {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 10, value_parser = line_count())]
        lines: u32,
        /// Go on with those that follow.
        #[arg(short, long)]
        follow: bool,
    },
    /// Print the records to which all that is given applies, one JSON line each.
    Search {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
        /// What applies.
        #[command(flatten)]
        filter: Filter,
    },
    /// Say who used which key last, and how often.
    Usage {
        /// Which log.
        #[command(flatten)]
        place: AuditPlace,
        /// One key.
        #[arg(long, value_name = "NAME")]
        key: Option<String>,
    },
}

/// Which log is meant.
#[derive(Debug, Clone, Args)]
pub struct AuditPlace {
    /// Data folder of the agent, or any folder above the log [default: casemate/dev under the
    /// user's data home].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// How a log or a copy is checked.
#[derive(Debug, Clone, Default, Args)]
pub struct Check {
    /// A sink's copy: a file of JSON lines, or a folder of such files.
    #[arg(long, value_name = "PATH", conflicts_with = "data_dir")]
    pub from: Option<PathBuf>,
    /// The verifier key of the log or of the HSM's identity, kept from `casemate audit key`.
    #[arg(long, value_name = "VKEY")]
    pub trust: Option<String>,
    /// What the log must be a continuation of: the number of records that you have seen signed, or
    /// a file with a checkpoint that you kept.
    #[arg(long, value_name = "COUNT|FILE")]
    pub seen: Option<String>,
    /// A copy may begin at any record without a frontier: such records are tied to no signed root,
    /// and are checked for gaps only.
    #[arg(long, requires = "from", conflicts_with = "data_dir")]
    pub untied: bool,
    /// So many records of a copy may stand behind its last checkpoint, which vouches for none of
    /// them.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 0,
        requires = "from",
        conflicts_with = "data_dir"
    )]
    pub unsigned_max: u64,
    /// So many logs before this one may have been lost and given up, as you know.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub losses_max: usize,
}

/// Which loss is accepted, and by whom.
#[derive(Debug, Clone, Args)]
pub struct Accepted {
    /// How many records the HSM remembers, as it said when it refused to start.
    #[arg(long, value_name = "COUNT")]
    pub records: u64,
    /// Who gives them up: a name, which is recorded for ever.
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// Why, in a few words, which are recorded too.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// What is to be proved.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub struct Wanted {
    /// That this record is in the log: its index, which is its seq less one.
    #[arg(long, conflicts_with_all = ["old", "new"])]
    pub index: Option<u64>,
    /// That the log only grew since it had this many records.
    #[arg(long)]
    pub old: Option<u64>,
    /// Until it had this many [default: those of the newest checkpoint].
    #[arg(long, requires = "old")]
    pub new: Option<u64>,
}

/// What applies to a record that is searched for.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Not before this time, such as 2026-01-31 or 2026-01-31T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<String>,
    /// Object id, application id, user name or token id of the caller.
    #[arg(long, value_name = "ID")]
    pub caller: Option<String>,
    /// The Activity ID that an answer named, which is its header x-ms-request-id.
    #[arg(long, value_name = "ID")]
    pub activity: Option<String>,
    /// Name of the key: what was done with it, and rights at it or at a beginning of its name.
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Object id of whom a role was given to or taken from, whose tokens were cut off, or who was
    /// asked about.
    #[arg(long, value_name = "ID")]
    pub principal: Option<String>,
    /// Scope of a role that was given or taken, such as /keys/team-a-*.
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// Name of the operation, such as KeySign.
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// Success, Failed, Pending, Unknown, an HTTP status or an error code.
    #[arg(long, value_name = "RESULT")]
    pub result: Option<String>,
    /// Print no more than this many.
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}

/// So many lines are kept in memory.
fn line_count() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=100_000)
}

/// The beginning of a time, as records write it.
fn time(text: &str) -> Result<String, &'static str> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00.000";
    /// Years, months, days, hours, minutes, seconds, thousandths.
    const LENGTHS: [usize; 7] = [4, 7, 10, 13, 16, 19, 23];
    let fits = |(byte, shape): (u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte == *shape,
    };
    let begin = text.strip_suffix('Z').filter(|begin| begin.len() >= 19).unwrap_or(text);
    let is_whole = LENGTHS.contains(&begin.len());
    if is_whole && begin.bytes().zip(SHAPE).all(fits) && is_in_calendar(begin) {
        Ok(begin.to_owned())
    } else {
        Err("give a time in UTC such as 2026-01-31 or 2026-01-31T08:00:00Z")
    }
}

/// Whether there is such a month, day, hour, minute and second, as far as they are given.
fn is_in_calendar(time: &str) -> bool {
    let number = |at: usize, end: usize, default: u32| {
        time.get(at..end).and_then(|digits| digits.parse().ok()).unwrap_or(default)
    };
    let (year, month, day) = (number(0, 4, 0), number(5, 7, 1), number(8, 10, 1));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=12).contains(&month)
        && (1..=days).contains(&day)
        && number(11, 13, 0) < 24
        && number(14, 16, 0) < 60
        && number(17, 19, 0) < 60
}

impl AuditPlace {
    pub(crate) fn folder(&self, default_folder: impl FnOnce() -> PathBuf) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_folder)
    }

    /// The one log there is.
    pub(crate) fn one(
        &self,
        default_folder: impl FnOnce() -> PathBuf,
    ) -> Result<PathBuf, AuditError> {
        let folder = self.folder(default_folder);
        let mut logs = logs(&folder)?;
        match (logs.pop(), logs.pop()) {
            (Some(log), None) => Ok(log),
            _ => Err(AuditError::Several { path: folder }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_beginnings_of_what_records_write() {
        for good in ["2026", "2026-01", "2026-01-31", "2026-01-31T08", "2026-01-31T08:00:00Z"] {
            assert!(time(good).is_ok(), "{good}");
        }
        assert_eq!(time("2026-01-31T08:00:00Z").as_deref(), Ok("2026-01-31T08:00:00"));
        assert_eq!(time("2026-01-31T08:00:00.123Z").as_deref(), Ok("2026-01-31T08:00:00.123"));
        for bad in ["", "now", "26", "2026/01/31", "2026-01-31 08:00", "2026-01-31T08:00:00+01:00"]
        {
            assert!(time(bad).is_err(), "{bad}");
        }
        for half in
            ["2026-", "2026-0", "2026-01-3", "2026-01-31T", "2026-01-31T08:00:00.1", "2026Z"]
        {
            assert!(time(half).is_err(), "{half}");
        }
    }

    #[test]
    fn a_time_that_never_was_is_refused() {
        for good in ["2024-02-29", "2000-02-29", "2026-12-31T23:59:59.999Z", "0000-01-01"] {
            assert!(time(good).is_ok(), "{good}");
        }
        for bad in [
            "2026-13-99",
            "2026-13",
            "2026-00",
            "2026-01-00",
            "2026-01-32",
            "2026-04-31",
            "2026-02-29",
            "1900-02-29",
            "2026-01-31T24",
            "2026-01-31T08:60",
            "2026-01-31T08:00:60",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
