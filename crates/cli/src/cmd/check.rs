// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot check`

use std::io::{self, Write};

use clap::Args;
use sealroot::check::{self, Depth, Severity};
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::hint;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Check the store for damage.
///
/// Looks at every file of the store and never stops at the first finding. Signatures are not
/// looked at: that is what `verify` does.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Check {
    /// Read and hash everything; without it only names, types and what the kernel measures.
    #[arg(long)]
    full: bool,
}

const EXAMPLES: &str = "\
Examples:
  sealroot check
  sealroot --store ./store check --full

A finding is a leftover (harmless, cleared away by and by), foreign (no part of a store) or damage;
only damage is an error.";

#[derive(Serialize)]
struct CheckReport {
    packs: u64,
    objects: u64,
    statements: u64,
    deployments: u64,
    hashed_bytes: u64,
    findings: Vec<FindingReport>,
}

#[derive(Serialize)]
struct FindingReport {
    code: &'static str,
    severity: &'static str,
    path: String,
    detail: String,
}

impl Report for CheckReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for FindingReport {
            code,
            severity,
            path,
            detail,
        } in &self.findings
        {
            writeln!(out, "{severity} {code} {path}: {detail}")?;
        }
        writeln!(
            out,
            "{}, {}, {}, {}, {} hashed: {}",
            counted(self.packs, "pack"),
            counted(self.objects, "object"),
            counted(self.statements, "statement"),
            counted(self.deployments, "deployment"),
            counted(self.hashed_bytes, "byte"),
            counted(self.findings.len() as u64, "finding")
        )
    }
}

impl Check {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let depth = if self.full { Depth::Full } else { Depth::Quick };
        let report = {
            let progress = Progress::new(output);
            check::check(&store, depth, &progress)?
        };
        let findings = report.findings.iter().map(|finding| FindingReport {
            code: finding.code.as_str(),
            severity: match finding.code.severity() {
                Severity::Leftover => "leftover",
                Severity::Foreign => "foreign",
                Severity::Damage => "damage",
            },
            path: finding.path.as_bytes().escape_ascii().to_string(),
            detail: finding.detail.clone(),
        });
        output.emit(&CheckReport {
            packs: report.packs,
            objects: report.objects,
            statements: report.statements,
            deployments: report.deployments,
            hashed_bytes: report.hashed_bytes,
            findings: findings.collect(),
        })?;
        if report.worst() == Some(Severity::Damage) {
            let message = format!("{} is damaged", store.location().display());
            return Err(Failure::new(ErrorClass::Corrupt, message)
                .hint(hint::BUILD_AGAIN)
                .into());
        }
        Ok(())
    }
}
