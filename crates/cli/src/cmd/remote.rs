// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot remote`

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::{Args, Subcommand, value_parser};
use sealroot::monitor::Silent;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Name, SECONDS_OF_DAY};
use sealroot_remote::layout::ChannelName;
use sealroot_remote::publish::{self, Listed};
use sealroot_remote::source;
use sealroot_remote::state::Remote;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::output::{Output, Report, counted};
use crate::time;

/// Say where releases come from; clean up where they are published.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Follow a channel of a server, or of a directory.
    ///
    /// The keyset is trusted from then on, and those that follow it. Nothing is fetched yet.
    #[command(after_long_help = ADD_EXAMPLE)]
    Add(Add),
    /// Show the remotes, and what was last heard of them.
    #[command(after_long_help = "Example:\n  sealroot remote list --json")]
    List,
    /// Forget a remote. Releases that came from it stay.
    #[command(after_long_help = "Example:\n  sealroot remote remove vendor")]
    Remove(Remove),
    /// Remove published files that no channel leads to any more.
    ///
    /// For the vendor: devices may go by a channel that was replaced a while ago, so young files stay.
    /// A directory is locked meanwhile; a bucket is not, so let nobody publish to it until this ends.
    #[command(after_long_help = PRUNE_EXAMPLES)]
    Prune(Prune),
}

const ADD_EXAMPLE: &str = "\
Example:
  sealroot --keyset vendor.keyset remote add vendor https://updates.example.org/os \\
      --os exampleos --stream stable";

const PRUNE_EXAMPLES: &str = "\
Examples:
  sealroot remote prune /srv/www/os --dry-run
  sealroot remote prune s3://updates/os";

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What it is called here.
    #[arg(value_name = "NAME")]
    name: Name,

    /// Where it is: http://, https:// or a directory. Further ones are mirrors.
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<String>,

    /// The OS, as its releases name it.
    #[arg(long, value_name = "NAME")]
    os: Name,

    /// The edition of the OS, if it has several.
    #[arg(long, value_name = "NAME")]
    variant: Option<Name>,

    /// The line of releases.
    #[arg(long, value_name = "NAME")]
    stream: Name,

    /// The architecture [default: this machine's].
    #[arg(long, value_name = "NAME")]
    arch: Option<Name>,

    /// Which unified kernel images this machine takes, where one starts it [default: `default`].
    #[arg(long, value_name = "NAME")]
    image: Option<Name>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The remote.
    #[arg(value_name = "NAME")]
    name: Name,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Where it was published: a directory, or a bucket as `publish` knows them.
    #[arg(value_name = "PLACE")]
    place: PathBuf,

    /// Remove nothing that is younger.
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = value_parser!(u64))]
    older_than: u64,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct RemoteReport {
    name: String,
    addresses: Vec<String>,
    channel: String,
    /// The name of the unified kernel images that are taken.
    image: String,
    keyset: u64,
    /// What the channel said when it was last heard; none if it never was.
    last: Option<LastReport>,
}

#[derive(Serialize)]
struct LastReport {
    version: u64,
    created: u64,
    expires: u64,
    newest: Option<u64>,
}

impl RemoteReport {
    fn new(remote: &Remote) -> Self {
        Self {
            name: remote.name.to_string(),
            addresses: remote.addresses.clone(),
            channel: remote.channel.to_string(),
            image: remote.image_name().to_string(),
            keyset: remote.keyset().version(),
            last: remote.last().map(|channel| LastReport {
                version: channel.version,
                created: channel.created,
                expires: channel.expires,
                newest: channel.newest().map(|newest| newest.index),
            }),
        }
    }
}

impl Report for RemoteReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            name,
            channel,
            keyset,
            ..
        } = self;
        writeln!(out, "{name}: {channel}, keyset {keyset}")?;
        for address in &self.addresses {
            writeln!(out, "  {address}")?;
        }
        match &self.last {
            Some(LastReport {
                version,
                newest: Some(newest),
                expires,
                ..
            }) => {
                let believed = match expires.checked_sub(time::now()) {
                    Some(left) => format!("believed for {} days more", left / SECONDS_OF_DAY),
                    None => "expired".to_owned(),
                };
                writeln!(
                    out,
                    "  newest release {newest}, channel version {version}, {believed}"
                )
            }
            _ => writeln!(out, "  never heard of"),
        }
    }
}

