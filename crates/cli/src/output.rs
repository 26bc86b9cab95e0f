// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results on standard output: text for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// What a command found out or did.
pub(crate) trait Report: Serialize {
    /// Writes it for a person.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Where results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints `report` in the chosen form.
    pub(crate) fn emit(self, report: &impl Report) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        } else {
            report.write_text(&mut out)?;
        }
        out.flush()?;
        Ok(())
    }
}
