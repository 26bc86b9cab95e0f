// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot dump`

use std::io::{self, Write};

use clap::Args;
use sealroot_format::tree::dump;
use serde::Serialize;

use crate::args::Common;
use crate::output::{Output, Report};
use crate::target::TargetArgs;

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
        let tree = self.target.tree_or_directory(common, output)?;
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
