// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments on the command line, and where to find out what boots and runs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use sealroot::activate::{self, Machine};
use sealroot::deploy;
use sealroot::entry::{Boot, EntryError, Loader, Places};
use sealroot::machine::{Booted, Runtime, make_writable};
use sealroot::seal::further_partitions;
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;

use crate::args::Common;
use crate::failure::Failure;

/// A way out where none was found.
pub(crate) const NAME_THE_BOOT_PARTITION: &str =
    "name the boot partition with --boot DIR and --boot-loader NAME";

/// Fewest digits that stand for a commit.
const MIN_DIGITS: usize = 4;

/// Most candidates that an error lists.
const MAX_LISTED: usize = 8;

/// Where boot entries and the records of this boot are.
#[derive(Clone, Debug, Args)]
pub(crate) struct BootArgs {
    /// The boot partition [default: looked for in efi, boot/efi and boot of the sysroot].
    #[arg(long, value_name = "DIR", requires = "boot_loader")]
    boot: Option<PathBuf>,

    /// The boot loader that reads it, or `firmware` where there is none [default: found out].
    #[arg(long, value_enum, requires = "boot")]
    boot_loader: Option<LoaderChoice>,

    #[command(flatten)]
    run: RunArgs,
}

impl BootArgs {
    /// What was said of the machine, for a command that is to say the same.
    pub(crate) fn words(&self) -> String {
        let boot = match (&self.boot, self.boot_loader) {
            (Some(boot), Some(loader)) => {
                let loader = loader.to_possible_value();
                let loader = loader.map_or_else(String::new, |value| value.get_name().to_owned());
                format!(" --boot {} --boot-loader {loader}", boot.display())
            }
            _ => String::new(),
        };
        match &self.run.run {
            usual if usual == Path::new(Runtime::USUAL) => boot,
            run => format!("{boot} --run {}", run.display()),
        }
    }
}

/// Where the records of this boot are.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Where the programs of this boot say what runs and what is mounted.
    #[arg(long, value_name = "DIR", default_value = Runtime::USUAL)]
    run: PathBuf,
}

impl RunArgs {
    /// The records of this boot.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(&self.run)
    }

    /// The deployment that runs.
    pub(crate) fn running(&self) -> anyhow::Result<DeploymentName> {
        Booted::running(&self.runtime())?.ok_or_else(|| {
            let message = "no deployment of sealroot runs here";
            Failure::new(ErrorClass::NotFound, message)
                .hint("name what is meant; `sealroot status` lists what is there")
                .into()
        })
    }
}

/// The boot loaders that read boot entries.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LoaderChoice {
    /// systemd-boot.
    SystemdBoot,
    /// GRUB 2.14 or later, with `blscfg`.
    Grub,
    /// GRUB as Fedora has it.
    GrubFedora,
    /// None: the firmware starts images by itself.
    Firmware,
}

impl From<LoaderChoice> for Loader {
    fn from(choice: LoaderChoice) -> Self {
        match choice {
            LoaderChoice::SystemdBoot => Self::SystemdBoot,
            LoaderChoice::Grub => Self::Grub,
            LoaderChoice::GrubFedora => Self::GrubFedora,
            LoaderChoice::Firmware => Self::Firmware,
        }
    }
}

/// Whether there is a boot partition with entries.
#[derive(Debug)]
pub(crate) enum BootPlace {
    /// There is.
    Found(Boot),
    /// There is none to be used, for that reason.
    None(String),
}

impl BootPlace {
    /// The partition.
    pub(crate) const fn found(&self) -> Option<&Boot> {
        match self {
            Self::Found(boot) => Some(boot),
            Self::None(_) => None,
        }
    }

    /// The partition, which must be there.
    fn required(self) -> anyhow::Result<Boot> {
        match self {
            Self::Found(boot) => Ok(boot),
            Self::None(reason) => {
                let message = format!("there are no boot entries to change: {reason}");
                Err(Failure::new(ErrorClass::NotFound, message)
                    .hint(NAME_THE_BOOT_PARTITION)
                    .into())
            }
        }
    }

    /// Why there is none.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Found(_) => None,
            Self::None(reason) => Some(reason),
        }
    }
}

