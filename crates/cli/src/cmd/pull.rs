// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot pull`

use std::io::{self, Write};
use std::sync::Arc;

use clap::{Args, value_parser};
use sealroot::monitor::Silent;
use sealroot::store::{ImageName, Store, image_path};
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Name, Statement, Verified};
use sealroot_remote::fetch::{Fetcher, Patience, Traffic};
use sealroot_remote::plan::{ImageStep, ImageWay, Plan, Step};
use sealroot_remote::pull::{Pulled, Puller};
use sealroot_remote::source;
use sealroot_remote::state::Remote;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::machine::BootArgs;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::release::ReleaseReport;
use crate::repository::RepositoryArgs;
use crate::time;

/// Fetch the newest release of a remote into the store.
///
/// The channel says which releases there are, and how they can come: by a delta from one that is here,
/// or by the pack and those objects that are missing. The cheapest way is taken. What was interrupted
/// goes on where it was. Everything is verified before it counts: a server can only delay, and an old
/// or expired channel is refused.
///
/// A machine that is started by a unified kernel image gets that of the release with it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Pull {
    #[command(flatten)]
    from: FromRemote,

    /// Say what would be fetched, and fetch only what is needed to know it.
    #[arg(long)]
    plan: bool,

    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot pull                                   # the newest release of the only remote
  sealroot pull vendor --plan                     # what it would cost
  sealroot pull vendor --index 41                 # another release
  sealroot pull vendor --image default            # its unified kernel image too
  sealroot pull vendor --from /media/stick/os     # from a copy of what the server has";

/// Which release, and from where.
#[derive(Debug, Args)]
pub(crate) struct FromRemote {
    /// The remote, as `remote add` named it [default: the only one].
    #[arg(value_name = "NAME")]
    remote: Option<Name>,

    /// The release with this index [default: the newest].
    #[arg(long, value_name = "NUMBER")]
    index: Option<u64>,

    /// Fetch the unified kernel image of this name with it [default: where one starts this machine, that
    /// of the name that `remote add` was told, else `default`].
    #[arg(long, value_name = "NAME")]
    image: Option<Name>,

    /// Fetch from here instead: an address, or a directory with a copy. May be given again.
    #[arg(long, value_name = "ADDRESS")]
    from: Vec<String>,

    #[command(flatten)]
    repository: RepositoryArgs,

    /// Fetch at most so many KiB in a second, over each of at most four connections.
    #[arg(long, value_name = "KIB", value_parser = value_parser!(u64).range(1..))]
    limit_rate: Option<u64>,
}

#[derive(Serialize)]
struct StepReport {
    by: &'static str,
    from: Option<u64>,
    to: u64,
    bytes: u64,
}

impl StepReport {
    fn new(step: &Step) -> Self {
        let (by, from) = match step {
            Step::Delta(delta) => ("delta", Some(delta.from)),
            Step::Bundle { .. } => ("bundles", None),
        };
        Self {
            by,
            from,
            to: step.to(),
            bytes: step.bytes(),
        }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = counted(self.bytes, "byte");
        match self.from {
            Some(from) => writeln!(out, "  delta from {from} to {}: {bytes}", self.to),
            None => writeln!(
                out,
                "  pack and missing objects of {}: at most {bytes}",
                self.to
            ),
        }
    }
}

/// An image, and how it comes.
#[derive(Serialize)]
struct ImageReport {
    name: String,
    /// What comes: `nothing`, `image` or `delta`.
    by: &'static str,
    /// The release whose image it is made of.
    from: Option<u64>,
    bytes: u64,
    image_bytes: u64,
    digest: String,
    /// The file, if it is there.
    path: Option<String>,
}

