// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot image`

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use sealroot::object::Discard;
use sealroot::source::{self, DirectoryOptions};
use sealroot::spool::Spool;
use sealroot_format::pack;
use sealroot_format::tree::Tree;
use sealroot_format::{ErrorClass, limits};
use serde::Serialize;

use crate::cmd::build::{DevicesChoice, threshold_parser};
use crate::failure::Failure;
use crate::files;
use crate::name::AnyName;
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

    /// What to write.
    #[arg(long, value_enum, default_value_t = Profile::Pack)]
    profile: Profile,

    /// Files up to this many bytes go inside the image (0 to 65536). The composefs profile has
    /// 64 and no other [default: 4096].
    #[arg(long, value_name = "BYTES", value_parser = threshold_parser())]
    threshold: Option<u32>,

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
  sealroot image ./tree --digest-only
  sealroot image ./tree tree.cfs --profile composefs    # as mkcomposefs writes it";

/// What a composefs image holds inside.
const COMPOSEFS_THRESHOLD_BYTES: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    /// A pack.
    Pack,
    /// A composefs image, version 1.0, bit for bit.
    Composefs,
}

#[derive(Serialize)]
struct ImageReport {
    digest: String,
    size_bytes: u64,
    entries: u64,
    file: Option<AnyName>,
}

impl Report for ImageReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.digest)
    }
}

impl Image {
    pub(crate) fn run(&self, output: Output) -> anyhow::Result<()> {
        let threshold_bytes = self.threshold_bytes()?;
        files::expect_directory(&self.dir, "the tree", "a directory")?;
        if let Some(file) = &self.file {
            files::refuse_inside(&self.dir, file, "the image")?;
        }
        let options = DirectoryOptions {
            threshold_bytes,
            devices: self.devices.into(),
            ..DirectoryOptions::default()
        };
        let tree = {
            let progress = Progress::new(output);
            source::read_directory(
                &self.dir,
                &options,
                &Spool::in_temporary_directory(),
                &Discard,
                &progress,
            )?
        };
        let mut report = None;
        match &self.file {
            None => report = Some(self.write(&tree, threshold_bytes, &mut io::sink())?),
            Some(path) => files::replace(path, |out| {
                let written = self.write(&tree, threshold_bytes, out);
                report = Some(written.with_context(|| format!("cannot write {}", path.display()))?);
                Ok(())
            })?,
        }
        output.emit(&report.context("nothing was written")?)
    }

    fn threshold_bytes(&self) -> anyhow::Result<u32> {
        match (self.profile, self.threshold) {
            (Profile::Pack, threshold) => Ok(threshold.unwrap_or(limits::DEFAULT_THRESHOLD_BYTES)),
            (Profile::Composefs, None | Some(COMPOSEFS_THRESHOLD_BYTES)) => {
                Ok(COMPOSEFS_THRESHOLD_BYTES)
            }
            (Profile::Composefs, Some(found)) => {
                let only = COMPOSEFS_THRESHOLD_BYTES;
                let message = format!("--threshold {found}: a composefs image has {only}");
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
        }
    }

    fn write(
        &self,
        tree: &Tree,
        threshold_bytes: u32,
        out: &mut dyn Write,
    ) -> anyhow::Result<ImageReport> {
        let (digest, size_bytes) = match self.profile {
            Profile::Pack => {
                let summary = pack::write_pack(tree, threshold_bytes, out)?;
                (summary.digest, summary.size_bytes)
            }
            Profile::Composefs => {
                let summary = pack::write_composefs(tree, out)?;
                (summary.digest, summary.size_bytes)
            }
        };
        Ok(ImageReport {
            digest: digest.to_string(),
            size_bytes,
            entries: tree.len() as u64,
            file: self.file.as_deref().map(AnyName::from),
        })
    }
}
