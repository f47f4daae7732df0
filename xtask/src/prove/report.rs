//! Writes `docs/proofs.md`: a row for each promise and each mutant there is.

use std::fmt::Write;

use super::{Claim, Proof};

/// Everything that is to be proved.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) promises: Vec<Claim>,
    pub(super) mutants: Vec<Claim>,
}

/// One run of `prove`.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) date: String,
    pub(super) processor: String,
    pub(super) proofs: Vec<Proof>,
}

impl Claims {
    pub(super) fn count(&self) -> usize {
        self.promises.len() + self.mutants.len()
    }
}

/// The page after a run. What this run left out keeps its row of the page before.
pub(super) fn render(claims: &Claims, run: &Run, before: &str) -> String {
    let mut page = String::from("# Proofs\n\n");
    let Run { date, processor, .. } = run;
    add(&mut page, &format!("Written by `cargo xtask prove`, last on {date}, on {processor}."));
    add(&mut page, "The promises are those of the [threat model](threat-model.md).\n");
    add(&mut page, "## Promises at full counts\n");
    table(&mut page, ["Promise", "Run", "Counts"], &claims.promises, run, before);
    add(&mut page, "\n## Mutants\n");
    add(&mut page, "Each is a patch under `tests/mutants/` that breaks a promise on purpose.");
    add(&mut page, "The run passes without the patch and must fail with it.\n");
    table(&mut page, ["Promise", "Run", "Mutant"], &claims.mutants, run, before);
    page
}

fn table(
    page: &mut String,
    [first, second, third]: [&str; 3],
    claims: &[Claim],
    run: &Run,
    before: &str,
) {
    add(page, &format!("| {first} | {second} | {third} | Result | Seconds | Date |"));
    add(page, "|---|---|---|---|---|---|");
    for claim in claims {
        let Claim { promise, command, detail } = claim;
        let begin = format!("| {promise} | `{command}` | {detail} |");
        let proof = run.proofs.iter().find(|proof| proof.claim == *claim);
        let earlier = || before.lines().find(|line| line.starts_with(&begin)).map(str::to_owned);
        let row = match proof {
            Some(proof) => Some(format!("{begin} {}", result(proof, &run.date))),
            None => earlier(),
        };
        add(page, &row.unwrap_or_else(|| format!("{begin} **not run yet** | | |")));
    }
}

fn result(proof: &Proof, date: &str) -> String {
    let Proof { good, says, took, .. } = proof;
    let verdict = if *good { "" } else { "**FAILED**: " };
    format!("{verdict}{says} | {} | {date} |", took.as_secs())
}

fn add(page: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(page, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn claim(detail: &str) -> Claim {
        Claim::new("1 durable", &["-p".to_owned()], detail.to_owned())
    }

    fn claims() -> Claims {
        Claims { promises: vec![claim("N=9")], mutants: vec![claim("no-sync"), claim("late")] }
    }

    fn page(date: &str, good: bool, details: &[&str], before: &str) -> String {
        let proof = |detail: &&str| Proof {
            claim: claim(detail),
            good,
            says: "5 passed, 0 failed".to_owned(),
            took: Duration::from_secs(3),
        };
        let proofs = details.iter().map(proof).collect();
        let processor = "a processor, 2 cores".to_owned();
        render(&claims(), &Run { date: date.to_owned(), processor, proofs }, before)
    }

    #[test]
    fn the_page_says_when_where_what_and_how_often() {
        let page = page("2026-01-02", true, &["N=9", "no-sync", "late"], "");
        assert!(page.contains("last on 2026-01-02, on a processor, 2 cores."));
        let row =
            "| 1 durable | `cargo test --release -p` | N=9 | 5 passed, 0 failed | 3 | 2026-01-02 |";
        assert!(page.contains(row), "{page}");
        assert!(!page.contains("FAILED") && !page.contains("not run yet"));
    }

    #[test]
    fn what_failed_is_said_loudly() {
        let page = page("2026-01-02", false, &["N=9", "no-sync"], "");
        assert_eq!(page.matches("**FAILED**").count(), 2);
    }

    #[test]
    fn what_was_not_run_keeps_its_row_or_says_so() {
        let first = page("2026-01-02", true, &["N=9", "no-sync"], "");
        assert_eq!(first.matches("not run yet").count(), 1);
        let second = page("2026-03-04", false, &["no-sync"], &first);
        assert!(second.contains("| N=9 | 5 passed, 0 failed | 3 | 2026-01-02 |"), "{second}");
        assert!(second.contains("| no-sync | **FAILED**"));
        assert_eq!(second.matches("| no-sync |").count(), 1);
        assert!(second.contains("| late | **not run yet** |"));
    }
}
