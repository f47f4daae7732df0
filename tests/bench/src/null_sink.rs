//! The audit log next to a null sink: the same server, built so that uses of keys leave no record.
//!
//! Both run at the same time and are measured in turns, so that a machine that slows down slows
//! down both. The aim is of the throughput: with the log, at least nine tenths of that without.

use std::path::PathBuf;

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

/// Measures the operations with an aim that the plan names; none without the other executable.
pub(crate) fn compare(plan: &Plan) -> Outcome<Vec<Extra>> {
    let Some(binary) = std::env::var_os("CASEMATE_NULL_SINK_BIN").map(PathBuf::from) else {
        report::say("no comparison with a null sink: CASEMATE_NULL_SINK_BIN is not set");
        return Ok(Vec::new());
    };
    let operations: Vec<_> = OPERATIONS.iter().filter(|one| is_wanted(one, plan)).collect();
    if operations.is_empty() {
        return Ok(Vec::new());
    }
    let instead = r#"shift; exec "$0" "$@""#.to_owned();
    let through = vec!["sh".to_owned(), "-c".to_owned(), instead, binary.display().to_string()];
    let null = Dev::start(Options { through, ..Options::default() });
    let audited = Dev::fresh();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut extras = Vec::new();
    for operation in operations {
        let subjects = [Subject::new(&audited, operation)?, Subject::new(&null, operation)?];
        let [mut with, mut without] = [Vec::new(), Vec::new()];
        for round in 1..=plan.rounds {
            let run = |index: usize, spells: &mut Vec<Spell>| -> Outcome<()> {
                let Subject { target, process, request } = &subjects[index];
                let request = request.clone();
                let load = spell(target, *process, request, plan.connections, plan.spell);
                spells.push(runtime.block_on(load)?);
                Ok(())
            };
            report::say(&format!(
                "round {round} of {}: {}, null sink",
                plan.rounds, operation.name
            ));
            // Who goes first alternates.
            if round % 2 == 1 {
                run(0, &mut with)?;
                run(1, &mut without)?;
            } else {
                run(1, &mut without)?;
                run(0, &mut with)?;
            }
        }
        extras.push(judged(operation, plan, &with, &without));
    }
    audited.stop();
    null.stop();
    Ok(extras)
}

/// One of the two servers, and what it is asked.
struct Subject {
    target: Target,
    process: u32,
    request: Vec<u8>,
}

impl Subject {
    fn new(dev: &Dev, operation: &Operation) -> Outcome<Self> {
        let target = hsm_target(dev)?;
        let (request, _) = request_to_hsm(&mut dev.rest(), &target, operation)?;
        Ok(Self { target, process: dev.partition(), request })
    }
}

fn is_wanted(operation: &Operation, plan: &Plan) -> bool {
    operation.aim != Aim::None && operation.name.contains(&plan.only)
}

fn judged(operation: &Operation, plan: &Plan, with: &[Spell], without: &[Spell]) -> Extra {
    let pairs = || with.iter().zip(without);
    let share = middle(pairs().map(|(with, without)| with.rate / without.rate));
    let cpu = |spell: &Spell| spell.cpu.as_secs_f64() * 1e6;
    let costs = middle(pairs().map(|(with, without)| cpu(with) - cpu(without)));
    let met = if share >= AIM { "met" } else { "missed" };
    line(
        &format!("{}, with the audit log, next to a null sink", operation.name),
        &format!(
            "{:.0}/s next to {:.0}/s over {} connections: {:.0} % (90 %: {met}); the log costs \
             {costs:.1} µs CPU",
            middle(with.iter().map(|spell| spell.rate)),
            middle(without.iter().map(|spell| spell.rate)),
            plan.connections,
            share * 100.0,
        ),
    )
}
