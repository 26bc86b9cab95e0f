// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress on the terminal.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use sealroot::monitor::{Monitor, Unit};

use crate::output::Output;

/// A bar on standard error where that is a terminal; warnings always.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Mutex<Option<ProgressBar>>,
    visible: bool,
    output: Output,
}

impl Progress {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            bar: Mutex::new(None),
            visible: io::stderr().is_terminal(),
            output,
        }
    }

    fn with_bar(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self
            .bar
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.with_bar(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }
}

impl Monitor for Progress {
    fn start(&self, phase: &'static str, unit: Unit, total: Option<u64>) {
        if !self.visible {
            return;
        }
        let template = match (unit, total) {
            (Unit::Bytes, Some(_)) => "{msg:20} [{bar:30}] {bytes}/{total_bytes} {eta}",
            (Unit::Bytes, None) => "{msg:20} {spinner} {bytes} {bytes_per_sec}",
            (Unit::Items, Some(_)) => "{msg:20} [{bar:30}] {pos}/{len} {eta}",
            (Unit::Items, None) => "{msg:20} {spinner} {pos}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates are constant");
        let new = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        new.set_style(style);
        new.set_message(phase);
        self.with_bar(|bar| {
            if let Some(old) = bar.replace(new) {
                old.finish_and_clear();
            }
        });
    }

    fn advance(&self, units: u64) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.inc(units);
            }
        });
    }

    fn warn(&self, message: String) {
        self.with_bar(|bar| {
            let print = || self.output.warn(&message);
            match bar {
                Some(bar) => bar.suspend(print),
                None => print(),
            }
        });
    }
}
