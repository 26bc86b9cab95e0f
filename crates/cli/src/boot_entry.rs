// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot entry of a new deployment: its kernel, initramfs and arguments.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use sealroot::entry::{Added, Entry, Files, KernelArguments, NewEntry};
use sealroot::machine::{self, Runtime};
use sealroot::release;
use sealroot::store::{Store, Transaction};
use sealroot_format::ErrorClass;
use sealroot_format::erofs::ReadAt;
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::Statement;
use sealroot_format::tree::{FileContent, Kind, Tree};
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::machine::{BootArgs, BootPlace};
use crate::output::Report;

/// What a new deployment boots with.
#[derive(Debug, Args)]
pub(crate) struct EntryArgs {
    /// Make it the default of the boot loader, with this initramfs (`sealroot initramfs`).
    #[arg(long, value_name = "FILE")]
    initramfs: Option<PathBuf>,

    /// Make no boot entry, and say nothing of it.
    #[arg(long, conflicts_with_all = ["initramfs", "kargs", "tries"])]
    no_entry: bool,

    /// Add kernel arguments to those of the default so far. May be given again.
    #[arg(long = "karg", value_name = "ARG", requires = "initramfs")]
    kargs: Vec<String>,

    /// Let the boot loader try it that often; if it was not blessed by then, the entry before it
    /// boots again. Only systemd-boot counts.
    #[arg(long, value_name = "N", requires = "initramfs")]
    tries: Option<u32>,

    #[command(flatten)]
    boot: BootArgs,
}

/// A boot entry that was made.
#[derive(Serialize)]
pub(crate) struct EntryReport {
    deployment: String,
    /// The name of its file, without counters.
    entry: String,
    kernel_arguments: String,
    is_reused: bool,
    removed: Vec<String>,
}

impl EntryReport {
    pub(crate) fn new(added: &Added) -> Self {
        Self {
            deployment: added.entry.text.deployment.to_string(),
            entry: added.entry.id.to_string(),
            kernel_arguments: added.entry.text.arguments.to_string(),
            is_reused: added.is_reused,
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
            deployment,
            entry,
            kernel_arguments,
            ..
        } = self;
        writeln!(
            out,
            "{deployment} boots next: entry {entry}, arguments {kernel_arguments:?}"
        )
    }
}

impl EntryArgs {
    /// Finds the boot partition; it must be there if an entry is wanted.
    pub(crate) fn find(&self, common: &Common) -> anyhow::Result<BootPlace> {
        let place = self.boot.find(common)?;
        match (&self.initramfs, place.reason()) {
            (Some(_), Some(reason)) => {
                let message = format!("no boot entry can be made: {reason}");
                Err(Failure::new(ErrorClass::NotFound, message)
                    .hint("name the boot partition with --boot DIR and --boot-loader NAME")
                    .into())
            }
            _ => Ok(place),
        }
    }

    /// Why no entry was made, if that is worth a line.
    pub(crate) fn reason(&self, place: &BootPlace) -> Option<String> {
        if self.no_entry {
            return None;
        }
        let reason = place.reason().map(str::to_owned);
        Some(reason.unwrap_or_else(|| "no --initramfs was named".to_owned()))
    }

    /// Makes the entry, if one is wanted.
    pub(crate) fn make(
        &self,
        transaction: &Transaction<'_>,
        place: &BootPlace,
        statement: &Statement,
        tree: &Tree,
        deployment: DeploymentName,
    ) -> anyhow::Result<Option<EntryReport>> {
        let (Some(initramfs), Some(boot)) = (&self.initramfs, place.found()) else {
            return Ok(None);
        };
        let initrd = File::open(initramfs)
            .with_context(|| format!("cannot read {}", initramfs.display()))?;
        let linux = kernel(transaction.store(), statement, tree)?;
        let entries = boot.entries()?;
        let before = entries.default_entry().and_then(Entry::ours);
        let mut arguments =
            before.map_or_else(KernelArguments::default, |ours| ours.text.arguments.clone());
        for argument in &self.kargs {
            if !arguments.contains(argument) {
                arguments.append(argument)?;
            }
        }
        let new = NewEntry {
            deployment,
            title: title(statement, &deployment),
            arguments,
            files: Files::Content {
                linux: &*linux,
                initrd: &initrd,
            },
            tries: self.tries,
        };
        let runtime: Runtime = self.boot.runtime();
        let added = machine::make_default(transaction, &runtime, boot, &new)?;
        Ok(Some(EntryReport::new(&added)))
    }
}

/// What people see in the menu.
fn title(statement: &Statement, deployment: &DeploymentName) -> String {
    let version = match &statement.version {
        Some(version) => version.to_string(),
        None => statement.index.to_string(),
    };
    let commit = deployment.commit.to_hex();
    let commit = commit.get(..8).unwrap_or_default();
    let mut title = format!(
        "{} {version} ({}, {commit}.{})",
        statement.os, statement.stream, deployment.serial
    );
    if title.len() > sealroot_format::limits::MAX_BOOT_TITLE_BYTES {
        title = format!("{} ({commit}.{})", statement.os, deployment.serial);
    }
    title
}

/// The kernel of a release.
fn kernel<'s>(
    store: &'s Store,
    statement: &Statement,
    tree: &Tree,
) -> anyhow::Result<Box<dyn ReadAt + 's>> {
    let Some(release) = &statement.kernel else {
        let message = "the release names no kernel, so there is none to boot";
        return Err(Failure::new(ErrorClass::NotFound, message)
            .hint("`build` finds it in usr/lib/modules/<kernel>/vmlinuz of the tree")
            .into());
    };
    let path = format!("usr/lib/modules/{release}/vmlinuz");
    let inode = tree.lookup(path.split('/').map(str::as_bytes));
    match inode.map(|id| &tree.inode(id).kind) {
        Some(Kind::Regular(FileContent::Inline(content))) => Ok(Box::new(content.read()?)),
        Some(Kind::Regular(FileContent::External { digest, size_bytes })) => Ok(Box::new(
            release::open_verified_object(store, digest, *size_bytes)?,
        )),
        _ => {
            let message = format!("the release has no regular file {path}");
            Err(Failure::new(ErrorClass::NotFound, message)
                .hint("the kernel must be in the tree that is built")
                .into())
        }
    }
}
