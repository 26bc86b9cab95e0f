// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot advise`

use std::io::{self, Write};

use clap::Args;
use sealroot::advise::{self, Advice, Found};
use serde::Serialize;

use crate::args::Common;
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::target::TargetArgs;

/// Say what in a tree makes updates large, and what to change.
///
/// A delta has what differs inside of files. What is compressed differs as a whole. Besides what TARGET may be
/// elsewhere, it may be the directory of a tree here.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Advise {
    #[command(flatten)]
    target: TargetArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot advise ./tree
  sealroot --store store --keyset vendor.keyset advise 4c1f";

#[derive(Serialize)]
struct AdviseReport {
    findings: Vec<FindingReport>,
}

#[derive(Serialize)]
struct FindingReport {
    code: &'static str,
    files: u64,
    bytes: u64,
    example: AnyName,
    advice: &'static str,
}

impl FindingReport {
    fn new(found: &Found) -> Self {
        Self {
            code: found.advice.as_str(),
            files: found.files,
            bytes: found.bytes,
            example: found.example.as_ref().into(),
            advice: text(found.advice),
        }
    }
}

const fn text(advice: Advice) -> &'static str {
    match advice {
        Advice::Modules => {
            "build with --normalize, which decompresses them, or do so before and run depmod: a kernel update \
             is then a delta of some megabytes, and not all modules anew"
        }
        Advice::Initramfs => {
            "leave it out of the tree, or make it without compression: most of what is in it lies in the \
             tree already"
        }
        Advice::Kernel => {
            "each new kernel comes whole if its content is compressed with anything but zstd; nothing can \
             be done for one that is signed. Build it yourself with zstd if updates must be small"
        }
        Advice::Compressed => {
            "keep these files as they are, without compression: only gzip of at most 4 MiB is opened to be \
             patched"
        }
        Advice::Bytecode => {
            "leave it out, or compile with `python3 -m compileall --invalidation-mode unchecked-hash`: \
             otherwise it has the time of its source in it"
        }
        Advice::Caches => "leave them out: they are others after each build",
    }
}

impl Report for AdviseReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.findings.is_empty() {
            return writeln!(out, "nothing here makes updates larger than they need be");
        }
        for FindingReport {
            code,
            files,
            bytes,
            example,
            advice,
        } in &self.findings
        {
            let (files, bytes) = (counted(*files, "file"), counted(*bytes, "byte"));
            writeln!(out, "{code}: {files} of {bytes}, such as {example}")?;
            writeln!(out, "  {advice}")?;
        }
        Ok(())
    }
}

impl Advise {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let tree = self.target.tree_or_directory(common, output)?;
        let findings = advise::advise(&tree);
        output.emit(&AdviseReport {
            findings: findings.iter().map(FindingReport::new).collect(),
        })
    }
}
