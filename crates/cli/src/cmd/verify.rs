// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot verify`

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use sealroot::deploy::read_record;
use sealroot::release::{self, ObjectCheck};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Keyset, Name, Verified};
use serde::Serialize;

use crate::args::Common;
use crate::commit::CommitPrefix;
use crate::failure::{Failure, class_of};
use crate::hint;
use crate::machine::RunArgs;
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Verify the signatures of releases and that all they name is there.
///
/// The pack is read whole and compared with the statement. Each object is looked at: where the
/// store has fs-verity, the kernel measures it, which takes the same short time for any size.
/// Where it has none, every object is read and hashed: nothing else can tell.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Verify {
    /// The commits, or their first digits [default: all releases of the store].
    #[arg(value_name = "COMMIT")]
    commits: Vec<CommitPrefix>,

    /// The stream they were released in; needed where a commit has several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    /// Only the release that runs.
    #[arg(long, conflicts_with_all = ["commits", "stream"])]
    booted: bool,

    #[command(flatten)]
    run: RunArgs,

    /// Also read every object to its end and hash it. A store without fs-verity is always verified
    /// so.
    #[arg(long)]
    full: bool,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --keyset vendor.keyset verify
  sealroot --store ./store --keyset vendor.keyset verify COMMIT --full
  sealroot verify --booted --full";

/// Words of `objects_checked`.
const MEASURED: &str = "measured";
const HASHED: &str = "hashed";

#[derive(Serialize)]
struct VerifyReport {
    releases: Vec<ReleaseReport>,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    commit: String,
    stream: Option<String>,
    reason: String,
}

#[derive(Serialize)]
struct ReleaseReport {
    commit: String,
    stream: String,
    os: String,
    version: Option<String>,
    index: u64,
    signers: Vec<String>,
    objects: u64,
    /// `measured` by the kernel, or read and `hashed`.
    objects_checked: &'static str,
    damaged: Vec<Damaged>,
}

#[derive(Serialize)]
struct Damaged {
    object: String,
    path: AnyName,
    reason: String,
}

impl Report for VerifyReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for release in &self.releases {
            let ReleaseReport {
                commit,
                stream,
                os,
                index,
                signers,
                objects,
                objects_checked,
                damaged,
                ..
            } = release;
            let version = release.version.as_deref().unwrap_or("-");
            writeln!(out, "{commit} {os} {stream} {version} (index {index})")?;
            writeln!(out, "  signed by {}", signers.join(", "))?;
            match damaged.len() {
                0 => {
                    let objects = counted(*objects, "object");
                    let how = match *objects_checked {
                        MEASURED => "measured by the kernel",
                        _ => "read and hashed",
                    };
                    writeln!(out, "  the pack and {objects} are as signed ({how})")?;
                }
                count => writeln!(out, "  {count} of {objects} objects cannot be used:")?,
            }
            for Damaged { path, reason, .. } in damaged {
                writeln!(out, "    {path}: {reason}")?;
            }
        }
        for Refused {
            commit,
            stream,
            reason,
        } in &self.refused
        {
            let stream = stream.as_deref().unwrap_or("-");
            writeln!(out, "{commit} {stream}\n  REFUSED: {reason}")?;
        }
        Ok(())
    }
}

/// An error, if there are damaged objects.
fn verdict(releases: &[ReleaseReport]) -> anyhow::Result<()> {
    let damaged = releases.iter().flat_map(|release| &release.damaged);
    let paths: BTreeSet<&Path> = damaged.map(|damaged| damaged.path.as_path()).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let objects = counted(paths.len() as u64, "object");
    let message = format!("{objects} cannot be used");
    Err(Failure::new(ErrorClass::Untrusted, message)
        .hint(hint::remove_and_build(paths))
        .into())
}

impl Verify {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let keyset = common.trusted_keyset()?;
        let wanted: Vec<(CommitId, Option<Name>)> = match &*self.commits {
            _ if self.booted => {
                let record = read_record(&store, self.run.running()?)?;
                vec![(record.commit, Some(record.stream))]
            }
            [] => {
                let all = store.list_statements()?.into_iter();
                all.map(|(commit, stream)| (commit, Some(stream))).collect()
            }
            commits => commits
                .iter()
                .map(|commit| Ok((commit.find(&store)?, self.stream.clone())))
                .collect::<anyhow::Result<_>>()?,
        };
        if wanted.is_empty() {
            let message = format!("{} holds no release", store.location().display());
            return Err(Failure::new(ErrorClass::NotFound, message)
                .hint("put one into it with `sealroot build`")
                .into());
        }
        let verify = |commit, stream: Option<Name>| {
            self.verify(&store, &keyset, commit, stream.as_ref(), output)
        };
        if let [(commit, stream)] = &*wanted {
            let report = VerifyReport {
                releases: vec![verify(*commit, stream.clone())?],
                refused: Vec::new(),
            };
            output.emit(&report)?;
            return verdict(&report.releases);
        }
        // One bad release does not hide what is wrong with the others.
        let (mut releases, mut refused, mut first_class) = (Vec::new(), Vec::new(), None);
        for (commit, stream) in wanted {
            match verify(commit, stream.clone()) {
                Ok(release) => releases.push(release),
                Err(error) => {
                    first_class.get_or_insert(class_of(&error));
                    refused.push(Refused {
                        commit: commit.to_string(),
                        stream: stream.map(|stream| stream.to_string()),
                        reason: format!("{error:#}"),
                    });
                }
            }
        }
        let report = VerifyReport { releases, refused };
        output.emit(&report)?;
        match first_class {
            Some(class) => {
                let count = counted(report.refused.len() as u64, "release");
                let message = format!("{count} cannot be used; the reasons are above");
                Err(Failure::new(class, message).into())
            }
            None => verdict(&report.releases),
        }
    }

    fn verify(
        &self,
        store: &Store,
        keyset: &Verified<Keyset>,
        commit: CommitId,
        stream: Option<&Name>,
        output: Output,
    ) -> anyhow::Result<ReleaseReport> {
        let progress = Progress::new(output);
        let statement = release::verify_statement(store, keyset, commit, stream)?;
        let tree = release::check_pack(store, &statement)?;
        let wanted = if self.full {
            ObjectCheck::Hashed
        } else {
            ObjectCheck::Measured
        };
        let verdict = release::verify_objects(store, &tree, wanted, &progress)?;
        let damaged = verdict.findings.into_iter().map(|finding| Damaged {
            object: finding.digest.to_string(),
            path: finding.path.into(),
            reason: finding.reason,
        });
        Ok(ReleaseReport {
            commit: commit.to_string(),
            stream: statement.stream.to_string(),
            os: statement.os.to_string(),
            version: statement.version.as_ref().map(ToString::to_string),
            index: statement.index,
            signers: statement
                .signers()
                .iter()
                .map(ToString::to_string)
                .collect(),
            objects: statement.objects,
            objects_checked: match verdict.check {
                ObjectCheck::Measured => MEASURED,
                ObjectCheck::Hashed => HASHED,
            },
            damaged: damaged.collect(),
        })
    }
}
