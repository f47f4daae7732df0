//! The audit log next to a null sink, which drops records in place of writing them, and next to a
//! server that makes no record of a use at all: the same server, built so.
//!
//! All three run at the same time and are measured in turns: a machine that slows down slows down
//! all. The aim is of the throughput: with the log, at least nine tenths of that of the null
//! sink.

use std::path::{Path, PathBuf};

use casemate_test_kit::{Dev, Options};

use crate::client::Target;
use crate::extras::{Extra, line};
use crate::load::{Spell, spell};
use crate::measure::{Plan, hsm_target, request_to_hsm};
use crate::operations::{Aim, OPERATIONS, Operation};
use crate::report::middle;
use crate::{Outcome, report};

/// The least share of the null sink's throughput, in parts of one.
const AIM: f64 = 0.9;

/// What the audit log is compared with: the executable's variable, its name, whether the aim is of
/// its throughput.
const OTHERS: [(&str, &str, bool); 2] = [
    ("CASEMATE_NULL_SINK_BIN", "a null sink", true),
    ("CASEMATE_NO_RECORDS_BIN", "no records at all", false),
];

/// Measures the operations with an aim that the plan names; none without the other executables.
pub(crate) fn compare(plan: &Plan) -> Outcome<Vec<Extra>> {
    let binary = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let [Some(null), Some(none)] = OTHERS.map(|(variable, ..)| binary(variable)) else {
        report::say("no comparison with a null sink: CASEMATE_NULL_SINK_BIN is not set");
        return Ok(Vec::new());
    };
    let operations: Vec<_> = OPERATIONS.iter().filter(|one| is_wanted(one, plan)).collect();
    if operations.is_empty() {
        return Ok(Vec::new());
    }
    let all = [Dev::fresh(), other(&null), other(&none)];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut extras = Vec::new();
    for operation in operations {
        let [with, null, none] = &all;
        let subjects = [with, null, none].map(|dev| Subject::new(dev, operation));
        let mut subjects = subjects.into_iter().collect::<Outcome<Vec<_>>>()?;
        for round in 1..=plan.rounds {
            let name = operation.name;
            report::say(&format!("round {round} of {}: {name}, null sink", plan.rounds));
            for subject in &mut subjects {
                let Subject { target, process, request, spells } = subject;
                let request = request.clone();
                let load = spell(target, *process, request, plan.connections, plan.spell);
                spells.push(runtime.block_on(load)?);
            }
            // Who goes first alternates.
            subjects.reverse();
        }
        subjects
            .sort_by_key(|subject| all.iter().position(|dev| dev.partition() == subject.process));
        let (with, others) = subjects.split_first().ok_or("there are three servers")?;
        for ((_, name, is_aim), without) in OTHERS.iter().zip(others) {
            extras.push(judged((operation, name, *is_aim), plan, &with.spells, &without.spells));
        }
    }
    all.into_iter().for_each(|dev| drop(dev.stop()));
    Ok(extras)
}

/// The same server by another executable.
fn other(binary: &Path) -> Dev {
    let instead = r#"shift; exec "$0" "$@""#.to_owned();
    let through = vec!["sh".to_owned(), "-c".to_owned(), instead, binary.display().to_string()];
    Dev::start(Options { through, ..Options::default() })
}

/// One of the servers, what it is asked, and how it did.
struct Subject {
    target: Target,
    process: u32,
    request: Vec<u8>,
    spells: Vec<Spell>,
}

impl Subject {
    fn new(dev: &Dev, operation: &Operation) -> Outcome<Self> {
        let target = hsm_target(dev)?;
        let (request, _) = request_to_hsm(&mut dev.rest(), &target, operation)?;
        Ok(Self { target, process: dev.partition(), request, spells: Vec::new() })
    }
}

fn is_wanted(operation: &Operation, plan: &Plan) -> bool {
    operation.aim != Aim::None && operation.name.contains(&plan.only)
}

fn judged(
    (operation, other, is_aim): (&Operation, &str, bool),
    plan: &Plan,
    with: &[Spell],
    without: &[Spell],
) -> Extra {
    let pairs = || with.iter().zip(without);
    let share = middle(pairs().map(|(with, without)| with.rate / without.rate));
    let cpu = |spell: &Spell| spell.cpu.as_secs_f64() * 1e6;
    let costs = middle(pairs().map(|(with, without)| cpu(with) - cpu(without)));
    let judgement = match (is_aim, share >= AIM) {
        (true, true) => " (90 %: met)",
        (true, false) => " (90 %: missed)",
        (false, _) => "",
    };
    line(
        &format!("{}, with the audit log, next to {other}", operation.name),
        &format!(
            "{:.0}/s next to {:.0}/s over {} connections: {:.0} %{judgement}; the log costs \
             {costs:.1} µs CPU",
            middle(with.iter().map(|spell| spell.rate)),
            middle(without.iter().map(|spell| spell.rate)),
            plan.connections,
            share * 100.0,
        ),
    )
}
