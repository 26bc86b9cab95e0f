// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot uki install`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use sealroot::entry::Loader;
use sealroot::uki;
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::machine::BootArgs;
use crate::output::{Output, Report};
use crate::progress::Progress;

pub(super) const EXAMPLES: &str = "\
Example:
  sealroot uki install repair.efi";

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The image, as `uki build --repair` makes it.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    #[command(flatten)]
    boot: BootArgs,
}

#[derive(Serialize)]
struct Installed {
    /// The image's path on the boot partition.
    path: String,
    is_changed: bool,
}

impl Report for Installed {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let what = if self.is_changed {
            "is now"
        } else {
            "was there already:"
        };
        writeln!(out, "the image for repairs {what} {}", self.path)
    }
}

impl Install {
    pub(super) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let image = super::read_image(&self.image)?;
        if !uki::read(&image)?.repairs {
            let message = format!("{} boots a release", self.image.display());
            return Err(Failure::new(ErrorClass::Usage, message)
                .hint("`deploy --uki` installs it; `uki build --repair` makes an image for repairs")
                .into());
        }
        let store = common.open_store_for_change()?;
        let boot = self.boot.require_for_change(common)?;
        let progress = Progress::new(output);
        // Nobody else changes the partition meanwhile.
        let transaction = store.begin(&progress)?;
        let installed = boot.put_repair_image(&image)?;
        transaction.finish()?;
        drop(progress);
        if boot.loader() == Loader::Firmware {
            output.warn(&format!(
                "the firmware shows no images: choose {} in its own menu, or in its shell",
                installed.path
            ));
        }
        output.emit(&Installed {
            path: installed.path,
            is_changed: installed.is_changed,
        })
    }
}
