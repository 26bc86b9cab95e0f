// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot check`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::Args;
use sealroot::check::{self, Depth, Finding, Severity};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::hint;
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Check the store for damage.
///
/// Looks at every file of the store and never stops at the first finding. Signatures are not
/// looked at: that is what `verify` does.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Check {
    /// Read and hash everything; without it only names, types, sizes, packs and what the kernel
    /// measures.
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
    images: u64,
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
    path: AnyName,
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

/// How to mend what was found.
fn way_out(store: &Store, findings: &[Finding]) -> String {
    let damage = findings.iter();
    let damage = damage.filter(|finding| finding.code.severity() == Severity::Damage);
    let (deployed, shared): (Vec<_>, Vec<_>) =
        damage.partition(|finding| finding.path.as_bytes().starts_with(b"deploy/"));
    let place = |finding: &Finding| {
        store
            .location()
            .join(OsStr::from_bytes(finding.path.as_bytes()))
    };
    let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|stat| !stat.is_dir());
    let files: Vec<PathBuf> = shared.iter().map(|f| place(f)).filter(is_file).collect();
    let mut hint = hint::remove_and_build(files.iter().map(PathBuf::as_path));
    let mut deployments: Vec<String> = (deployed.iter())
        .filter_map(|finding| finding.path.as_bytes().split(|byte| *byte == b'/').nth(1))
        .map(|name| name.escape_ascii().to_string())
        .collect();
    deployments.dedup();
    if !deployments.is_empty() {
        let deploy = format!(
            "; deploy anew what {} {} of, and remove that in {}",
            deployments.join(" and "),
            if deployments.len() == 1 { "is" } else { "are" },
            store.location().join("deploy").display()
        );
        hint.push_str(&deploy);
    }
    hint
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
            path: finding.path.as_bytes().into(),
            detail: finding.detail.clone(),
        });
        output.emit(&CheckReport {
            packs: report.packs,
            images: report.images,
            objects: report.objects,
            statements: report.statements,
            deployments: report.deployments,
            hashed_bytes: report.hashed_bytes,
            findings: findings.collect(),
        })?;
        if report.worst() == Some(Severity::Damage) {
            let message = format!("{} is damaged", store.location().display());
            return Err(Failure::new(ErrorClass::Corrupt, message)
                .hint(way_out(&store, &report.findings))
                .into());
        }
        Ok(())
    }
}
