// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot repair`

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use sealroot::check::Depth;
use sealroot::machine::Booted;
use sealroot::ostree::Repository;
use sealroot::repair::{
    self, Chosen, Damage, OstreeSource, Outcome, Request, Source, StoreSource, What,
};
use sealroot::store::{CONFIG_NAME, Store};
use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;
use sealroot_remote::fetch::Fetcher;
use sealroot_remote::pull::RemoteSource;
use sealroot_remote::source;
use sealroot_remote::state::Remote;
use serde::Serialize;

use crate::args::Common;
use crate::cmd::pull::fetcher_of;
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::machine::{DeploymentChoice, RunArgs};
use crate::name::AnyName;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::repository::RepositoryArgs;
use crate::time;

/// Replace what is damaged or missing of the releases in the store.
///
/// Looks at all that the releases and deployments need, and takes what is wrong from where it is right: another
/// copy in the store, the OSTree repository of this machine, a copy that --from names, the remotes. Whatever comes is
/// verified by its digest, and takes the place of the damaged file at once; that goes to the trash. The system may
/// run: what it has open stays as it is until the next boot.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Repair {
    /// Commits and deployments, or their first digits [default: all that are in the store].
    #[arg(value_name = "COMMIT|DEPLOYMENT")]
    targets: Vec<Target>,

    /// Only say what is damaged.
    #[arg(long)]
    dry_run: bool,

    /// Read every block. Without it a damaged block behind a right measurement is not noticed, and without
    /// fs-verity nothing but size and name of an object are looked at.
    #[arg(long)]
    full: bool,

    /// Take it from here before the remotes are asked: a directory with another store; or, instead of their
    /// addresses, an address or a directory with a copy of what is published. May be given again.
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<String>,

    /// Ask no remote: take it from the store itself, from OSTree, or from the directories that --from names.
    #[arg(long)]
    offline: bool,

    #[command(flatten)]
    repository: RepositoryArgs,

    #[command(flatten)]
    run: RunArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot repair --dry-run --full                # what is damaged, block by block
  sealroot repair --full                          # and replace it
  sealroot repair COMMIT --from /media/stick/os   # from a copy of what the server has
  sealroot repair --from /mnt/ostree/verity       # from another store
  sealroot repair --offline                       # from what is on this machine

The exit code is that of `corrupt` if something is left.";

/// What to look at.
#[derive(Clone, Debug)]
enum Target {
    Commit(CommitPrefix),
    Deployment(DeploymentChoice),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('.') {
            return text.parse().map(Self::Deployment);
        }
        text.parse().map(Self::Commit)
    }
}

#[derive(Serialize)]
struct RepairReport {
    packs: u64,
    objects: u64,
    hashed_bytes: u64,
    damage: Vec<DamageReport>,
    repaired: u64,
    left: u64,
    /// Whether the running system has files open that were replaced.
    wants_reboot: bool,
}

#[derive(Serialize)]
struct DamageReport {
    /// `statement`, `pack` or `object`.
    kind: &'static str,
    /// A digest, or commit and stream.
    name: String,
    size_bytes: Option<u64>,
    places: Vec<PlaceReport>,
    files: Vec<AnyName>,
    /// `found`, `repaired` or `left`.
    outcome: &'static str,
    from: Option<String>,
    reasons: Vec<String>,
}

#[derive(Serialize)]
struct PlaceReport {
    path: AnyName,
    code: &'static str,
    detail: String,
}

impl DamageReport {
    fn new(damage: &Damage) -> Self {
        let (kind, name) = match &damage.what {
            What::Statement(commit, stream) => ("statement", format!("{commit}.{stream}")),
            What::Pack(digest) => ("pack", digest.to_string()),
            What::Object(digest) => ("object", digest.to_string()),
        };
        let (outcome, from, reasons) = match &damage.outcome {
            Outcome::Found => ("found", None, Vec::new()),
            Outcome::Repaired { from } => ("repaired", Some(from.clone()), Vec::new()),
            Outcome::Left { reasons } => ("left", None, reasons.clone()),
        };
        let places = damage.places.iter().map(|place| PlaceReport {
            path: place.path.as_bytes().into(),
            code: place.code.as_str(),
            detail: place.detail.clone(),
        });
        Self {
            kind,
            name,
            size_bytes: damage.size_bytes,
            places: places.collect(),
            files: damage.files.iter().map(|file| (&**file).into()).collect(),
            outcome,
            from,
            reasons,
        }
    }
}

