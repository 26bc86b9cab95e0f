// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `sealroot status` prints.

use std::fmt;
use std::io::{self, Write};

use sealroot::entry::EntryOption;
use serde::Serialize;

use super::floor::FloorStatus;

use crate::output::{Report, printable};
use crate::sealing::ReasonReport;

#[derive(Serialize)]
pub(super) struct StatusReport {
    pub(super) sealed: bool,
    pub(super) not_sealed_because: Vec<ReasonReport>,
    /// What is good to know and does not speak against it.
    pub(super) notes: Vec<ReasonReport>,
    /// `legacy`, `dual`, `sealed`; null where no boot entries were found.
    pub(super) migration: Option<&'static str>,
    pub(super) booted: Option<serde_json::Value>,
    /// What this boot was held against; null where it does not say.
    pub(super) floor: Option<FloorStatus>,
    pub(super) boot_entries: BootReport,
    pub(super) keyset: Option<String>,
    pub(super) releases: Vec<ReleaseReport>,
    pub(super) deployments: Vec<DeploymentReport>,
}

/// Where the boot entries are.
#[derive(Serialize)]
pub(super) struct BootReport {
    pub(super) location: Option<String>,
    pub(super) loader: Option<&'static str>,
    /// Why they are not known.
    pub(super) problem: Option<String>,
    /// The file of the entry that boots by default.
    pub(super) default: Option<String>,
    /// Why that is not one of ours, though there are some.
    pub(super) default_is_not_ours_because: Option<String>,
    /// Whether the entries are known, and none of them boots a deployment of ours.
    pub(super) none_is_ours: bool,
}

#[derive(Clone, Serialize)]
pub(super) struct ReleaseReport {
    pub(super) commit: String,
    pub(super) stream: String,
    /// `signed`, `unsigned`, `refused` or, without a keyset, `unknown`.
    pub(super) state: &'static str,
    /// The same in words.
    pub(super) signatures: String,
    /// Key ids, if it is signed.
    pub(super) signers: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct DeploymentReport {
    pub(super) name: String,
    pub(super) os: Option<String>,
    pub(super) version: Option<String>,
    pub(super) index: Option<u64>,
    pub(super) stream: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) etc: Option<&'static str>,
    pub(super) stateroot: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) pack: Option<String>,
    pub(super) deployed: Option<u64>,
    pub(super) is_booted: bool,
    /// `booted`, `default`, `rollback`, `entry`, `pinned`, `staged`, `mounted`.
    pub(super) states: Vec<&'static str>,
    pub(super) kernel_arguments: Option<String>,
    /// Null where no firmware starts it by itself.
    pub(super) load_option: Option<LoadOptionReport>,
    /// As of its release.
    pub(super) signatures: Option<&'static str>,
    /// Key ids, if its release is signed.
    pub(super) signers: Vec<String>,
    /// Why the record cannot be read.
    pub(super) problem: Option<String>,
}

/// The load option by which firmware starts a deployment.
#[derive(Serialize)]
pub(super) struct LoadOptionReport {
    /// `Boot####`.
    name: String,
    /// Whether it is started the next time, and only then.
    is_next: bool,
    /// Its place in `BootOrder`, from 0.
    position: Option<usize>,
}

impl LoadOptionReport {
    pub(super) fn new(option: EntryOption) -> Self {
        Self {
            name: format!("Boot{:04X}", option.number),
            is_next: option.is_next,
            position: option.position,
        }
    }
}

impl fmt::Display for LoadOptionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match self.position {
            Some(position) => write!(f, ", place {} of the boot order", position + 1)?,
            None => write!(f, ", not in the boot order")?,
        }
        if self.is_next {
            write!(f, ", once the next time")?;
        }
        Ok(())
    }
}

/// Digits of a commit that people see in the table.
const SHORT_DIGITS: usize = 12;

const HEAD: [&str; 8] = [
    "deployment",
    "os",
    "version",
    "index",
    "mode",
    "stateroot",
    "state",
    "signatures",
];

impl DeploymentReport {
    /// Enough of the name for people, and for other commands.
    fn short_name(&self) -> String {
        match self.name.split_once('.') {
            Some((commit, serial)) => {
                format!("{}.{serial}", commit.get(..SHORT_DIGITS).unwrap_or(commit))
            }
            None => self.name.clone(),
        }
    }

