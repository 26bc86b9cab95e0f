// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot mount`

use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use clap::Args;
use sealroot::mount::{self, Source};
use sealroot::store::VeritySupport;
use serde::Serialize;

use crate::args::Common;
use crate::files;
use crate::machine::RunArgs;
use crate::name::AnyName;
use crate::output::{Output, Report};
use crate::target::TargetArgs;

/// Mount a pack read-only, for a look.
///
/// Shows what a machine would boot: the pack's names and small files joined with the store's
/// objects, without devices and setuid rights. The kernel verifies every file that is opened where
/// the store has fs-verity; where not, nothing does, and a warning says so. Needs root rights.
///
/// `umount MOUNTPOINT` takes it away again.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Mount {
    #[command(flatten)]
    target: TargetArgs,

    /// The directory to mount on.
    #[arg(value_name = "MOUNTPOINT")]
    place: PathBuf,

    #[command(flatten)]
    run: RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --keyset vendor.keyset mount COMMIT /mnt
  sealroot mount COMMIT.0 /mnt                    # a deployment
  sealroot --store ./store mount tree.pack /mnt
  umount /mnt";

#[derive(Serialize)]
struct Mounted {
    mountpoint: AnyName,
    /// Whether the kernel verifies what is read.
    is_verified: bool,
}

impl Report for Mounted {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let place = &self.mountpoint;
        writeln!(out, "mounted on {place}; `umount {place}` takes it away")
    }
}

impl Mount {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        files::expect_directory(&self.place, "the mountpoint", "a directory")?;
        let store = common.open_store()?;
        let target = self.target.find(common)?;
        let (pack, digest) = target.open(common, &store)?;
        let source = Source {
            pack: pack.as_fd(),
            digest,
            deployment: target.deployment(),
        };
        mount::mount(&store, &self.run.runtime(), &source, &self.place)?;
        let is_verified = store.verity() == VeritySupport::Kernel;
        if !is_verified {
            output.warn(&format!(
                "the store in {} has no fs-verity: nothing verifies what is read here",
                store.location().display()
            ));
        }
        output.emit(&Mounted {
            mountpoint: self.place.as_path().into(),
            is_verified,
        })
    }
}
