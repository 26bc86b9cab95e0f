// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot cat`

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::Context as _;
use clap::Args;
use sealroot::release;
use sealroot_format::ErrorClass;
use sealroot_format::pack::{Entry, EntryKind};

use crate::args::Common;
use crate::failure::Failure;
use crate::output;
use crate::target::{self, AnyPack, TargetArgs};

/// How much of a file is in memory at a time, bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// Print a file of a pack.
///
/// A large file is read from the store's objects and verified before the first byte is printed.
/// The content is printed as it is; there is no JSON of it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Cat {
    #[command(flatten)]
    target: TargetArgs,

    /// The file.
    #[arg(value_name = "PATH")]
    path: OsString,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --keyset vendor.keyset cat COMMIT /etc/os-release
  sealroot --store ./store cat tree.pack /usr/bin/bash > bash";

impl Cat {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<()> {
        if common.json {
            let message = "cat prints a file as it is: there is no JSON of it";
            return Err(Failure::new(ErrorClass::Usage, message)
                .hint("leave out --json; `sealroot --json ls` says what is known of the file")
                .into());
        }
        self.target.find(common)?.with_pack(common, |pack| {
            let not_found = || {
                let message = format!("there is no {} in the pack", self.path.display());
                Failure::new(ErrorClass::NotFound, message)
            };
            let entry = pack
                .lookup(target::components(&self.path))?
                .ok_or_else(not_found)?;
            match &entry.kind {
                EntryKind::Inline { .. } => output::stream(|out| copy_inline(pack, &entry, out)),
                EntryKind::External { digest, size_bytes } => {
                    let store = common.open_store()?;
                    let object = release::open_verified_object(&store, digest, *size_bytes)?;
                    output::stream(|mut out| {
                        let copied = io::copy(&mut object.reader(), &mut out);
                        copied.map(drop).context("cannot copy the object")
                    })
                }
                _ => {
                    let message = format!("{} is not a regular file", self.path.display());
                    Err(Failure::new(ErrorClass::Usage, message)
                        .hint("`sealroot ls` lists a directory and says where a symlink leads")
                        .into())
                }
            }
        })
    }
}

fn copy_inline(pack: &AnyPack<'_>, file: &Entry, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset_bytes = 0;
    loop {
        let read = pack.read(file, offset_bytes, &mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(buffer.get(..read).unwrap_or_default())?;
        offset_bytes += read as u64;
    }
}
