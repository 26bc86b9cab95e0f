// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release that came into the store, as it is told.

use std::io::{self, Write};

use sealroot_format::sign::Statement;
use serde::Serialize;

/// Which release.
#[derive(Serialize)]
pub(crate) struct ReleaseReport {
    commit: String,
    os: String,
    stream: String,
    version: Option<String>,
    index: u64,
}

impl ReleaseReport {
    pub(crate) fn new(statement: &Statement) -> Self {
        Self {
            commit: statement.commit.to_string(),
            os: statement.os.to_string(),
            stream: statement.stream.to_string(),
            version: statement.version.as_ref().map(ToString::to_string),
            index: statement.index,
        }
    }

    /// The line that a report of it begins with.
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            commit,
            os,
            stream,
            index,
            ..
        } = self;
        let version = self.version.as_deref().unwrap_or("-");
        writeln!(out, "{commit} {os} {stream} {version} (index {index})")
    }
}
