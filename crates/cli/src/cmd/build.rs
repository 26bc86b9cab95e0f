// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot build`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::RangedI64ValueParser;
use clap::{ArgGroup, Args, ValueEnum, value_parser};
use sealroot::build::{self, Built, Origin};
use sealroot::source::{Compressed, Devices};
use sealroot::store::{VerityAbsence, VeritySupport};
use sealroot_format::sign::{Name, Word};
use sealroot_format::{ErrorClass, limits};
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::time;

/// Put a tree into the store as a pack and objects, with an unsigned release statement.
///
/// The tree is a directory or a commit of an OSTree repository. Nothing is stored twice, and
/// building the same tree again writes nothing. Prints the commit and the digest of the pack.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true), after_long_help = EXAMPLES)]
pub(crate) struct Build {
    /// Build from this directory.
    #[arg(long, value_name = "DIR", group = "source")]
    dir: Option<PathBuf>,

    /// Build from a commit of an OSTree repository: a checksum, a ref or remote:ref, and ^ for the
    /// parent of that. Of remote:ref the signatures are verified that the remote demands.
    #[arg(long, num_args = 2, value_names = ["REPO", "REF"], group = "source")]
    ostree: Option<Vec<String>>,

    /// The OS, as ID in its os-release.
    #[arg(long, value_name = "NAME")]
    os: Name,

    /// The edition of the OS.
    #[arg(long, value_name = "NAME")]
    variant: Option<Name>,

    /// The line of releases this one belongs to.
    #[arg(long, value_name = "NAME")]
    stream: Name,

    /// The machine architecture, as `uname -m` says it [default: this machine's].
    #[arg(
        long,
        value_name = "NAME",
        default_value = std::env::consts::ARCH,
        hide_default_value = true
    )]
    arch: Name,

    /// The version for people: printable ASCII without spaces, at most 255 characters [default: the
    /// OSTree commit's own].
    #[arg(long, value_name = "WORD")]
    version: Option<Word>,

    /// Number of the release in its stream; every release needs a higher one than those before.
    #[arg(long, value_name = "N")]
    index: u64,

    /// Security epoch; raise it when all older releases must not boot any more.
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch: u64,

    /// The kernel release [default: the only one in the tree's /usr/lib/modules].
    #[arg(long, value_name = "RELEASE")]
    kernel: Option<Word>,

    /// Files up to this many bytes go inside the pack (0 to 65536).
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = limits::DEFAULT_THRESHOLD_BYTES,
        value_parser = threshold_parser()
    )]
    threshold: u32,

    /// What becomes of device nodes in a directory.
    #[arg(long, value_enum, default_value_t = DevicesChoice::Refuse)]
    devices: DevicesChoice,

    /// Take kernel modules and documentation decompressed, under names that say so: of what is
    /// compressed a device fetches all when a bit of it changes. Not with --ostree, whose commit it would
    /// not be any more.
    #[arg(long, conflicts_with = "ostree")]
    normalize: bool,

    /// When the release is made, seconds since 1970 [default: `SOURCE_DATE_EPOCH`, or now].
    #[arg(long, value_name = "SECONDS")]
    created: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --sysroot /mnt build --dir ./tree --os exampleos --stream stable --index 7
  sealroot --store ./store build --ostree ./repo exampleos/x86_64/stable \\
      --os exampleos --stream stable --version 42.1 --index 7";

/// Refuses thresholds that no pack has.
pub(crate) fn threshold_parser() -> RangedI64ValueParser<u32> {
    value_parser!(u32).range(..=i64::from(limits::MAX_THRESHOLD_BYTES))
}

/// What becomes of device nodes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DevicesChoice {
    /// An error: an OS image needs none, /dev is made at boot.
    Refuse,
    /// They become part of the tree.
    Keep,
}

impl From<DevicesChoice> for Devices {
    fn from(choice: DevicesChoice) -> Self {
        match choice {
            DevicesChoice::Refuse => Self::Refuse,
            DevicesChoice::Keep => Self::Keep,
        }
    }
}

