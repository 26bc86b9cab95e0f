// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot image`

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use sealroot::object::Discard;
use sealroot::source::{self, DirectoryOptions};
use sealroot_format::limits;
use sealroot_format::pack;
use sealroot_format::tree::Tree;
use serde::Serialize;

use crate::cmd::build::DevicesChoice;
use crate::files;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Write only the image of a tree, without objects or a store.
///
/// Prints the image's fs-verity digest. The same tree gives the same image on every machine.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Image {
    /// The directory to read.
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Where to write the image.
    #[arg(value_name = "FILE", required_unless_present = "digest_only")]
    file: Option<PathBuf>,

    /// Files up to this many bytes go inside the image (0 to 65536).
    #[arg(long, value_name = "BYTES", default_value_t = limits::DEFAULT_THRESHOLD_BYTES)]
    threshold: u32,

    /// Only print the digest.
    #[arg(long, conflicts_with = "file")]
    digest_only: bool,

    /// What becomes of device nodes.
    #[arg(long, value_enum, default_value_t = DevicesChoice::Refuse)]
    devices: DevicesChoice,
}

const EXAMPLES: &str = "\
Examples:
  sealroot image ./tree tree.pack
  sealroot image ./tree --digest-only";

#[derive(Serialize)]
struct ImageReport {
    digest: String,
    size_bytes: u64,
    entries: u64,
    file: Option<PathBuf>,
}

impl Report for ImageReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.digest)
    }
}

impl Image {
    pub(crate) fn run(&self, output: Output) -> anyhow::Result<()> {
        let threshold_bytes = self.threshold;
        let options = DirectoryOptions {
            threshold_bytes,
            devices: self.devices.into(),
        };
        let tree = {
            let progress = Progress::new();
            source::read_directory(&self.dir, &options, &Discard, &progress)?
        };
        let mut report = None;
        match &self.file {
            None => report = Some(self.write(&tree, threshold_bytes, &mut io::sink())?),
            Some(path) => files::replace(path, |file| {
                let mut out = BufWriter::new(file);
                report = Some(self.write(&tree, threshold_bytes, &mut out)?);
                Ok(out.flush()?)
            })?,
        }
        output.emit(&report.context("nothing was written")?)
    }

    fn write(
        &self,
        tree: &Tree,
        threshold_bytes: u32,
        out: &mut dyn Write,
    ) -> anyhow::Result<ImageReport> {
        let summary = pack::write_pack(tree, threshold_bytes, out)?;
        Ok(ImageReport {
            digest: summary.digest.to_string(),
            size_bytes: summary.size_bytes,
            entries: summary.entries,
            file: self.file.clone(),
        })
    }
}
