// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot prune`

use std::io::{self, Write};

use clap::Args;
use sealroot::adopt::{self, Kept};
use sealroot::machine::{self, BootChoices, Pruned, Releases, Retention};
use sealroot::monitor::Silent;
use sealroot::ostree::Repository;
use sealroot::store::{KernelIo, Store, StoreError};
use sealroot_format::digest::Sha256Digest;
use sealroot_remote::{RemoteError, state};
use serde::Serialize;

use crate::args::Common;
use crate::machine::BootArgs;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;

/// Collect what nothing uses: deployments, releases, packs and objects.
///
/// Kept is what runs, what a boot entry names, what is pinned, staged or mounted, and all that
/// their packs name. The rest is put aside, and deleted by the next run: so nothing is lost at
/// once, and space is free after the second run. Interrupted at any point, the next run goes on.
///
/// When the last of an adopted commit has gone, so does the ref that keeps it in OSTree's repository:
/// OSTree may collect it then.
///
/// What came of an interrupted download is removed at once when no remote offers that file any more.
///
/// A release goes with the last of its deployments. One that was never deployed stays. Where no
/// boot entry names a deployment it is not known what boots: then no deployment is removed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Prune {
    /// Keep that many of the newest deployments that nothing uses.
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep: usize,

    /// Collect releases that were never deployed too.
    #[arg(long)]
    releases: bool,

    /// Only say what would be put aside.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot prune --dry-run
  sealroot prune && sealroot prune                # frees the space at once
  sealroot prune --keep 2
  sealroot --store ./store prune --releases";

#[derive(Serialize)]
struct PrunedReport {
    is_dry_run: bool,
    deployments: Vec<String>,
    /// Why no deployment was removed.
    deployments_kept_because: Option<String>,
    statements: Vec<String>,
    images: Vec<String>,
    packs: Vec<String>,
    objects: u64,
    objects_linked_elsewhere: u64,
    /// Refs that kept commits in the repository of OSTree.
    refs: Vec<String>,
    /// Interrupted downloads that no remote offers any more, and what had come of them.
    downloads: u64,
    download_bytes: u64,
    /// What the next run will free of packs and objects.
    aside_bytes: u64,
    /// What this run has freed.
    freed_bytes: u64,
    freed_files: u64,
}

impl PrunedReport {
    fn new(
        pruned: &Pruned,
        refs: &[Kept],
        downloads: Downloads,
        is_dry_run: bool,
        reason: Option<&str>,
    ) -> Self {
        let unknown = || reason.unwrap_or("no boot entry names one").to_owned();
        Self {
            is_dry_run,
            deployments: pruned.deployments.iter().map(ToString::to_string).collect(),
            deployments_kept_because: pruned.is_boot_unknown.then(unknown),
            statements: (pruned.statements.iter())
                .map(|(commit, stream)| format!("{commit}.{stream}"))
                .collect(),
            images: (pruned.images.iter())
                .map(|name| format!("{}.{}", name.pack, name.image))
                .collect(),
            packs: pruned.packs.iter().map(ToString::to_string).collect(),
            objects: pruned.objects,
            objects_linked_elsewhere: pruned.linked_elsewhere,
            refs: refs.iter().map(|kept| kept.name.clone()).collect(),
            downloads: downloads.count,
            download_bytes: downloads.bytes,
            aside_bytes: pruned.aside_bytes,
            freed_bytes: pruned.emptied.freed_bytes,
            freed_files: pruned.emptied.files,
        }
    }

    const fn is_nothing(&self) -> bool {
        self.deployments.is_empty()
            && self.statements.is_empty()
            && self.images.is_empty()
            && self.packs.is_empty()
            && self.objects == 0
    }
}

impl Report for PrunedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.freed_files > 0 {
            writeln!(
                out,
                "freed {}, in {} that an earlier run had put aside",
                counted(self.freed_bytes, "byte"),
                counted(self.freed_files, "file")
            )?;
        }
        if let Some(reason) = &self.deployments_kept_because {
            writeln!(
                out,
                "no deployment was removed: which of them boot is not known ({reason})"
            )?;
        }
        if self.is_nothing() {
            writeln!(out, "nothing to put aside")?;
        } else {
            self.write_aside(out)?;
        }
        if self.downloads > 0 {
            writeln!(
                out,
                "{} {}, of which {} had come and which no remote offers any more",
                if self.is_dry_run {
                    "would remove"
                } else {
                    "removed"
                },
                counted(self.downloads, "download"),
                counted(self.download_bytes, "byte")
            )?;
        }
        for name in &self.refs {
            let commit = name.rsplit('/').next().unwrap_or(name);
            let verb = if self.is_dry_run { "could" } else { "may" };
            writeln!(
                out,
                "OSTree {verb} collect the commit {commit}: `ostree admin cleanup` frees what only \
                 it needs"
            )?;
        }
        Ok(())
    }
}

