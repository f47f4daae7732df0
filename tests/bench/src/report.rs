//! The tables.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use crate::extras::Extra;
use crate::load::Spell;
use crate::measure::{Plan, Row};
use crate::operations::Aim;
use crate::{Outcome, cpu};

/// Progress and complaints go to the standard error.
pub(crate) fn say(text: &str) {
    // Nobody is left to be told if that fails.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Results go to the standard output.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints the tables, and writes them to the file that the plan names.
pub(crate) fn write(plan: &Plan, rows: &[Row], extras: &[Extra]) -> Outcome<()> {
    let text = render(plan, rows, extras);
    print(&text);
    if plan.write.is_empty() {
        return Ok(());
    }
    let page = std::fs::read_to_string(&plan.write).unwrap_or_default();
    let kept = page.split("<!-- measured -->").next().unwrap_or_default();
    std::fs::write(&plan.write, format!("{kept}<!-- measured -->\n\n{text}"))?;
    Ok(())
}

fn render(plan: &Plan, rows: &[Row], extras: &[Extra]) -> String {
    let empty = rows.first().map(|row| median(&cpus(&row.bare))).unwrap_or_default();
    let mut text = format!(
        "Processor: {}. {} rounds, {} connections, {:.1} s each; median (lowest to highest).\n\
         E, the bare server's CPU time for an empty request: {}.\n\n",
        cpu::processor(),
        plan.rounds,
        plan.connections,
        plan.spell.as_secs_f64(),
        micros(empty),
    );
    text.push_str(
        "| operation | library | bare server (C) | HSM | HSM less C | aim | bare/s | HSM/s |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows.iter().filter(|row| !row.hsm.is_empty()) {
        text.push_str(&line(row, empty));
    }
    if !extras.is_empty() {
        text.push_str("\n| what | result |\n| --- | --- |\n");
    }
    for extra in extras {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} |", extra.what, extra.result);
    }
    text
}

fn line(row: &Row, empty: Duration) -> String {
    let (bare, hsm) = (cpus(&row.bare), cpus(&row.hsm));
    let pairs: Vec<_> =
        bare.iter().zip(&hsm).map(|(c, h)| (c.as_secs_f64(), h.as_secs_f64())).collect();
    // The two of a round were measured one right after the other, so they are compared first and
    // the median is taken of what they differ by: a machine that slows down later changes both.
    let less = middle(pairs.iter().map(|(c, hsm)| hsm - c));
    let times = middle(pairs.iter().map(|(c, hsm)| hsm / c));
    let e = empty.as_secs_f64();
    let aim = match row.operation.aim {
        Aim::Fixed => verdict("C + 1.5 E", less <= 1.5 * e),
        Aim::Ratio => verdict("1.10 C", times <= 1.10),
        Aim::None => String::new(),
    };
    format!(
        "| {} | {} | {} | {} | {:+.1} µs ({:.2} E, {:.2} C) | {aim} | {:.0} | {:.0} |\n",
        row.operation.name,
        micros(median(&row.raw)),
        spread(&bare),
        spread(&hsm),
        less * 1e6,
        less / e,
        times,
        rate(&row.bare),
        rate(&row.hsm),
    )
}

fn verdict(aim: &str, met: bool) -> String {
    format!("{aim}: {}", if met { "met" } else { "missed" })
}

fn cpus(spells: &[Spell]) -> Vec<Duration> {
    spells.iter().map(|spell| spell.cpu).collect()
}

fn rate(spells: &[Spell]) -> f64 {
    middle(spells.iter().map(|spell| spell.rate))
}

/// The median.
pub(crate) fn middle(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn spread(times: &[Duration]) -> String {
    let low = times.iter().min().copied().unwrap_or_default();
    let high = times.iter().max().copied().unwrap_or_default();
    format!("{} ({} to {})", micros(median(times)), bare_micros(low), bare_micros(high))
}

fn micros(time: Duration) -> String {
    format!("{} µs", bare_micros(time))
}

fn bare_micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}