impl ImageReport {
    fn new(step: &ImageStep, path: Option<String>) -> Self {
        let (by, from) = match &step.by {
            ImageWay::Present => ("nothing", None),
            ImageWay::Release => ("image", None),
            ImageWay::Delta(delta) => ("delta", Some(delta.from)),
        };
        Self {
            name: step.image.name.to_string(),
            by,
            from,
            bytes: step.bytes(),
            image_bytes: step.image.size_bytes,
            digest: step.image.digest.to_string(),
            path,
        }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { name, .. } = self;
        let bytes = counted(self.bytes, "byte");
        match (self.by, self.from) {
            ("nothing", _) => writeln!(out, "  image {name}: here"),
            (_, Some(from)) => writeln!(out, "  image {name}, made of that of {from}: {bytes}"),
            (_, None) => writeln!(out, "  image {name}, made of its release: {bytes}"),
        }?;
        match &self.path {
            Some(path) => writeln!(out, "    {path}"),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct PlanReport {
    remote: String,
    index: u64,
    steps: Vec<StepReport>,
    image: Option<ImageReport>,
    bytes: u64,
}

impl Report for PlanReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.steps.is_empty() {
            writeln!(out, "release {} is here", self.index)?;
        } else {
            writeln!(out, "release {} would come by", self.index)?;
        }
        self.steps
            .iter()
            .try_for_each(|step| step.write_text(out))?;
        self.image
            .iter()
            .try_for_each(|image| image.write_text(out))
    }
}

/// What came.
#[derive(Serialize)]
pub(crate) struct PullReport {
    remote: String,
    #[serde(flatten)]
    release: ReleaseReport,
    is_new: bool,
    steps: Vec<StepReport>,
    image: Option<ImageReport>,
    requests: u64,
    fetched_bytes: u64,
    added_objects: u64,
    added_bytes: u64,
    /// Files of OSTree's that became objects.
    linked_objects: u64,
    linked_bytes: u64,
}

impl PullReport {
    fn new(store: &Store, remote: &Name, pulled: &Pulled, traffic: Traffic) -> Self {
        let Pulled {
            statement, plan, ..
        } = pulled;
        let path_of = |name: &ImageName| store.location().join(image_path(name).to_string());
        let path = pulled.image.as_ref().map(path_of);
        let path = path.map(|path| path.display().to_string());
        let image = plan.image.as_ref();
        Self {
            image: image.map(|step| ImageReport::new(step, path)),
            remote: remote.to_string(),
            release: ReleaseReport::new(statement),
            is_new: !plan.steps.is_empty(),
            steps: plan.steps.iter().map(StepReport::new).collect(),
            requests: traffic.requests,
            fetched_bytes: traffic.bytes,
            added_objects: pulled.objects.added_objects,
            added_bytes: pulled.objects.added_bytes,
            linked_objects: pulled.objects.linked_objects,
            linked_bytes: pulled.objects.linked_bytes,
        }
    }
}

impl Report for PullReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.release.write_text(out)?;
        let is_image_new = (self.image.as_ref()).is_some_and(|image| image.bytes > 0);
        if !self.is_new {
            writeln!(out, "  it was here already")?;
        }
        self.steps
            .iter()
            .try_for_each(|step| step.write_text(out))?;
        (self.image.iter()).try_for_each(|image| image.write_text(out))?;
        if !self.is_new && !is_image_new {
            return Ok(());
        }
        let bytes = counted(self.fetched_bytes, "byte");
        let requests = counted(self.requests, "request");
        let objects = counted(self.added_objects, "object");
        let added = counted(self.added_bytes, "byte");
        writeln!(out, "  fetched {bytes} in {requests}")?;
        if self.linked_objects > 0 {
            let linked = counted(self.linked_objects, "file");
            let bytes = counted(self.linked_bytes, "byte");
            writeln!(out, "  taken over from OSTree: {linked} of {bytes}")?;
        }
        writeln!(out, "  new in the store: {objects} of {added}")
    }
}

impl Pull {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_or_create_store(output)?;
        let needs_image = self.boot.is_started_by_image(common)?;
        if !self.plan {
            let fetched = self.from.pull(common, &store, needs_image, output)?;
            return output.emit(&fetched.report);
        }
        let progress = Arc::new(Progress::new(output));
        let (remote, fetcher) = self.from.refresh(&store, &progress)?;
        let puller = Puller::new(&store, &remote, &fetcher, None);
        let plan = self.from.plan(&puller, &remote, needs_image)?;
        let plan = puller.foresee(&plan, &Silent)?;
        output.emit(&PlanReport {
            remote: remote.name.to_string(),
            index: plan.release.index,
            bytes: plan.bytes(),
            steps: plan.steps.iter().map(StepReport::new).collect(),
            image: (plan.image.as_ref()).map(|step| ImageReport::new(step, None)),
        })
    }
}

