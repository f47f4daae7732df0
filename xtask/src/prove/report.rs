//! Writes `docs/proofs.md`.

use std::fmt::Write;

use super::Proof;

/// Everything one run of `prove` saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) date: String,
    pub(super) processor: String,
    pub(super) kept: Vec<Proof>,
    pub(super) caught: Vec<Proof>,
}

pub(super) fn render(seen: &Seen) -> String {
    let mut page = String::from("# Proofs\n\n");
    let Seen { date, processor, kept, caught } = seen;
    add(&mut page, &format!("Written by `cargo xtask prove` on {date}, on {processor}.\n"));
    add(&mut page, "The promises are those of the [threat model](threat-model.md).\n");
    add(&mut page, "## Promises at full counts\n");
    table(&mut page, ["Promise", "Run", "Counts"], kept);
    add(&mut page, "\n## Mutants\n");
    add(&mut page, "Each is a patch under `tests/mutants/` that breaks a promise on purpose.");
    add(&mut page, "The run passes without the patch and must fail with it.\n");
    table(&mut page, ["Promise", "Run", "Mutant"], caught);
    page
}

fn table(page: &mut String, [first, second, third]: [&str; 3], proofs: &[Proof]) {
    add(page, &format!("| {first} | {second} | {third} | Result | Seconds |"));
    add(page, "|---|---|---|---|---|");
    for proof in proofs {
        let Proof { promise, command, detail, good, says, took } = proof;
        let verdict = if *good { "" } else { "**FAILED**: " };
        let seconds = took.as_secs();
        add(page, &format!("| {promise} | `{command}` | {detail} | {verdict}{says} | {seconds} |"));
    }
}

fn add(page: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(page, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn page(good: bool) -> String {
        let proof = |detail: &str| Proof {
            promise: "1 durable".to_owned(),
            command: "cargo test".to_owned(),
            detail: detail.to_owned(),
            good,
            says: "5 passed, 0 failed".to_owned(),
            took: Duration::from_secs(3),
        };
        render(&Seen {
            date: "2026-01-02".to_owned(),
            processor: "a processor, 2 cores".to_owned(),
            kept: vec![proof("N=9")],
            caught: vec![proof("no-sync")],
        })
    }

    #[test]
    fn the_page_says_when_where_what_and_how_often() {
        let page = page(true);
        assert!(page.contains("on 2026-01-02, on a processor, 2 cores."));
        assert!(page.contains("| 1 durable | `cargo test` | N=9 | 5 passed, 0 failed | 3 |"));
        assert!(page.contains("| no-sync |"));
        assert!(!page.contains("FAILED"));
    }

    #[test]
    fn what_failed_is_said_loudly() {
        assert_eq!(page(false).matches("**FAILED**").count(), 2);
    }
}