#[derive(Serialize)]
struct ListReport(Vec<RemoteReport>);

impl Report for ListReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|remote| remote.write_text(out))
    }
}

#[derive(Serialize)]
struct PruneReport {
    is_dry_run: bool,
    removed: Vec<FileReport>,
    young: Vec<FileReport>,
    kept: u64,
}

#[derive(Serialize)]
struct FileReport {
    path: String,
    bytes: u64,
}

fn files(listed: &[Listed]) -> Vec<FileReport> {
    let file = |file: &Listed| FileReport {
        path: file.path.clone(),
        bytes: file.size_bytes,
    };
    listed.iter().map(file).collect()
}

impl Report for PruneReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.is_dry_run {
            "would remove"
        } else {
            "removed"
        };
        for file in &self.removed {
            writeln!(
                out,
                "{verb} {} ({})",
                file.path,
                counted(file.bytes, "byte")
            )?;
        }
        for file in &self.young {
            writeln!(out, "too young to remove: {}", file.path)?;
        }
        writeln!(out, "{} stay", counted(self.kept, "file"))
    }
}

impl RemoteCommand {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run(common, output),
            Self::List => {
                let store = common.open_store()?;
                let names = store.list_remotes()?;
                let remotes = names.iter().map(|name| Remote::load(&store, name));
                let remotes: Vec<_> = remotes.collect::<Result<_, _>>()?;
                output.emit(&ListReport(remotes.iter().map(RemoteReport::new).collect()))
            }
            Self::Remove(remove) => remove.run(common),
            Self::Prune(prune) => prune.run(output),
        }
    }
}

impl Add {
    fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let addresses = self.addresses.iter().map(|address| absolute(address));
        let addresses: Vec<String> = addresses.collect::<anyhow::Result<_>>()?;
        let keyset = common.keyset_file()?.document()?;
        let store = common.open_or_create_store(output)?;
        if store.read_remote(&self.name)?.is_some() {
            let message = format!("there is a remote {} already", self.name);
            return Err(Failure::new(ErrorClass::Usage, message)
                .hint(format!("`sealroot remote remove {}` forgets it", self.name))
                .into());
        }
        let channel = ChannelName {
            os: self.os.clone(),
            variant: self.variant.clone(),
            stream: self.stream.clone(),
            arch: match &self.arch {
                Some(arch) => arch.clone(),
                None => rustix::system::uname().machine().to_str()?.parse()?,
            },
        };
        let mut remote = Remote::new(self.name.clone(), addresses, channel, keyset)?;
        remote.image.clone_from(&self.image);
        remote.save(&store, &Silent)?;
        output.emit(&RemoteReport::new(&remote))
    }
}

/// An address that means the same wherever the command runs.
fn absolute(address: &str) -> anyhow::Result<String> {
    source::open(address)?;
    if address.contains("://") {
        return Ok(address.to_owned());
    }
    let path = std::path::absolute(address)?;
    let text = path
        .to_str()
        .with_context(|| format!("{address} is no UTF-8"))?;
    Ok(text.to_owned())
}

impl Remove {
    fn run(&self, common: &Common) -> anyhow::Result<()> {
        let store = common.open_store_for_change()?;
        let transaction = store.begin(&Silent)?;
        let was_there = transaction.remove_remote(&self.name)?;
        transaction.finish()?;
        if was_there {
            return Ok(());
        }
        let message = format!("there is no remote {}", self.name);
        Err(Failure::new(ErrorClass::NotFound, message)
            .hint("`sealroot remote list` shows those there are")
            .into())
    }
}

impl Prune {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        if let Some(directory) = publish::directory(&self.place)
            && !directory.is_dir()
        {
            let message = format!("there is no directory {}", directory.display());
            return Err(Failure::new(ErrorClass::NotFound, message)
                .hint("name the place that `sealroot publish --to` was told")
                .into());
        }
        let destination = if self.dry_run {
            Box::new(publish::open_for_trial(&self.place)?)
        } else {
            publish::open(&self.place)?
        };
        let age = Duration::from_secs(self.older_than.saturating_mul(60 * 60));
        let pruned = publish::prune(&*destination, SystemTime::now(), age)?;
        output.emit(&PruneReport {
            is_dry_run: self.dry_run,
            removed: files(&pruned.removed),
            young: files(&pruned.young),
            kept: pruned.kept,
        })
    }
}
