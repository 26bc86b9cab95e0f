// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was measured, as Markdown: what is demanded in one table, then all figures.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use crate::machine;
use crate::measure::{Contestant, Figures};

/// Collects the results of benches.
#[derive(Debug)]
pub(crate) struct Report {
    machine: String,
    bars: Vec<Bar>,
    sections: String,
}

/// One demand, and what became of it.
#[derive(Debug)]
struct Bar {
    what: String,
    measured: String,
    limit: String,
    is_met: bool,
}

/// A demand on our time beside that of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    /// The name of the other.
    pub(crate) other: &'a str,
    /// How much of the other's CPU time ours may be.
    pub(crate) cpu: Option<f64>,
    /// How much of the time that the other takes ours may be.
    pub(crate) wall: Option<f64>,
}

impl Report {
    /// A report of this machine, as it is before all benches.
    pub(crate) fn new() -> Self {
        Self {
            machine: machine::describe(),
            bars: Vec::new(),
            sections: String::new(),
        }
    }

    /// Begins the section of a bench.
    pub(crate) fn section(&mut self, title: &str) {
        let _ = write!(self.sections, "\n### {title}\n\n");
    }

    /// Adds a line, Markdown, to the section.
    pub(crate) fn line(&mut self, text: impl Display) {
        let _ = writeln!(self.sections, "{text}");
    }

    /// Adds a table.
    pub(crate) fn table<const N: usize>(
        &mut self,
        head: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        self.line(row(&head));
        // Names on the left, figures on the right.
        let lines = (0..N).map(|column| if column == 0 { "---" } else { "---:" });
        self.line(row(&lines.collect::<Vec<_>>()));
        for cells in rows {
            self.line(row(&cells));
        }
        self.line("");
    }

    /// Adds a demand.
    pub(crate) fn bar(
        &mut self,
        what: impl Into<String>,
        measured: impl Display,
        limit: impl Display,
        is_met: bool,
    ) {
        self.bars.push(Bar {
            what: what.into(),
            measured: measured.to_string(),
            limit: limit.to_string(),
            is_met,
        });
    }

    /// Adds a demand that something be at most so many times something else.
    pub(crate) fn ratio_bar(&mut self, what: impl Into<String>, measured: f64, at_most: f64) {
        self.bar(
            what,
            format_args!("{measured:.2}x"),
            format_args!("{at_most:.2}x"),
            measured <= at_most,
        );
    }

    /// Adds a table of times, ours the first, and the demands on it.
    pub(crate) fn times(
        &mut self,
        what: &str,
        contestants: &[Contestant<'_>],
        limits: &[Limit<'_>],
    ) {
        let Some((ours, others)) = contestants.split_first() else {
            return;
        };
        let ours = ours.figures();
        let ratio = |ours: Duration, other: Duration| ours.as_secs_f64() / other.as_secs_f64();
        let rows: Vec<_> = contestants
            .iter()
            .map(|contestant| {
                let figures = contestant.figures();
                let Figures {
                    user,
                    system,
                    cpu,
                    least_cpu,
                    wall,
                } = figures;
                let [user, system, all, least, time] = [user, system, cpu, least_cpu, wall].map(ms);
                let our_cpu = format!("{:.2}x", ratio(ours.cpu, cpu));
                let our_wall = format!("{:.2}x", ratio(ours.wall, wall));
                let name = contestant.name.clone();
                [name, user, system, all, least, time, our_cpu, our_wall]
            })
            .collect();
        let head = [
            "what",
            "user ms",
            "system ms",
            "CPU ms",
            "least CPU",
            "wall ms",
            "our CPU",
            "our wall",
        ];
        self.table(head, rows);
        for Limit { other, cpu, wall } in limits {
            let Some(contestant) = others.iter().find(|found| found.name == *other) else {
                self.bar(format!("{what}, beside {other}"), "not there", "-", false);
                continue;
            };
            let figures = contestant.figures();
            if let Some(at_most) = cpu {
                let measured = ratio(ours.cpu, figures.cpu);
                self.ratio_bar(format!("{what}: CPU of {other}"), measured, *at_most);
            }
            if let Some(at_most) = wall {
                let measured = ratio(ours.wall, figures.wall);
                self.ratio_bar(format!("{what}: wall of {other}"), measured, *at_most);
            }
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### Machine\n\n{}", self.machine)?;
        if !self.bars.is_empty() {
            writeln!(f, "\n### What is demanded\n")?;
            writeln!(f, "| what | measured | at most | |\n|---|---:|---:|---|")?;
        }
        for bar in &self.bars {
            let Bar {
                what,
                measured,
                limit,
                is_met,
            } = bar;
            let verdict = if *is_met { "met" } else { "**MISSED**" };
            writeln!(f, "| {what} | {measured} | {limit} | {verdict} |")?;
        }
        f.write_str(&self.sections)
    }
}

fn row(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |", cells.join(" | "))
}

/// Milliseconds, with one decimal.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
