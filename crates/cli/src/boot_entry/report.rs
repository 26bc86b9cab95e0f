// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said of a deployment and of what boots it.

use std::io::{self, Write};

use sealroot::entry::{Added, Loader, Origin};
use sealroot::etc::Merged;
use serde::Serialize;

use crate::output::{Report, counted, printable};

/// A boot entry that was made.
#[derive(Serialize)]
pub(crate) struct EntryReport {
    deployment: String,
    /// The name of its file, without counters.
    entry: String,
    /// Null where an image has them inside.
    kernel_arguments: Option<String>,
    is_reused: bool,
    /// Whether it is given up unless `bless` declares it good.
    is_counted: bool,
    removed: Vec<String>,
    boots_next: bool,
    /// The file of the entry that boots by default, where it is not this one.
    boots_instead: Option<String>,
    #[serde(skip)]
    loader: Loader,
}

impl EntryReport {
    pub(crate) fn new(added: &Added, loader: Loader) -> Self {
        Self {
            boots_next: added.boots_instead.is_none(),
            boots_instead: added.boots_instead.clone(),
            loader,
            deployment: added.entry.text.deployment.to_string(),
            entry: added.entry.id.to_string(),
            kernel_arguments: (added.entry.text.starts.arguments()).map(ToString::to_string),
            is_reused: added.is_reused,
            is_counted: added.is_counted,
            removed: added.removed.entries.clone(),
        }
    }
}

impl Report for EntryReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.removed {
            writeln!(out, "removed the boot entry {entry}")?;
        }
        let Self {
            deployment, entry, ..
        } = self;
        let with = match &self.kernel_arguments {
            Some(arguments) => format!("arguments {arguments:?}"),
            None => "a unified kernel image".into(),
        };
        let Some(instead) = &self.boots_instead else {
            writeln!(out, "{deployment} boots next: entry {entry}, {with}")?;
            if self.loader == Loader::Firmware && self.is_counted {
                writeln!(
                    out,
                    "the firmware starts it once: what booted so far comes back unless `sealroot \
                     bless` runs in it"
                )?;
            }
            return Ok(());
        };
        writeln!(out, "{deployment} has the entry {entry}, {with}")?;
        let instead = printable(instead);
        let or = match self.loader {
            Loader::SystemdBoot => ", or say `default sealroot-*` in loader/loader.conf",
            Loader::Grub | Loader::GrubFedora | Loader::Firmware => "",
        };
        writeln!(
            out,
            "it does NOT boot next: the menu's default stays {instead}, which the boot loader puts \
             before it; remove or rename {instead}{or}"
        )
    }
}

/// What became of the changes to `/etc`.
#[derive(Serialize)]
pub(crate) struct EtcReport {
    /// Where the new `/etc` is not the release's.
    kept: Vec<String>,
    /// Local sockets, fifos and devices that were left behind.
    left_behind: Vec<String>,
    /// New system users and groups that a kept file lacks.
    missing_accounts: Vec<MissingReport>,
}

#[derive(Serialize)]
struct MissingReport {
    /// `passwd` or `group`.
    file: &'static str,
    names: Vec<String>,
}

impl EtcReport {
    pub(super) fn new(merged: &Merged) -> Self {
        let path = |path: &[u8]| format!("/etc{}", path.escape_ascii());
        Self {
            kept: merged
                .decisions
                .iter()
                .map(|kept| path(&kept.path))
                .collect(),
            left_behind: merged.skipped.iter().map(|skipped| path(skipped)).collect(),
            missing_accounts: (merged.missing_accounts.iter())
                .map(|missing| MissingReport {
                    file: missing.file,
                    names: missing.names.clone(),
                })
                .collect(),
        }
    }
}

/// A deployment, and what it boots with.
#[derive(Serialize)]
pub(crate) struct DeployedReport {
    pub(crate) deployment: String,
    pub(crate) commit: String,
    pub(crate) serial: u32,
    pub(crate) karg: String,
    pub(crate) is_reused: bool,
    /// The boot entry, where one was made.
    pub(crate) entry: Option<EntryReport>,
    /// Why none was.
    pub(crate) no_entry_because: Option<String>,
    /// Whether it becomes what boots next when the machine goes down.
    pub(crate) is_staged: bool,
    /// `release`, `made`, or null where one was named or none is needed.
    pub(crate) initramfs: Option<&'static str>,
    /// Where the deployment keeps its own `/etc`.
    pub(crate) etc: Option<EtcReport>,
}

impl Report for DeployedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let was = if self.is_reused {
            "was deployed already as"
        } else {
            "deployed as"
        };
        writeln!(out, "{was} {}", self.deployment)?;
        if let Some(etc) = &self.etc {
            etc.write_text(out)?;
        }
        if self.initramfs == Some(MADE) {
            writeln!(
                out,
                "its initramfs is made on this machine: the release brings none with sealroot-boot"
            )?;
        }
        match (&self.entry, self.is_staged) {
            (_, true) => writeln!(out, "it boots next once the machine goes down in order")?,
            (Some(entry), _) => entry.write_text(out)?,
            (None, _) => writeln!(out, "boot it with {}", self.karg)?,
        }
        match &self.no_entry_because {
            Some(reason) => writeln!(out, "no boot entry was made: {reason}"),
            None => Ok(()),
        }
    }
}

const MADE: &str = "made";

pub(super) fn word(origin: &Origin) -> &'static str {
    match origin {
        Origin::Release => "release",
        Origin::Made { .. } => MADE,
    }
}

impl EtcReport {
    pub(crate) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for path in &self.left_behind {
            writeln!(
                out,
                "{path} was left behind: it is no file, directory or symlink"
            )?;
        }
        for MissingReport { file, names } in &self.missing_accounts {
            let names = names.join(", ");
            writeln!(
                out,
                "/etc/{file} is the local one and lacks what the release adds: {names}"
            )?;
        }
        writeln!(
            out,
            "/etc keeps {}",
            counted(self.kept.len() as u64, "local change")
        )
    }
}
