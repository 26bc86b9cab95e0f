// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot unpack`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use sealroot::store::Store;
use sealroot::unpack;
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;
use crate::files;
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::target::{Target, TargetArgs};

/// Write a pack's tree out as plain files.
///
/// With all that a tree says: owners, modes, times, extended attributes, hardlinks, device nodes.
/// Large files are taken from the store's objects, each verified on the way. Needs root rights.
///
/// A new directory appears when it is complete; until then it is called DIR.partial.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Unpack {
    #[command(flatten)]
    target: TargetArgs,

    /// Where to: a new or an empty directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --sysroot /mnt --keyset vendor.keyset unpack COMMIT ./tree
  sealroot --store ./store unpack tree.pack ./tree";

#[derive(Serialize)]
struct UnpackedReport {
    directory: AnyName,
    entries: u64,
    content_bytes: u64,
}

impl Report for UnpackedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let directory = &self.directory;
        writeln!(
            out,
            "{directory}: {}, {} in files",
            counted(self.entries, "entry"),
            counted(self.content_bytes, "byte")
        )
    }
}

impl Unpack {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let expected = "a new or an empty directory";
        files::expect_directory(&self.directory, "the destination", expected)?;
        let target = self.target.find(common)?;
        let tree = target.tree(common)?;
        let store = store_for(&target, common)?;
        let unpacked = {
            let progress = Progress::new(output);
            unpack::unpack(&tree, store.as_ref(), &self.directory, &progress)?
        };
        output.emit(&UnpackedReport {
            directory: self.directory.as_path().into(),
            entries: unpacked.entries,
            content_bytes: unpacked.content_bytes,
        })
    }
}

/// The store; the pack in a file may do without.
fn store_for(target: &Target, common: &Common) -> anyhow::Result<Option<Store>> {
    match common.open_store() {
        Ok(store) => Ok(Some(store)),
        Err(error)
            if error.class() == ErrorClass::NotFound && matches!(target, Target::File(_)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
