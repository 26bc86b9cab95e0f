// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress on standard error: a bar for people, lines of JSON for programs.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sealroot::monitor::{Monitor, Unit};
use serde::Serialize;
use serde_json::json;

use crate::output::{Output, tell};

/// How long it takes at least from one event about a stage to the next that only tells more of it.
const BETWEEN_EVENTS: Duration = Duration::from_millis(250);

/// A bar where standard error is a terminal, events where results are JSON; warnings always.
#[derive(Debug)]
pub(crate) struct Progress {
    stage: Mutex<Option<Stage>>,
    is_terminal: bool,
    output: Output,
}

/// A stage that is going on.
enum Stage {
    Bar(ProgressBar),
    Events(Events),
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

impl Progress {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            stage: Mutex::new(None),
            is_terminal: io::stderr().is_terminal(),
            output,
        }
    }

    fn with_stage(&self, act: impl FnOnce(&mut Option<Stage>)) {
        act(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Prints something else than a stage.
    fn print(&self, print: impl FnOnce()) {
        self.with_stage(|stage| match stage {
            Some(Stage::Bar(bar)) => bar.suspend(print),
            _ => print(),
        });
    }

    fn begin(&self, stage: &'static str, unit: Unit, total: Option<u64>) -> Option<Stage> {
        if self.output.is_json() {
            return Some(Stage::Events(Events::begin(stage, unit, total)));
        }
        self.is_terminal
            .then(|| Stage::Bar(bar(stage, unit, total)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.with_stage(end);
    }
}

impl Monitor for Progress {
    fn start(&self, phase: &'static str, unit: Unit, total: Option<u64>) {
        self.with_stage(|stage| {
            end(stage);
            *stage = self.begin(phase, unit, total);
        });
    }

    fn advance(&self, units: u64) {
        self.with_stage(|stage| match stage {
            Some(Stage::Bar(bar)) => bar.inc(units),
            Some(Stage::Events(events)) => events.advance(units),
            None => {}
        });
    }

    fn warn(&self, message: String) {
        self.print(|| self.output.warn(&message));
    }

    fn note(&self, message: String) {
        self.print(|| self.output.note(&message));
    }

    fn wait(&self, what: String) {
        let stage = format!("waiting: {what}");
        if self.output.is_json() {
            return tell(&json!({ "progress": "wait", "stage": stage }));
        }
        self.print(|| self.output.note(&stage));
    }
}

fn end(stage: &mut Option<Stage>) {
    match stage.take() {
        Some(Stage::Bar(bar)) => bar.finish_and_clear(),
        Some(Stage::Events(events)) => events.tell("end"),
        None => {}
    }
}

fn bar(stage: &'static str, unit: Unit, total: Option<u64>) -> ProgressBar {
    let template = match (unit, total) {
        (Unit::Bytes, Some(_)) => "{msg:20} [{bar:30}] {bytes}/{total_bytes} {eta}",
        (Unit::Bytes, None) => "{msg:20} {spinner} {bytes} {bytes_per_sec}",
        (Unit::Items, Some(_)) => "{msg:20} [{bar:30}] {pos}/{len} {eta}",
        (Unit::Items, None) => "{msg:20} {spinner} {pos}",
    };
    let style = ProgressStyle::with_template(template).expect("the templates are constant");
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_style(style);
    bar.set_message(stage);
    bar
}

/// Tells programs of one stage.
struct Events {
    stage: &'static str,
    unit: &'static str,
    done: u64,
    total: Option<u64>,
    told: Instant,
}

/// One line.
#[derive(Serialize)]
struct Event {
    /// `start`, `advance` or `end`.
    progress: &'static str,
    stage: &'static str,
    unit: &'static str,
    done: u64,
    total: Option<u64>,
}

impl Events {
    fn begin(stage: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let events = Self {
            stage,
            unit: match unit {
                Unit::Bytes => "bytes",
                Unit::Items => "items",
            },
            done: 0,
            total,
            told: Instant::now(),
        };
        events.tell("start");
        events
    }

    fn advance(&mut self, units: u64) {
        self.done = self.done.saturating_add(units);
        let now = Instant::now();
        if now.duration_since(self.told) >= BETWEEN_EVENTS {
            self.told = now;
            self.tell("advance");
        }
    }

    fn tell(&self, progress: &'static str) {
        tell(&Event {
            progress,
            stage: self.stage,
            unit: self.unit,
            done: self.done,
            total: self.total,
        });
    }
}