impl Report for RepairReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for damage in &self.damage {
            writeln!(out, "{} {}", damage.kind, damage.name)?;
            for file in &damage.files {
                writeln!(out, "  is {file}")?;
            }
            for PlaceReport { path, code, detail } in &damage.places {
                writeln!(out, "  {code} {path}: {detail}")?;
            }
            match &damage.from {
                Some(from) => writeln!(out, "  REPAIRED from {from}")?,
                None if damage.outcome == "left" => writeln!(out, "  LEFT as it is")?,
                None => {}
            }
            for reason in &damage.reasons {
                writeln!(out, "    {reason}")?;
            }
        }
        writeln!(
            out,
            "{}, {}, {} hashed: {} damaged or missing, {} repaired",
            counted(self.packs, "pack"),
            counted(self.objects, "object"),
            counted(self.hashed_bytes, "byte"),
            self.damage.len(),
            self.repaired
        )?;
        if self.wants_reboot {
            writeln!(
                out,
                "the running system has the old files open: a reboot makes it whole"
            )?;
        }
        Ok(())
    }
}

impl Repair {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        self.expect_no_server()?;
        let store = common.open_store()?;
        let keyset = common.trusted_keyset().ok();
        let request = Request {
            chosen: self.chosen(&store)?,
            depth: if self.full { Depth::Full } else { Depth::Quick },
            keyset: keyset.as_ref(),
        };
        let progress = Arc::new(Progress::new(output));
        // Nothing is asked of anybody before something is known to be wanted.
        let looked = repair::look(&store, &request, &*progress)?;
        if self.dry_run || looked.damage.is_empty() {
            return self.conclude(&store, &looked, output);
        }
        let sources = Sources::open(self, common, &store, &progress, output)?;
        let sources = sources.all(&store);
        let sources: Vec<&dyn Source> = sources.iter().map(|source| &**source).collect();
        let report = repair::repair(&store, &request, &sources, &*progress)?;
        self.conclude(&store, &report, output)
    }

    /// With --offline nothing may be named that is not at hand.
    fn expect_no_server(&self) -> anyhow::Result<()> {
        let mut servers = self
            .from
            .iter()
            .filter(|address| source::is_server(address));
        let Some(server) = servers.next().filter(|_| self.offline) else {
            return Ok(());
        };
        let message = format!("--from {server} is a server, and --offline asks none");
        Err(Failure::new(ErrorClass::Usage, message)
            .hint("name a directory with a copy of what it has, or leave --offline out")
            .into())
    }

    fn chosen(&self, store: &Store) -> anyhow::Result<BTreeSet<Chosen>> {
        let chosen = self.targets.iter().map(|target| match target {
            Target::Commit(commit) => Ok(Chosen::Commit(commit.find(store)?)),
            Target::Deployment(name) => Ok(Chosen::Deployment(name.find(store)?)),
        });
        chosen.collect()
    }

    fn conclude(
        &self,
        store: &Store,
        report: &repair::Report,
        output: Output,
    ) -> anyhow::Result<()> {
        let left = report.left().count() as u64;
        let running = Booted::running(&self.run.runtime()).ok().flatten();
        output.emit(&RepairReport {
            packs: report.packs,
            objects: report.objects,
            hashed_bytes: report.hashed_bytes,
            damage: report.damage.iter().map(DamageReport::new).collect(),
            repaired: report.damage.len() as u64 - left,
            left,
            wants_reboot: running.is_some_and(|running| concerns(report, running)),
        })?;
        if left == 0 {
            return Ok(());
        }
        let message = format!(
            "{left} of what the releases in {} need is damaged or missing",
            store.location().display()
        );
        let hint = if self.dry_run {
            "the same without --dry-run replaces it"
        } else if self.offline {
            "without --offline the remotes are asked; or name a copy with --from: a directory with what the vendor \
             publishes, or another store that has the release"
        } else {
            "name a copy with --from: what the vendor publishes, or another store that has the release; or \
             deploy another release and prune this one"
        };
        Err(Failure::new(ErrorClass::Corrupt, message).hint(hint).into())
    }
}

