// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot deploy`

use std::fmt;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use sealroot::deploy::{self, Request};
use sealroot::{machine, release};
use sealroot_format::policy::Mode;
use sealroot_format::sign::{Name, Word};
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::{EntryArgs, EntryReport};
use crate::commit::CommitPrefix;
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::time;

/// Make a signed release of the store bootable.
///
/// Verifies the release, measures all its objects and links them into a directory of their own,
/// so that nothing that happens to other releases concerns it. Costs no space but for the links.
///
/// With --initramfs it is made the default of the boot loader as well: the kernel is that of the
/// release. Only when all is durable, one new boot entry makes the change; kernel arguments are
/// those of the default so far.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Deploy {
    /// The commit, as `build` printed it; its first digits do.
    #[arg(value_name = "COMMIT")]
    commit: CommitPrefix,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    /// What the machine will enforce at boot.
    #[arg(long, value_enum, default_value_t = ModeChoice::Verity)]
    mode: ModeChoice,

    /// Where the release came from, for people: a URL or a path, say. Printable ASCII without
    /// spaces, at most 255 characters.
    #[arg(long, value_name = "WORD")]
    origin: Option<Word>,

    /// The stateroot it is for: its /var is made in the sysroot where it is missing.
    #[arg(long, value_name = "NAME")]
    stateroot: Option<Name>,

    #[command(flatten)]
    entry: EntryArgs,
}

const EXAMPLES: &str = "\
Example:
  sealroot --sysroot /mnt --keyset vendor.keyset deploy COMMIT

It prints the deployment's name; the kernel command line then says which one to boot:
  sealroot=<commit>.<serial>

With an initramfs it becomes what boots next; what runs now stays as the way back:
  sealroot deploy COMMIT --initramfs initramfs.img --karg quiet";

/// The boot modes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeChoice {
    /// Everything enforced, Secure Boot demanded, /var without programs.
    Sealed,
    /// The kernel verifies every file; the boot chain is not ours to judge.
    Verity,
    /// For filesystems without fs-verity: every object is hashed at each boot.
    Integrity,
}

impl From<ModeChoice> for Mode {
    fn from(choice: ModeChoice) -> Self {
        match choice {
            ModeChoice::Sealed => Self::Sealed,
            ModeChoice::Verity => Self::Verity,
            ModeChoice::Integrity => Self::Integrity,
        }
    }
}

impl From<Mode> for ModeChoice {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Sealed => Self::Sealed,
            Mode::Verity => Self::Verity,
            Mode::Integrity => Self::Integrity,
        }
    }
}

impl fmt::Display for ModeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "sealed",
            Self::Verity => "verity",
            Self::Integrity => "integrity",
        })
    }
}

#[derive(Serialize)]
struct DeployedReport {
    deployment: String,
    commit: String,
    serial: u32,
    karg: String,
    is_reused: bool,
    /// The boot entry, where one was made.
    entry: Option<EntryReport>,
    /// Why none was.
    no_entry_because: Option<String>,
}

impl Report for DeployedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let was = if self.is_reused {
            "was deployed already as"
        } else {
            "deployed as"
        };
        writeln!(out, "{was} {}", self.deployment)?;
        match &self.entry {
            Some(entry) => entry.write_text(out)?,
            None => writeln!(out, "boot it with {}", self.karg)?,
        }
        match &self.no_entry_because {
            Some(reason) => writeln!(out, "no boot entry was made: {reason}"),
            None => Ok(()),
        }
    }
}

impl Deploy {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let keyset = common.trusted_keyset()?;
        let place = self.entry.find(common)?;
        if let (Some(stateroot), None) = (&self.stateroot, &common.store) {
            machine::make_stateroot(&common.sysroot, stateroot)?;
        }
        let progress = Progress::new(output);
        let transaction = store.begin(&progress)?;
        let stream = self.stream.as_ref();
        let commit = self.commit.find(&store)?;
        let statement = release::verify_statement(&store, &keyset, commit, stream)?;
        let tree = release::check_pack(&store, &statement)?;
        let request = Request {
            statement: &statement,
            mode: self.mode.into(),
            origin: self.origin.clone(),
            stateroot: self.stateroot.clone(),
            etc: None,
            now: time::now(),
        };
        let deployed = deploy::deploy(&transaction, &request, release::objects(&tree))?;
        let name = deployed.name;
        let entry = self
            .entry
            .make(&transaction, &place, &statement, &tree, name)?;
        transaction.finish()?;
        drop(progress);
        output.emit(&DeployedReport {
            deployment: name.to_string(),
            commit: name.commit.to_string(),
            serial: name.serial,
            karg: format!("sealroot={name}"),
            is_reused: deployed.is_reused,
            no_entry_because: match entry {
                Some(_) => None,
                None => self.entry.reason(&place),
            },
            entry,
        })
    }
}
