// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot delta`

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use sealroot::delta::{self, Made};
use sealroot::release;
use sealroot::store::Store;
use sealroot_format::digest::VerityDigest;
use sealroot_format::sign::{Name, Statement};
use sealroot_format::tree::Tree;
use serde::Serialize;

use crate::args::Common;
use crate::commit::CommitPrefix;
use crate::files;
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Make the delta that makes one release of another, and say how large it is.
///
/// `publish` makes those that devices fetch. This is for a look at what an update will cost: the
/// releases need no signatures yet.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Delta {
    #[command(flatten)]
    between: Between,

    /// Where to write the delta [default: it is only measured].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Two releases of a store.
#[derive(Debug, Args)]
pub(crate) struct Between {
    /// The commit that devices have; its first digits do.
    #[arg(value_name = "FROM")]
    from: CommitPrefix,

    /// The commit that they are to get.
    #[arg(value_name = "TO")]
    to: CommitPrefix,

    /// The stream that both were built in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,
}

/// One of them.
pub(crate) struct Side {
    pack: VerityDigest,
    pub(crate) tree: Tree,
}

impl Side {
    pub(crate) fn release<'s>(&'s self, store: &'s Store) -> delta::Release<'s> {
        delta::Release {
            store,
            pack: self.pack,
            tree: &self.tree,
        }
    }
}

impl Between {
    /// Reads both.
    pub(crate) fn read(&self, store: &Store) -> anyhow::Result<[Side; 2]> {
        let read = |commit: &CommitPrefix| -> anyhow::Result<Side> {
            let commit = commit.find(store)?;
            let (_, document) = release::read_statement(store, commit, self.stream.as_ref())?;
            let statement = Statement::parse(document.body())?;
            Ok(Side {
                pack: statement.pack_digest,
                tree: release::read_pack(store, &statement)?.tree,
            })
        };
        Ok([read(&self.from)?, read(&self.to)?])
    }
}

const EXAMPLES: &str = "\
Examples:
  sealroot --store store delta 4c1f 9a03
  sealroot --store store --json delta 4c1f 9a03 -o update.delta";

#[derive(Serialize)]
struct DeltaReport {
    file: Option<AnyName>,
    delta_bytes: u64,
    pack_bytes: u64,
    objects: u64,
    object_bytes: u64,
}

impl Report for DeltaReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(file) = &self.file {
            writeln!(out, "{file}:")?;
        }
        writeln!(
            out,
            "{}, of them {} for the pack; makes {} of {}",
            counted(self.delta_bytes, "byte"),
            self.pack_bytes,
            counted(self.objects, "new object"),
            counted(self.object_bytes, "byte")
        )
    }
}

impl Delta {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let progress = Progress::new(output);
        let [from, to] = self.between.read(&store)?;
        let made = |out: &mut dyn Write| -> anyhow::Result<Made> {
            let (from, to) = (from.release(&store), to.release(&store));
            let scratch = tempfile::tempfile().context("cannot make a temporary file")?;
            Ok(delta::make(&from, &to, scratch, out, &progress)?)
        };
        let made = match &self.output {
            None => made(&mut io::sink())?,
            Some(path) => {
                let mut report = None;
                files::replace(path, |out| {
                    report = Some(made(out)?);
                    Ok(())
                })?;
                report.context("nothing was written")?
            }
        };
        drop(progress);
        output.emit(&DeltaReport {
            file: self.output.as_deref().map(AnyName::from),
            delta_bytes: made.delta_bytes,
            pack_bytes: made.pack_bytes,
            objects: made.objects,
            object_bytes: made.object_bytes,
        })
    }
}