/// Whether something was replaced that the running deployment may have open: what is in its directory, or has no
/// other place.
fn concerns(report: &repair::Report, running: DeploymentName) -> bool {
    let own = format!("deploy/{running}/");
    let is_concerned = |damage: &Damage| {
        matches!(damage.what, What::Pack(_))
            || (damage.places.iter()).any(|place| place.path.to_string().starts_with(&own))
    };
    let mut repaired = report.damage.iter().filter(|damage| damage.is_repaired());
    repaired.any(is_concerned)
}

/// Where good content may come from.
struct Sources {
    repository: Option<Repository>,
    stores: Vec<Store>,
    remotes: Vec<(Remote, Fetcher)>,
}

impl Sources {
    fn open(
        repair: &Repair,
        common: &Common,
        store: &Store,
        progress: &Arc<Progress>,
        output: Output,
    ) -> anyhow::Result<Self> {
        let (stores, addresses): (Vec<&String>, Vec<&String>) =
            (repair.from.iter()).partition(|address| Path::new(address).join(CONFIG_NAME).exists());
        let stores = stores.into_iter().map(|path| Store::open(Path::new(path)));
        let remotes = if repair.offline && addresses.is_empty() {
            Vec::new()
        } else {
            open_remotes(store, &addresses, progress, output)?
        };
        Ok(Self {
            repository: repair.repository.find(common, output)?,
            stores: stores.collect::<Result<_, _>>()?,
            remotes,
        })
    }

    /// The cheapest first.
    fn all<'a>(&'a self, store: &'a Store) -> Vec<Box<dyn Source + 'a>> {
        let repository = self.repository.iter();
        let ostree = repository.map(|found| Box::new(OstreeSource::new(found)) as Box<dyn Source>);
        let stores = self.stores.iter();
        let stores = stores.map(|found| Box::new(StoreSource::new(found)) as Box<dyn Source>);
        let remotes = self.remotes.iter().map(|(remote, fetcher)| {
            Box::new(RemoteSource::new(store, remote, fetcher)) as Box<dyn Source>
        });
        ostree.chain(stores).chain(remotes).collect()
    }
}

/// The remotes whose channels can be had; the others are told. Addresses that are named stand in for those of all
/// remotes.
fn open_remotes(
    store: &Store,
    addresses: &[&String],
    progress: &Arc<Progress>,
    output: Output,
) -> anyhow::Result<Vec<(Remote, Fetcher)>> {
    let mut remotes = Vec::new();
    let names = store.list_remotes()?;
    if let (Some(address), true) = (addresses.first(), names.is_empty()) {
        let message =
            format!("{address} is no store, and there is no remote that it could be a copy of");
        return Err(Failure::new(ErrorClass::Usage, message)
            .hint("`sealroot remote add` says whose releases they are")
            .into());
    }
    for name in names {
        let mut remote = Remote::load(store, &name)?;
        let own = remote.addresses.iter().collect::<Vec<_>>();
        let addresses = if addresses.is_empty() {
            &own
        } else {
            addresses
        };
        let fetcher = fetcher_of(addresses.iter().copied(), None, progress)?;
        match remote.refresh(&fetcher, time::now()) {
            Ok(()) => remote.save(store, &sealroot::monitor::Silent)?,
            // Digests say what is right, however old the channel is.
            Err(error) if remote.last().is_some() => output.warn(&format!(
                "the remote {name} is asked for what its channel named before: {error}"
            )),
            Err(error) => {
                output.warn(&format!("nothing comes from the remote {name}: {error}"));
                continue;
            }
        }
        remotes.push((remote, fetcher));
    }
    Ok(remotes)
}
