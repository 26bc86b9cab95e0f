// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot publish`

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, value_parser};
use sealroot::monitor::Monitor;
use sealroot::release;
use sealroot::store::{ImageName, Store};
use sealroot_format::ErrorClass;
use sealroot_format::digest::compute_verity_digest;
use sealroot_format::limits;
use sealroot_format::sign::{Name, SECONDS_OF_DAY, Statement};
use sealroot_remote::layout::ChannelName;
use sealroot_remote::publish::{self, Destination, Image, Published, Put, Release, Terms, Vendor};
use sealroot_remote::state::USUAL_IMAGE;
use serde::Serialize;

use crate::args::Common;
use crate::cmd;
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::signers::SignerOptions;
use crate::time;

/// Put a signed release where a server serves it.
///
/// Everything is a static file: any HTTP server or CDN does. What is there already is not put again.
/// The channel, signed by a channel key of the keyset, comes last: no device sees a name before its
/// content. Devices believe it for a limited time: --renew puts a new one without a release.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Publish {
    /// The commit, as `build` printed it; its first digits do.
    #[arg(value_name = "COMMIT", required_unless_present = "renew")]
    commit: Option<CommitPrefix>,

    /// Publish no release, but have devices believe this channel for longer: OS/VARIANT/STREAM/ARCH,
    /// and - where there is no variant. Needs no store.
    #[arg(long, value_name = "CHANNEL", conflicts_with_all = ["commit", "stream", "deltas", "level"])]
    renew: Option<ChannelName>,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    /// The directory that is served, or copied to where it is; or a bucket, as
    /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`.
    #[arg(long, value_name = "PLACE")]
    to: PathBuf,

    #[command(flatten)]
    signer: SignerOptions,

    /// Publish this unified kernel image with it, made by `uki build` for this release. Devices that are
    /// started by an image get it with the release. May be given again, with other names, of which a
    /// device takes one [default name: default].
    #[arg(long, value_name = "[NAME=]FILE", conflicts_with = "renew")]
    uki: Vec<NamedImage>,

    /// Make deltas from so many of the releases before it.
    #[arg(long, value_name = "N", default_value_t = 4)]
    deltas: usize,

    /// Let devices believe the channel for so many days. Publish or renew it before they are over.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=limits::MAX_CHANNEL_DAYS))]
    expires: u64,

    /// Offer no more than so many releases, the newest [default: all].
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    keep: Option<u16>,

    /// Go on after this version of the channel, where the published one was lost: the one that devices
    /// say they have seen, else they believe nothing until as many more were published.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    after_version: u64,

    /// The level of zstd for whole packs and objects.
    #[arg(long, value_name = "LEVEL", default_value_t = 19, value_parser = value_parser!(i32).range(1..=19))]
    level: i32,

    /// Say what would be put, and put nothing. Deltas are made all the same, to know their sizes.
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --store store --keyset vendor.keyset publish COMMIT --to /srv/www/os --key vendor.secret
  sealroot --store store --keyset vendor.keyset publish COMMIT --to /srv/www/os \\
      --key vendor.secret --deltas 8 --keep 20 --dry-run
  sealroot --store store --keyset vendor.keyset publish COMMIT --to s3://updates/os \\
      --key vendor.secret
  sealroot --store store --keyset vendor.keyset publish COMMIT --to /srv/www/os \\
      --key vendor.secret --uki os.efi --uki console=os-console.efi
  sealroot --keyset vendor.keyset publish --renew exampleos/-/stable/x86_64 --to /srv/www/os \\
      --key vendor.secret

Devices then follow it:
  sealroot --keyset vendor.keyset remote add vendor https://updates.example.org/os \\
      --os exampleos --stream stable
  sealroot upgrade

A bucket must be there. What a store is asked with comes from the environment, or from the machine
in the cloud that this runs on:
  S3, and what speaks like it   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT,
                                AWS_ALLOW_HTTP
  Google Cloud Storage          GOOGLE_SERVICE_ACCOUNT
  Azure                         AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY

Of several who publish to a bucket at once, those who come too late with their channel are told so,
and publish again. With a store that cannot replace an object on a condition, set
AWS_CONDITIONAL_PUT=disabled, and publish one at a time.";

#[derive(Serialize)]
struct PublishReport {
    is_dry_run: bool,
    channel: String,
    version: u64,
    expires: u64,
    releases: usize,
    deltas: usize,
    images: usize,
    put: Vec<PutReport>,
}

#[derive(Serialize)]
struct PutReport {
    path: String,
    bytes: u64,
}

impl PutReport {
    fn new(put: &Put) -> Self {
        Self {
            path: put.path.clone(),
            bytes: put.size_bytes,
        }
    }
}

impl PublishReport {
    fn new(Published { channel, put }: &Published, is_dry_run: bool) -> Self {
        Self {
            is_dry_run,
            channel: ChannelName::of_channel(channel).to_string(),
            version: channel.version,
            expires: channel.expires,
            releases: channel.releases.len(),
            deltas: channel.deltas.len(),
            images: channel.images.len(),
            put: put.iter().map(PutReport::new).collect(),
        }
    }
}

impl Report for PublishReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.is_dry_run { "would put" } else { "put" };
        for put in &self.put {
            writeln!(out, "{verb} {} ({})", put.path, counted(put.bytes, "byte"))?;
        }
        let releases = counted(self.releases as u64, "release");
        let deltas = counted(self.deltas as u64, "delta");
        let Self {
            channel, version, ..
        } = self;
        write!(
            out,
            "channel {channel} version {version}: {releases}, {deltas}"
        )?;
        match self.images {
            0 => writeln!(out),
            images => writeln!(out, ", {}", counted(images as u64, "image")),
        }
    }
}

/// An image and its name.
#[derive(Clone, Debug)]
struct NamedImage {
    name: Name,
    path: PathBuf,
}

impl FromStr for NamedImage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').unwrap_or((USUAL_IMAGE, text));
        match name.parse() {
            Ok(name) => Ok(Self {
                name,
                path: path.into(),
            }),
            // No name, but a part of the path, if there is such a file.
            Err(_) if Path::new(text).exists() => Ok(Self {
                name: USUAL_IMAGE.parse().expect("a name"),
                path: text.into(),
            }),
            Err(error) => Err(format!("{name:?} cannot be the name of an image: {error}")),
        }
    }
}

impl Publish {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let keyset = common.trusted_keyset()?;
        let vendor = Vendor {
            keyset: &common.keyset_file()?.document()?,
            signer: &self.signer.signer(output)?,
        };
        let terms = Terms {
            now: time::now(),
            lifetime_seconds: self.expires * SECONDS_OF_DAY,
            deltas: self.deltas,
            keep: self.keep.map(usize::from),
            after_version: self.after_version,
            level: self.level,
        };
        let open = || -> anyhow::Result<Box<dyn Destination>> {
            Ok(if self.dry_run {
                Box::new(publish::open_for_trial(&self.to)?)
            } else {
                publish::open(&self.to)?
            })
        };
        let progress = Progress::new(output);
        let published = match (&self.renew, &self.commit) {
            (Some(name), _) => publish::renew(&*open()?, &vendor, name, &terms, &progress)?,
            (None, Some(commit)) => {
                let images = self.read_images()?;
                let store = if images.is_empty() || self.dry_run {
                    common.open_store()?
                } else {
                    common.open_store_for_change()?
                };
                let (commit, stream) = (commit.find(&store)?, self.stream.as_ref());
                let statement = release::verify_statement(&store, &keyset, commit, stream)?;
                let (_, document) = release::read_statement(&store, commit, stream)?;
                let release = Release {
                    store: &store,
                    statement: &statement,
                    document: &document,
                    images: &images,
                };
                let published = publish::publish(&*open()?, &vendor, &release, &terms, &progress)?;
                if !self.dry_run {
                    keep_images(&store, &statement, &images, &progress)?;
                }
                published
            }
            (None, None) => {
                let message = "name the commit to publish, or the channel to --renew";
                return Err(Failure::new(ErrorClass::Usage, message).into());
            }
        };
        drop(progress);
        output.emit(&PublishReport::new(&published, self.dry_run))
    }

    fn read_images(&self) -> anyhow::Result<Vec<Image>> {
        let mut images: Vec<Image> = Vec::new();
        for NamedImage { name, path } in &self.uki {
            if images.iter().any(|image| image.name == *name) {
                let message = format!("two images are called {name}");
                return Err(Failure::new(ErrorClass::Usage, message)
                    .hint("name them: --uki NAME=FILE")
                    .into());
            }
            let (name, bytes) = (name.clone(), cmd::uki::read_image(path)?);
            images.push(Image { name, bytes });
        }
        Ok(images)
    }
}

/// Keeps images that were published: the next ones are made of them.
fn keep_images(
    store: &Store,
    statement: &Statement,
    images: &[Image],
    monitor: &dyn Monitor,
) -> anyhow::Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    let transaction = store.begin(monitor)?;
    for image in images {
        let name = ImageName {
            pack: statement.pack_digest,
            image: compute_verity_digest(&image.bytes),
        };
        let size_bytes = image.bytes.len() as u64;
        transaction.add_image(&name, size_bytes, |out| out.write_all(&image.bytes))?;
    }
    transaction.finish()?;
    Ok(())
}