    fn row(&self) -> [String; 8] {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let states = if self.states.is_empty() {
            "unused".to_owned()
        } else {
            self.states.join(",")
        };
        [
            self.short_name(),
            text(&self.os),
            text(&self.version),
            text(&self.index.map(|index| index.to_string())),
            text(&self.mode),
            text(&self.stateroot),
            states,
            self.signatures.unwrap_or("-").to_owned(),
        ]
    }
}

impl Report for StatusReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.sealed {
            writeln!(out, "SEALED")?;
        } else {
            writeln!(out, "NOT SEALED:")?;
        }
        for reason in &self.not_sealed_because {
            reason.write_text(out)?;
        }
        if !self.notes.is_empty() {
            writeln!(out, "to know:")?;
        }
        for note in &self.notes {
            note.write_text(out)?;
        }
        let etc = (self.booted.as_ref()).and_then(|booted| booted.get("etc")?.as_str());
        if let Some(mode) = etc {
            writeln!(out, "etc {}", printable(mode))?;
        }
        if let Some(floor) = &self.floor {
            floor.write_text(out)?;
        }
        match (&self.migration, &self.boot_entries.problem) {
            (Some(state), _) => writeln!(out, "migration: {state}")?,
            (None, Some(problem)) => writeln!(out, "what boots is not known: {problem}")?,
            (None, None) => {}
        }
        let boot = &self.boot_entries;
        if let (Some(default), Some(reason)) = (&boot.default, &boot.default_is_not_ours_because) {
            let (default, reason) = (printable(default), printable(reason));
            writeln!(out, "boots by default: {default} ({reason})")?;
        }
        if boot.none_is_ours && !self.deployments.is_empty() {
            writeln!(
                out,
                "no boot entry is sealroot's, perhaps because OSTree has written its own anew: \
                 `sealroot deploy COMMIT` makes one"
            )?;
        }
        writeln!(
            out,
            "\ndeployments:{}",
            none_if(self.deployments.is_empty())
        )?;
        self.write_table(out)?;
        for deployment in &self.deployments {
            let name = deployment.short_name();
            if let Some(arguments) = &deployment.kernel_arguments {
                writeln!(out, "  {name} kernel arguments: {}", printable(arguments))?;
            }
            if let Some(option) = &deployment.load_option {
                writeln!(out, "  {name} firmware: {option}")?;
            }
            if let Some(problem) = &deployment.problem {
                writeln!(out, "  {name} DAMAGED: {problem}")?;
            }
        }
        writeln!(out, "\nreleases:{}", none_if(self.releases.is_empty()))?;
        for ReleaseReport {
            commit,
            stream,
            signatures,
            signers,
            ..
        } in &self.releases
        {
            write!(out, "  {commit} {stream}: {signatures}")?;
            if signers.is_empty() {
                writeln!(out)?;
            } else {
                writeln!(out, " ({})", signers.join(", "))?;
            }
        }
        Ok(())
    }
}

impl StatusReport {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.deployments.is_empty() {
            return Ok(());
        }
        let head = (' ', HEAD.map(str::to_owned));
        let rows = self.deployments.iter().map(|deployment| {
            let mark = if deployment.is_booted { '*' } else { ' ' };
            (mark, deployment.row())
        });
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|(_, row)| row[column].len()).max();
        let widths: Vec<usize> = (0..HEAD.len()).filter_map(width).collect();
        for (mark, row) in &rows {
            let padded = |(cell, width): (&String, &usize)| format!("{cell:width$}");
            let cells: Vec<_> = row.iter().zip(&widths).map(padded).collect();
            writeln!(out, "{mark} {}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

const fn none_if(is_empty: bool) -> &'static str {
    if is_empty { " none" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_option_says_when_it_is_started() {
        let shown = |is_next, position| {
            let number = 0x2a;
            let option = EntryOption {
                number,
                is_next,
                position,
            };
            LoadOptionReport::new(option).to_string()
        };
        assert_eq!(shown(false, Some(0)), "Boot002A, place 1 of the boot order");
        assert_eq!(
            shown(true, None),
            "Boot002A, not in the boot order, once the next time"
        );
    }
}
