// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot etc`

mod kept;

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use sealroot::deploy::read_record;
use sealroot::etc::{self, Change, EtcDirectory};
use sealroot::monitor::Silent;
use sealroot::store::{KernelIo, Store, StorePath};
use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;
use sealroot_format::tree::Tree;
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::machine::{DeploymentChoice, RunArgs};
use crate::name::AnyName;
use crate::output::{Output, Report};

/// Where a system has it.
const RUNNING: &str = "/etc";

/// Show what was changed in /etc, take changes back, and keep single files.
///
/// A release has a default /etc. With `etc merge` a deployment keeps an /etc of its own, and what was
/// changed in it is merged into the next release: content, owner, permissions, label and other
/// attributes each on its own. With `etc transient` changes end with the boot; with `etc allowlist`
/// too, but for the files that `keep` has kept.
#[derive(Debug, Args)]
pub(crate) struct Etc {
    #[command(subcommand)]
    command: EtcCommand,
}

#[derive(Debug, Subcommand)]
enum EtcCommand {
    /// List what is not as the release has it.
    Diff(Diff),
    /// Make files what the release has.
    Reset(Reset),
    /// Keep files as they are now for the next boots.
    Keep(kept::Keep),
    /// Keep files no more.
    Forget(kept::Forget),
}

/// List what is not as the release has it.
///
/// One line each: `A` added, `D` removed, `M` changed and in what. What is in a directory that was
/// added or removed as a whole is not listed. Times do not count.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  sealroot etc diff\n  sealroot --json etc diff 3f2a.0")]
struct Diff {
    /// The deployment, <commit>.<serial>; the first digits of the commit do [default: the one that
    /// runs].
    #[arg(value_name = "DEPLOYMENT")]
    deployment: Option<DeploymentChoice>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    run: RunArgs,
}

/// Make files what the release has.
///
/// Content, owner, permissions and attributes. What was removed comes back. Of a directory only
/// itself is reset, not what is in it. What the release does not have is not touched: remove it if it
/// is unwanted.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot etc reset /etc/ssh/sshd_config")]
struct Reset {
    /// The files, in /etc.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct Place {
    /// The root whose /etc and /var are meant [default: / where the sysroot is this machine's].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Place {
    /// The `/etc` that the running system uses.
    fn etc(&self, common: &Common) -> anyhow::Result<PathBuf> {
        Ok(self.root(common)?.join("etc"))
    }

    fn root(&self, common: &Common) -> anyhow::Result<PathBuf> {
        let is_this_machine = || {
            let sysroots = ["/", "/sysroot"].map(Path::new);
            common.store.is_none() && sysroots.contains(&&*common.sysroot)
        };
        match &self.root {
            Some(root) => Ok(root.clone()),
            None if is_this_machine() => Ok("/".into()),
            None => {
                let named = common.store.as_ref().unwrap_or(&common.sysroot).display();
                let message = format!("{named} does not say whose /etc and /var are meant");
                let failure = Failure::new(ErrorClass::Usage, message);
                Err(failure.hint("name that root with --root DIR").into())
            }
        }
    }
}

#[derive(Serialize)]
struct DiffReport {
    deployment: String,
    /// Whether the changes outlive the boot.
    is_kept: bool,
    changes: Vec<ChangeReport>,
}

#[derive(Serialize)]
struct ChangeReport {
    path: AnyName,
    /// `added`, `removed` or `changed`.
    change: &'static str,
    /// In what it is changed.
    aspects: Vec<&'static str>,
}

impl Report for DiffReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for ChangeReport {
            path,
            change,
            aspects,
        } in &self.changes
        {
            match *change {
                "added" => writeln!(out, "A {path}")?,
                "removed" => writeln!(out, "D {path}")?,
                _ => writeln!(out, "M {path} ({})", aspects.join(", "))?,
            }
        }
        if self.changes.is_empty() {
            writeln!(out, "as the release has it")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct ResetReport {
    deployment: String,
    files: Vec<AnyName>,
}

impl Report for ResetReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for file in &self.files {
            writeln!(out, "{file} is as the release has it")?;
        }
        Ok(())
    }
}

impl Etc {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        match &self.command {
            EtcCommand::Diff(diff) => diff.run(common, output),
            EtcCommand::Reset(reset) => reset.run(common, output),
            EtcCommand::Keep(keep) => keep.run(common, output),
            EtcCommand::Forget(forget) => forget.run(common, output),
        }
    }
}

/// What the release of a deployment has.
fn default_of(store: &Store, name: DeploymentName) -> anyhow::Result<Tree> {
    let record = read_record(store, name)?;
    Ok(etc::default_in_pack(store, &record.pack)?)
}

impl Diff {
    fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let name = match &self.deployment {
            Some(choice) => choice.find(&store)?,
            None => self.run.running()?,
        };
        let is_kept = etc::has_own(&store, name)?;
        let directory = if is_kept {
            etc::open_own(&store, name)?
        } else if self.deployment.is_none() {
            let etc = self.place.etc(common)?;
            EtcDirectory::open(&etc).with_context(|| format!("cannot open {}", etc.display()))?
        } else {
            let message = format!("the deployment {name} keeps no /etc of its own");
            return Err(Failure::new(ErrorClass::NotFound, message)
                .hint("without `etc merge` only a system that runs has changes, until it is shut down")
                .into());
        };
        let default = default_of(&store, name)?;
        let current = directory.tree(&Silent)?;
        let changes = etc::diff(&default, &current).into_iter().map(|found| {
            let path = [
                RUNNING.as_bytes(),
                found.path.strip_suffix(b"/").unwrap_or(&found.path),
            ];
            let (change, aspects) = match found.change {
                Change::Added => ("added", Vec::new()),
                Change::Removed => ("removed", Vec::new()),
                Change::Changed(aspects) => {
                    let names = aspects.into_iter().map(etc::Aspect::name);
                    ("changed", names.collect())
                }
            };
            ChangeReport {
                path: path.concat().as_slice().into(),
                change,
                aspects,
            }
        });
        output.emit(&DiffReport {
            deployment: name.to_string(),
            is_kept,
            changes: changes.collect(),
        })
    }
}

impl Reset {
    fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let store = common.open_store()?;
        let name = self.run.running()?;
        if !etc::has_own(&store, name)? {
            let message = format!("the deployment {name} keeps no /etc of its own");
            return Err(Failure::new(ErrorClass::Unsupported, message)
                .hint("its changes end with the boot: to take them back, reboot")
                .into());
        }
        let default = default_of(&store, name)?;
        let paths: Vec<StorePath> = (self.files.iter())
            .map(|file| below(file))
            .collect::<Result<_, _>>()?;
        let etc = self.place.etc(common)?;
        let directory = KernelIo::open(&etc);
        let directory = directory.with_context(|| format!("cannot open {}", etc.display()))?;
        for path in &paths {
            etc::reset(&directory, &default, &store, path)?;
        }
        output.emit(&ResetReport {
            deployment: name.to_string(),
            files: self
                .files
                .iter()
                .map(|file| file.as_path().into())
                .collect(),
        })
    }
}

/// The path of a file below `/etc`.
fn below(file: &Path) -> anyhow::Result<StorePath> {
    let relative = file.strip_prefix(RUNNING).ok();
    let path = relative.and_then(|path| StorePath::new(path.as_os_str().as_bytes()));
    path.filter(|path| path.split().is_some()).ok_or_else(|| {
        let message = format!("{} is no file in /etc", file.display());
        Failure::new(ErrorClass::Usage, message)
            .hint("give the whole path, without .. and without a slash at the end")
            .into()
    })
}