/// A release that was fetched.
pub(crate) struct Fetched {
    pub(crate) statement: Verified<Statement>,
    /// Its image, if one was wanted.
    pub(crate) image: Option<ImageName>,
    pub(crate) report: PullReport,
}

impl FromRemote {
    /// Whether an image was asked for by name.
    pub(crate) const fn names_image(&self) -> bool {
        self.image.is_some()
    }

    /// The way to the release, and to the image that was asked for or that is needed.
    fn plan(
        &self,
        puller: &Puller<'_>,
        remote: &Remote,
        needs_image: bool,
    ) -> anyhow::Result<Plan> {
        let plan = puller.plan(self.index)?;
        let usual = || needs_image.then(|| remote.image_name());
        Ok(match self.image.clone().or_else(usual) {
            Some(name) => puller.with_image(plan, &name)?,
            None => plan,
        })
    }

    /// Fetches the release, and the image that was asked for or that is needed.
    pub(crate) fn pull(
        &self,
        common: &Common,
        store: &Store,
        needs_image: bool,
        output: Output,
    ) -> anyhow::Result<Fetched> {
        let repository = self.repository.find(common, output)?;
        let progress = Arc::new(Progress::new(output));
        let (remote, fetcher) = self.refresh(store, &progress)?;
        let puller = Puller::new(store, &remote, &fetcher, repository.as_ref());
        let plan = self.plan(&puller, &remote, needs_image)?;
        let pulled = puller.pull(&plan, &*progress)?;
        let report = PullReport::new(store, &remote.name, &pulled, fetcher.traffic());
        Ok(Fetched {
            statement: pulled.statement,
            image: pulled.image,
            report,
        })
    }

    /// Learns what the channel offers now, and remembers it.
    fn refresh(
        &self,
        store: &Store,
        progress: &Arc<Progress>,
    ) -> anyhow::Result<(Remote, Fetcher)> {
        let name = match &self.remote {
            Some(name) => name.clone(),
            None => only_remote(store)?,
        };
        let mut remote = Remote::load(store, &name)?;
        let addresses = if self.from.is_empty() {
            &remote.addresses
        } else {
            &self.from
        };
        let rate = self.limit_rate.map(|kib| kib.saturating_mul(1024));
        let fetcher = fetcher_of(addresses, rate, progress)?;
        remote.refresh(&fetcher, time::now())?;
        remote.save(store, &Silent)?;
        Ok((remote, fetcher))
    }
}

/// What fetches from these addresses, at most so many bytes in a second, and says what it waits for.
pub(crate) fn fetcher_of<'a>(
    addresses: impl IntoIterator<Item = &'a String>,
    bytes_per_second: Option<u64>,
    progress: &Arc<Progress>,
) -> anyhow::Result<Fetcher> {
    let sources = addresses.into_iter().map(|address| source::open(address));
    let sources: Vec<_> = sources.collect::<Result<_, _>>()?;
    let fetcher = Fetcher::new(sources, Patience::default(), bytes_per_second);
    Ok(fetcher.telling(Arc::<Progress>::clone(progress)))
}

fn only_remote(store: &Store) -> anyhow::Result<Name> {
    let mut remotes = store.list_remotes()?;
    let (class, message, hint) = match (remotes.pop(), remotes.is_empty()) {
        (Some(only), true) => return Ok(only),
        (None, _) => (
            ErrorClass::NotFound,
            "there is no remote",
            "`sealroot remote add` says where releases come from".into(),
        ),
        (Some(last), false) => {
            remotes.push(last);
            let names: Vec<_> = remotes.iter().map(Name::as_str).collect();
            let hint = format!("name one: {}", names.join(" or "));
            (ErrorClass::Usage, "there are several remotes", hint)
        }
    };
    Err(Failure::new(class, message).hint(hint).into())
}