impl PrunedReport {
    fn write_aside(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.is_dry_run {
            "would put aside"
        } else {
            "put aside"
        };
        writeln!(
            out,
            "{verb} {}, {}, {}, {}",
            counted(self.deployments.len() as u64, "deployment"),
            counted(self.statements.len() as u64, "statement"),
            counted(self.packs.len() as u64, "pack"),
            counted(self.objects, "object")
        )?;
        if !self.images.is_empty() {
            writeln!(out, "  {}", counted(self.images.len() as u64, "image"))?;
        }
        for deployment in &self.deployments {
            writeln!(out, "  {deployment}")?;
        }
        write!(
            out,
            "their packs, images and objects take {}, free after the next `prune`",
            counted(self.aside_bytes, "byte")
        )?;
        match self.objects_linked_elsewhere {
            0 => writeln!(out),
            count => writeln!(
                out,
                "; {} elsewhere too and not counted",
                match count {
                    1 => "1 object is linked".to_owned(),
                    count => format!("{count} objects are linked"),
                }
            ),
        }
    }
}

impl Prune {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let place = self.boot.find_for_change(common)?;
        let runtime = self.boot.runtime();
        let choices = || BootChoices::of(place.found());
        let retention = Retention {
            keep: self.keep,
            releases: if self.releases {
                Releases::None
            } else {
                Releases::OfDeployments
            },
        };
        let repository = repository_beside(common)?;
        let (pruned, refs, downloads) = if self.dry_run {
            let pruned = machine::plan_prune(&store, &runtime, &choices, retention)?;
            let refs = match &repository {
                Some(repository) => {
                    let io = KernelIo::open(repository.path())?;
                    adopt::unused_on(&store, &io, &pruned)?
                }
                None => Vec::new(),
            };
            let size = |part: &Sha256Digest| store.part_bytes(part);
            (pruned, refs, Downloads::sum(&store, &size)?)
        } else {
            let progress = Progress::new(output);
            let pruned = machine::prune(&store, &runtime, &choices, retention, &progress)?;
            let refs = match &repository {
                Some(repository) => release_unused(&store, repository, &progress)?,
                None => Vec::new(),
            };
            let remove = |part: &Sha256Digest| store.remove_idle_part(part);
            (pruned, refs, Downloads::sum(&store, &remove)?)
        };
        let reason = place.reason();
        output.emit(&PrunedReport::new(
            &pruned,
            &refs,
            downloads,
            self.dry_run,
            reason,
        ))
    }
}

/// Downloads that were interrupted.
#[derive(Clone, Copy, Debug, Default)]
struct Downloads {
    count: u64,
    bytes: u64,
}

impl Downloads {
    /// Sums up those that no remote needs: what `bytes_of` says of each, if anything.
    fn sum(
        store: &Store,
        bytes_of: &dyn Fn(&Sha256Digest) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, RemoteError> {
        let mut sum = Self::default();
        for part in state::unneeded_parts(store)? {
            if let Some(bytes) = bytes_of(&part)? {
                sum.count += 1;
                sum.bytes += bytes;
            }
        }
        Ok(sum)
    }
}

/// OSTree's repository on the sysroot that the store is on.
fn repository_beside(common: &Common) -> anyhow::Result<Option<Repository>> {
    let path = common.physical_root().join("ostree/repo");
    if common.store.is_some() || !path.join("config").is_file() {
        return Ok(None);
    }
    Ok(Some(Repository::open(&path)?))
}

/// Lets OSTree collect the commits of which nothing is left here.
fn release_unused(
    store: &Store,
    repository: &Repository,
    progress: &Progress,
) -> anyhow::Result<Vec<Kept>> {
    let io = KernelIo::open(repository.path())?;
    let transaction = store.begin(&Silent)?;
    if adopt::unused_on(store, &io, &Pruned::default())?.is_empty() {
        return Ok(Vec::new());
    }
    let _lock = repository.lock_exclusively(progress)?;
    let released = adopt::release_unused_on(&transaction, &io)?;
    transaction.finish()?;
    Ok(released)
}
