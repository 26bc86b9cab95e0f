// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot dump`

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use sealroot::object::Discard;
use sealroot::source::{self, Devices, DirectoryOptions};
use sealroot::spool::Spool;
use sealroot_format::limits;
use sealroot_format::tree::{Tree, dump};
use serde::Serialize;

use crate::args::Common;
use crate::output::{Output, Report};
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

#[derive(Serialize)]
struct Dumped {
    tree_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dump: Option<String>,
}

impl Report for Dumped {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.dump {
            Some(text) => out.write_all(text.as_bytes()),
            None => writeln!(out, "{}", self.tree_digest),
        }
    }
}

impl Dump {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let tree = match self.target.find(common)? {
            Target::File(path) if path.is_dir() => read(&path, output)?,
            target => target.tree(common)?,
        };
        let mut text = None;
        if !self.digest_only {
            let mut bytes = Vec::new();
            dump::write_dump(&tree, &mut bytes)?;
            text = Some(String::from_utf8(bytes)?);
        }
        output.emit(&Dumped {
            tree_digest: dump::digest(&tree)?.to_string(),
            dump: text,
        })
    }
}

fn read(directory: &Path, output: Output) -> anyhow::Result<Tree> {
    let options = DirectoryOptions {
        threshold_bytes: limits::DEFAULT_THRESHOLD_BYTES,
        devices: Devices::Keep,
    };
    let progress = Progress::new(output);
    Ok(source::read_directory(
        directory,
        &options,
        &Spool::in_temporary_directory(),
        &Discard,
        &progress,
    )?)
}
