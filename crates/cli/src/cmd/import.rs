// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot import`

use std::io::{self, Write};

use clap::Args;
use sealroot::import::{self, Imported, Outcome};
use sealroot::ostree::Repository;
use sealroot_format::ErrorClass;
use sealroot_format::sign::Name;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::release::ReleaseReport;

/// Put the signed release of a commit that OSTree has pulled into the store.
///
/// Nothing is downloaded: the vendor's statement came with the commit (see `sealroot sign`). It is
/// verified by the keyset, the pack is rebuilt from the commit, and it goes into the store only if
/// it is the one that was signed. Where it is not, the signed pack has to be fetched.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Import {
    /// The OSTree repository, and the commit: a checksum, a ref or remote:ref, and ^ for the parent
    /// of that.
    #[arg(long, num_args = 2, value_names = ["REPO", "REF"], required = true)]
    ostree: Vec<String>,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,
}

const EXAMPLES: &str = "\
Examples:
  ostree --repo=/ostree/repo pull vendor exampleos/x86_64/stable
  sealroot --keyset vendor.keyset import --ostree /ostree/repo vendor:exampleos/x86_64/stable";

#[derive(Serialize)]
struct ImportReport {
    #[serde(flatten)]
    release: ReleaseReport,
    signers: Vec<String>,
    pack: String,
    pack_bytes: u64,
    added_objects: u64,
    added_bytes: u64,
    is_new: bool,
}

impl ImportReport {
    fn new(
        Imported {
            statement, objects, ..
        }: &Imported,
        is_new: bool,
    ) -> Self {
        let signers = statement.signers().iter();
        Self {
            release: ReleaseReport::new(statement),
            signers: signers.map(ToString::to_string).collect(),
            pack: statement.pack_digest.to_string(),
            pack_bytes: statement.pack_size_bytes,
            added_objects: objects.added_objects,
            added_bytes: objects.added_bytes,
            is_new,
        }
    }
}

impl Report for ImportReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.release.write_text(out)?;
        writeln!(out, "  signed by {}", self.signers.join(", "))?;
        let objects = counted(self.added_objects, "object");
        let bytes = counted(self.added_bytes, "byte");
        let pack_bytes = counted(self.pack_bytes, "byte");
        writeln!(
            out,
            "  the pack of {pack_bytes} rebuilt from it is the signed one"
        )?;
        if self.is_new {
            writeln!(out, "  new in the store: {objects} of {bytes}")
        } else {
            writeln!(out, "  all of it was in the store already")
        }
    }
}

impl Import {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let [path, rev] = &*self.ostree else {
            let message = "name a commit with --ostree REPO REF";
            return Err(Failure::new(ErrorClass::Usage, message).into());
        };
        let keyset = common.trusted_keyset()?;
        let repository = Repository::open(path.as_ref())?;
        let store = common.open_or_create_store(output)?;
        let imported = {
            let progress = Progress::new(output);
            let stream = self.stream.as_ref();
            import::import(&store, &repository, rev, stream, &keyset, &progress)?
        };
        match &imported.outcome {
            Outcome::Complete { is_new } => output.emit(&ImportReport::new(&imported, *is_new)),
            Outcome::Differs(differences) => {
                let differences: Vec<String> =
                    differences.iter().map(ToString::to_string).collect();
                let message = format!(
                    "the pack rebuilt from commit {} is not the one that was signed: {}",
                    imported.statement.commit,
                    differences.join("; ")
                );
                Err(Failure::new(ErrorClass::Unsupported, message)
                    .hint(
                        "another version of sealroot built it; get the pack itself from the \
                         vendor. What was rebuilt is in the store, and need not be fetched",
                    )
                    .into())
            }
        }
    }
}
