//! `cargo xtask bench`: what an operation costs in CPU time of the partition, next to the raw
//! library on one thread and to a bare server in the same run, interleaved round by round.
//!
//! The bare server has the same TLS, HTTP and JSON stack, finds the same kind of token in a map and
//! does the same operation, and nothing else: no rights, no audit record, no rules. CPU time is
//! what the kernel charged to the server's process; the load generator runs beside it.
//!
//! It measures and prints; it judges only in the column that compares with the aims.

mod backup;
mod bare;
mod client;
mod cpu;
mod domain;
mod extras;
mod load;
mod measure;
mod null_sink;
mod operations;
mod report;
mod token;

use std::process::ExitCode;

use crate::measure::Plan;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("bare") => bare::serve(),
        Some(token::ROLE) => {
            let word = |at: usize| args.get(at).map_or("", String::as_str);
            token::work(word(1), word(2))
        }
        _ => Plan::from_args(&args).and_then(|plan| run(&plan)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            report::say(&format!("bench: {reason}"));
            ExitCode::FAILURE
        }
    }
}

/// Any failure ends the run: a benchmark that goes on after an error measures something else.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn run(plan: &Plan) -> Outcome<()> {
    let rows = measure::all(plan)?;
    let mut extras = null_sink::compare(plan)?;
    extras.extend(extras::all(plan)?);
    extras.extend(token::all(plan)?);
    report::write(plan, &rows, &extras)
}
