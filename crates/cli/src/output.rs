// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results on standard output, warnings on standard error: text for people, JSON for programs.
//!
//! A reader who has seen enough and closes the pipe, as head(1) does, is no error.

use std::io::{self, BufWriter, StdoutLock, Write};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

/// What a command found out or did.
pub(crate) trait Report: Serialize {
    /// Writes it for a person.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// In which form results go out.
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
        stream(|out| {
            if self.json {
                serde_json::to_writer_pretty(&mut *out, report)?;
                writeln!(out)?;
            } else {
                report.write_text(out)?;
            }
            Ok(())
        })
    }

    /// Says on standard error what is good to know. Programs find it in the result.
    pub(crate) fn note(self, message: &str) {
        if !self.json {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(io::stderr(), "note: {}", printable(message));
        }
    }

    /// Says on standard error what does not stop the work.
    pub(crate) fn warn(self, message: &str) {
        if self.json {
            return tell(&json!({ "warning": message }));
        }
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr(), "warning: {}", printable(message));
    }
}

/// Tells programs something in a line of standard error.
pub(crate) fn tell(event: &impl Serialize) {
    let line = serde_json::to_string(event).expect("texts and numbers");
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

/// `text` in one line in which nothing steers a terminal: names of files that others chose stand
/// in it.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        let reorders = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if char.is_control() || reorders {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// Lets `write` print on standard output.
pub(crate) fn stream(
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(Stdout {
        lock: io::stdout().lock(),
        failure: None,
    });
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    let (Stdout { failure, .. }, _) = out.into_parts();
    match (written, failure) {
        (Err(_), Some(io::ErrorKind::BrokenPipe)) => Ok(()),
        (Err(error), Some(_)) => Err(error).context("cannot write to standard output"),
        (written, _) => written,
    }
}

/// Standard output that remembers how writing failed: the error itself may come back as part of
/// another.
struct Stdout {
    lock: StdoutLock<'static>,
    failure: Option<io::ErrorKind>,
}

impl Stdout {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.failure = Some(error.kind()))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.lock.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.lock.flush();
        self.note(flushed)
    }
}

/// A number and what it counts, as a person writes it.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = match (number, what.strip_suffix('y')) {
        (1, _) => return format!("1 {what}"),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{what}s"),
    };
    format!("{number} {plural}")
}