impl BootArgs {
    /// Finds the boot partition. A store that was named by itself belongs to none.
    pub(crate) fn find(&self, common: &Common) -> anyhow::Result<BootPlace> {
        if let (Some(directory), Some(loader)) = (&self.boot, self.boot_loader) {
            return Ok(BootPlace::Found(Boot::open(directory, loader.into())?));
        }
        if common.store.is_some() {
            let reason = "a store was named, not a sysroot, and no --boot";
            return Ok(BootPlace::None(reason.to_owned()));
        }
        match Boot::find(&Places::of(&common.physical_root())) {
            Ok(boot) => Ok(BootPlace::Found(boot)),
            Err(
                error @ (EntryError::NoBootLoader { .. }
                | EntryError::UnsupportedLoader { .. }
                | EntryError::SeveralLoaders { .. }),
            ) => Ok(BootPlace::None(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Where else a boot loader may look, besides this partition: nowhere where it was named, or
    /// belongs to no machine.
    pub(crate) fn further(&self, common: &Common, found: &Boot) -> anyhow::Result<Vec<Boot>> {
        if self.boot.is_some() || common.store.is_some() {
            return Ok(Vec::new());
        }
        let places = Places::of(&common.physical_root());
        Ok(further_partitions(&places, found)?)
    }

    /// Finds the boot partition to change what is on it: see [`Common::open_store_for_change`].
    pub(crate) fn find_for_change(&self, common: &Common) -> anyhow::Result<BootPlace> {
        let place = self.find(common)?;
        match place.found() {
            Some(boot) if make_writable(boot.location())? => self.find(common),
            _ => Ok(place),
        }
    }

    /// Finds the boot partition, which must be there, to change what is on it.
    pub(crate) fn require_for_change(&self, common: &Common) -> anyhow::Result<Boot> {
        self.find_for_change(common)?.required()
    }

    /// Whether this machine is started by unified kernel images, as far as its boot partition is found.
    pub(crate) fn is_started_by_image(&self, common: &Common) -> anyhow::Result<bool> {
        let place = self.find(common)?;
        let Some(boot) = place.found() else {
            return Ok(false);
        };
        let (sysroot, runtime) = (common.physical_root(), self.runtime());
        let machine = Machine {
            sysroot: &sysroot,
            boot,
            runtime: &runtime,
        };
        Ok(activate::is_started_by_image(&machine)?)
    }

    /// Finds the boot partition, which must be there.
    pub(crate) fn require(&self, common: &Common) -> anyhow::Result<Boot> {
        self.find(common)?.required()
    }

    /// The records of this boot.
    pub(crate) fn runtime(&self) -> Runtime {
        self.run.runtime()
    }
}

/// That no entry in a menu that we do not know how to change boots a deployment whose name begins
/// with `name`.
pub(crate) fn check_no_entries(sysroot: &Path, name: &str, reason: &str) -> anyhow::Result<()> {
    let argument = format!("sealroot={name}");
    for place in Places::of(sysroot).directories {
        let Ok(entries) = fs::read_dir(place.join("loader/entries")) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text
                .split_ascii_whitespace()
                .any(|word| word.starts_with(&argument))
            {
                let path = path.display();
                let message = format!("{path} boots what is to be removed, and stays: {reason}");
                return Err(Failure::new(ErrorClass::Unsupported, message)
                    .hint("name the partition and what reads it: --boot DIR --boot-loader NAME")
                    .into());
            }
        }
    }
    Ok(())
}

/// A deployment: commit and serial, or as much as tells it from all others.
#[derive(Clone, Debug)]
pub(crate) struct DeploymentChoice {
    digits: String,
    serial: Option<u32>,
}

impl FromStr for DeploymentChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, serial) = match text.split_once('.') {
            None => (text, None),
            Some((digits, serial)) => (digits, Some(serial)),
        };
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let serial = serial.map(str::parse).transpose();
        match serial {
            Ok(serial)
                if (MIN_DIGITS..=64).contains(&digits.len()) && digits.bytes().all(is_digit) =>
            {
                Ok(Self {
                    digits: digits.to_owned(),
                    serial,
                })
            }
            _ => Err(format!(
                "expected <commit>.<serial>, or the first {MIN_DIGITS} or more digits of the commit"
            )),
        }
    }
}

impl fmt::Display for DeploymentChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.serial {
            None => f.write_str(&self.digits),
            Some(serial) => write!(f, "{}.{serial}", self.digits),
        }
    }
}

impl DeploymentChoice {
    /// The only deployment that is meant.
    pub(crate) fn find(&self, store: &Store) -> anyhow::Result<DeploymentName> {
        let is_meant = |name: &DeploymentName| {
            name.commit.to_hex().starts_with(&self.digits)
                && self.serial.is_none_or(|serial| serial == name.serial)
        };
        let found = deploy::deployments(store)?;
        let mut meant: Vec<_> = found.into_iter().map(|found| found.name).collect();
        meant.retain(is_meant);
        match meant[..] {
            [only] => Ok(only),
            [] => {
                let message = format!("no deployment is called {self}");
                Err(Failure::new(ErrorClass::NotFound, message)
                    .hint("`sealroot status` lists the deployments of a store")
                    .into())
            }
            _ => {
                let names = meant.iter().take(MAX_LISTED).map(ToString::to_string);
                let message = format!("{} deployments are called {self}", meant.len());
                Err(Failure::new(ErrorClass::Usage, message)
                    .hint(format!(
                        "name one of them: {}",
                        names.collect::<Vec<_>>().join(" or ")
                    ))
                    .into())
            }
        }
    }
}
