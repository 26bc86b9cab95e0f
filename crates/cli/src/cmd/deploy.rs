// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot deploy`

use std::fmt;

use clap::{Args, ValueEnum};
use sealroot::release;
use sealroot_format::policy::Mode;
use sealroot_format::sign::Name;

use crate::args::Common;
use crate::boot_entry::DeployArgs;
use crate::commit::CommitPrefix;
use crate::output::Output;

/// Make a signed release of the store bootable.
///
/// Verifies the release, measures all its objects and links them into a directory of their own,
/// so that nothing that happens to other releases concerns it. Costs no space but for the links. In
/// a store without fs-verity, measuring is no more than a look at names and sizes: there the boot
/// hashes all objects, and `check --full` does it before.
///
/// Where a boot loader that reads boot entries is found, it becomes what boots next: with the
/// release's kernel, the kernel arguments and the /var of what booted so far, and an /etc that is
/// merged or not. The initramfs is the release's own if it carries the boot program; otherwise one is
/// made here. Only when all is durable, one new boot entry makes the change.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Deploy {
    /// The commit, as `build` printed it; its first digits do.
    #[arg(value_name = "COMMIT")]
    commit: CommitPrefix,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    #[command(flatten)]
    how: DeployArgs,
}

const EXAMPLES: &str = "\
Example:
  sealroot --sysroot /mnt --keyset vendor.keyset deploy COMMIT

It prints the deployment's name; the kernel command line then says which one to boot:
  sealroot=<commit>.<serial>

On a machine it becomes what boots next; what runs now stays as the way back:
  sealroot deploy COMMIT && reboot
  sealroot deploy COMMIT --stage                  # merges the last changes to /etc too
  sealroot deploy COMMIT --tries 3                # systemd-boot: back by itself if it fails";

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

impl Deploy {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let deployed = self.how.deploy(common, output, None, |store, keyset| {
            let (commit, stream) = (self.commit.find(store)?, self.stream.as_ref());
            Ok(release::verify_statement(store, keyset, commit, stream)?)
        })?;
        output.emit(&deployed)
    }
}
