// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot dump`

use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::Args;
use sealroot::object::Discard;
use sealroot::source::{self, Devices, DirectoryOptions};
use sealroot_format::limits;
use sealroot_format::tree::{Tree, dump};

use crate::args::Common;
use crate::progress::Progress;
use crate::target::{Target, TargetArgs};

/// Print the canonical text dump of a tree.
///
/// One line a file, the same for a directory and for the pack made of it: compare two with diff.
/// TARGET may be a directory too.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Dump {
    #[command(flatten)]
    target: TargetArgs,

    /// Only the tree digest, the SHA-256 of the dump.
    #[arg(long)]
    digest_only: bool,
}

const EXAMPLES: &str = "\
Example:
  diff <(sealroot dump ./tree) <(sealroot dump tree.pack)";

impl Dump {
    pub(crate) fn run(&self, common: &Common) -> anyhow::Result<()> {
        let tree = match &self.target.target {
            Target::File(path) if path.is_dir() => read(path)?,
            _ => self.target.tree(common)?,
        };
        let mut out = BufWriter::new(io::stdout().lock());
        if self.digest_only {
            writeln!(out, "{}", dump::digest(&tree))?;
        } else {
            let mut text = String::new();
            dump::write_dump(&tree, &mut text)?;
            out.write_all(text.as_bytes())?;
        }
        Ok(out.flush()?)
    }
}

fn read(directory: &Path) -> anyhow::Result<Tree> {
    let options = DirectoryOptions {
        threshold_bytes: limits::DEFAULT_THRESHOLD_BYTES,
        devices: Devices::Keep,
    };
    let progress = Progress::new();
    Ok(source::read_directory(
        directory, &options, &Discard, &progress,
    )?)
}