#[derive(Serialize)]
struct BuiltReport {
    commit: String,
    stream: String,
    pack: String,
    pack_bytes: u64,
    tree_digest: String,
    entries: u64,
    objects: u64,
    object_bytes: u64,
    added_objects: u64,
    added_bytes: u64,
    is_new: bool,
    /// Why the store has no fs-verity, in a word; `null` if it has.
    no_verity: Option<&'static str>,
}

impl BuiltReport {
    fn new(
        Built {
            statement,
            is_new,
            objects,
        }: &Built,
        absence: Option<VerityAbsence>,
    ) -> Self {
        Self {
            commit: statement.commit.to_string(),
            stream: statement.stream.to_string(),
            pack: statement.pack_digest.to_string(),
            pack_bytes: statement.pack_size_bytes,
            tree_digest: statement.tree_digest.to_string(),
            entries: statement.entries,
            objects: statement.objects,
            object_bytes: statement.object_bytes,
            added_objects: objects.added_objects,
            added_bytes: objects.added_bytes,
            is_new: *is_new,
            no_verity: absence.map(VerityAbsence::as_str),
        }
    }
}

impl Report for BuiltReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "commit {}", self.commit)?;
        writeln!(out, "pack {}", self.pack)?;
        writeln!(
            out,
            "{}, pack of {}, {} of {}",
            counted(self.entries, "entry"),
            counted(self.pack_bytes, "byte"),
            counted(self.objects, "object"),
            counted(self.object_bytes, "byte")
        )?;
        if self.added_objects > 0 {
            let objects = counted(self.added_objects, "object");
            let bytes = counted(self.added_bytes, "byte");
            writeln!(out, "new in the store: {objects} of {bytes}")
        } else if self.is_new {
            writeln!(out, "all its objects were in the store already")
        } else {
            writeln!(out, "all of it was in the store already")
        }
    }
}

/// That there is something to read, and that the store is no part of it, before a store is made.
fn check_source(origin: &Origin<'_>, store: &Path) -> anyhow::Result<()> {
    let path = match origin {
        Origin::Directory { path, .. } => {
            files::expect_directory(path, "--dir", "a directory")?;
            files::refuse_inside(path, store, "the store")?;
            path
        }
        Origin::Ostree { repository, .. } => {
            files::expect_directory(repository, "--ostree", "an OSTree repository")?;
            repository
        }
    };
    let opened = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()));
    opened.map(drop)
}

impl Build {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let origin = match (&self.dir, self.ostree.as_deref()) {
            (Some(path), _) => Origin::Directory {
                path,
                devices: self.devices.into(),
                compressed: if self.normalize {
                    Compressed::Normalize
                } else {
                    Compressed::Keep
                },
            },
            (None, Some([repository, rev])) => Origin::Ostree {
                repository: repository.as_ref(),
                rev,
            },
            _ => {
                let message = "name a tree with --dir DIR or --ostree REPO REF";
                return Err(Failure::new(ErrorClass::Usage, message).into());
            }
        };
        let release = build::Release {
            os: self.os.clone(),
            variant: self.variant.clone(),
            stream: self.stream.clone(),
            arch: self.arch.clone(),
            version: self.version.clone(),
            index: self.index,
            epoch: self.epoch,
            kernel: self.kernel.clone(),
            created: match self.created {
                Some(created) => created,
                None => time::source_date_epoch()?.unwrap_or_else(time::now),
            },
            threshold_bytes: self.threshold,
        };
        check_source(&origin, &common.store_path())?;
        let store = common.open_or_create_store(output)?;
        let has_verity = store.verity() == VeritySupport::Kernel;
        let absence = (!has_verity).then(|| store.verity_absence());
        let built = {
            let progress = Progress::new(output);
            build::build(&store, origin, &release, &progress)?
        };
        output.emit(&BuiltReport::new(&built, absence))
    }
}
