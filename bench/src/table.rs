// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures as a Markdown table.

use std::time::Duration;

use crate::measure::{Contestant, Figures};

/// Something that our CPU time is compared with.
#[derive(Debug)]
pub(crate) struct Limit<'a> {
    /// The contestant's name.
    pub(crate) other: &'a str,
    /// How much of its CPU time ours may be.
    pub(crate) at_most: f64,
}

/// One line for each contestant; the first is ours, and the last columns compare the others'
/// medians with it.
#[expect(clippy::print_stdout, reason = "this is what was asked for")]
pub(crate) fn print(contestants: &[Contestant], limits: &[Limit<'_>]) {
    let Some((ours, _)) = contestants.split_first() else {
        return;
    };
    let our_figures = ours.figures();
    println!("| what | user ms | system ms | CPU ms | least CPU | wall ms | our CPU | limit |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for contestant in contestants {
        let figures = contestant.figures();
        let Figures {
            user,
            system,
            cpu,
            least_cpu,
            wall,
        } = figures;
        let ratio = our_figures.cpu.as_secs_f64() / cpu.as_secs_f64();
        let limit = limits.iter().find(|limit| limit.other == contestant.name);
        let limit = limit.map_or(String::new(), |Limit { at_most, .. }| {
            let verdict = if ratio <= *at_most { "met" } else { "MISSED" };
            format!("{at_most:.2}x {verdict}")
        });
        println!(
            "| {} | {} | {} | {} | {} | {} | {ratio:.2}x | {limit} |",
            contestant.name,
            ms(user),
            ms(system),
            ms(cpu),
            ms(least_cpu),
            ms(wall),
        );
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
