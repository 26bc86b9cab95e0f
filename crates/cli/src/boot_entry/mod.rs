// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release deployed and made what boots next: what all commands that do so have in common.

mod foresee;
mod report;
mod staged;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sealroot::activate::{self, Aim, Machine, Parts, SoFar, Staged, Start, Wishes};
use sealroot::deploy::{self, DeployError, Request};
use sealroot::initramfs::{self, CertificateName};
use sealroot::machine;
use sealroot::monitor::Monitor;
use sealroot::release;
use sealroot::store::{ImageName, Store, Transaction};
use sealroot::uki;
use sealroot_format::ErrorClass;
use sealroot_format::policy::{DeploymentName, EtcMode, Mode, Policy, RootDevice};
use sealroot_format::sign::{Keyset, Name, Statement, Verified, Word};
use sealroot_format::tree::Tree;

use crate::args::Common;
use crate::cmd;
use crate::cmd::deploy::ModeChoice;
use crate::failure::Failure;
use crate::files;
use crate::machine::{BootArgs, BootPlace, NAME_THE_BOOT_PARTITION};
use crate::output::Output;
use crate::progress::Progress;
use crate::time;

use report::word;
pub(crate) use report::{DeployedReport, EntryReport, EtcReport};
pub(crate) use staged::StagedDeployment;

/// What a new deployment boots with.
#[derive(Clone, Debug, Args)]
pub(crate) struct EntryArgs {
    /// Boot it with this initramfs [default: the release's own if it carries the boot program, else
    /// one that is made here].
    #[arg(long, value_name = "FILE")]
    initramfs: Option<PathBuf>,

    /// Boot it with this unified kernel image, as `uki build` makes them. Only systemd-boot and firmware
    /// start one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["initramfs", "kargs", "root"])]
    uki: Option<PathBuf>,

    /// Make no boot entry, and say nothing of it.
    #[arg(long, conflicts_with_all = ["initramfs", "uki", "kargs", "tries", "root"])]
    no_entry: bool,

    /// Add kernel arguments to those of the default so far. May be given again.
    #[arg(long = "karg", value_name = "ARG")]
    kargs: Vec<String>,

    /// Let the boot loader try it that often; if it was not blessed by then, the entry before it
    /// boots again. Only systemd-boot counts; firmware tries a new image once, said or not.
    #[arg(long, value_name = "N")]
    tries: Option<u32>,

    /// For an initramfs that is made here, the device of the physical root: PARTUUID=, UUID= or
    /// LABEL= [default: the UUID of its filesystem].
    #[arg(long, value_name = "DEVICE", conflicts_with = "initramfs")]
    root: Option<RootDevice>,

    #[command(flatten)]
    boot: BootArgs,
}

/// What a deployment is for, where it is not what the one before was for.
#[derive(Clone, Debug, Args)]
pub(crate) struct AimArgs {
    /// What the machine will enforce at boot [default: as the deployment before, else verity].
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeChoice>,

    /// What of /etc is kept [default: as the deployment before; after one of OSTree's, merge].
    #[arg(long, value_enum)]
    pub(crate) etc: Option<EtcChoice>,

    /// The stateroot it is for: its /var is made in the sysroot where it is missing [default: that
    /// of the deployment before, ours or OSTree's].
    #[arg(long, value_name = "NAME")]
    pub(crate) stateroot: Option<Name>,
}

/// What becomes of changes to `/etc`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EtcChoice {
    /// The release's; changes end with the boot.
    Transient,
    /// The release's, and in it the few files that `sealroot etc keep` keeps; takes --stateroot.
    Allowlist,
    /// The deployment's own, merged from one release to the next; never sealed.
    Merge,
}

impl From<EtcChoice> for EtcMode {
    fn from(choice: EtcChoice) -> Self {
        match choice {
            EtcChoice::Transient => Self::Transient,
            EtcChoice::Allowlist => Self::Allowlist,
            EtcChoice::Merge => Self::Merge,
        }
    }
}

/// What becomes of `/etc` where OSTree's way was so far.
pub(crate) const fn as_with_ostree(mode: Mode) -> EtcMode {
    match mode {
        Mode::Sealed => EtcMode::Transient,
        _ => EtcMode::Merge,
    }
}

impl AimArgs {
    /// What is wished for: what was said, else what was so far, else `usual`. Of a deployment whose
    /// record is damaged it is told what could not be taken over.
    pub(crate) fn aim(
        &self,
        so_far: &SoFar,
        usual: fn(Mode) -> EtcMode,
        monitor: &dyn Monitor,
    ) -> anyhow::Result<Aim> {
        let known = match so_far {
            SoFar::Known(aim) => Some(aim),
            SoFar::Nothing | SoFar::OfOstree { .. } | SoFar::Unreadable { .. } => None,
        };
        let mode = self.mode.map(Mode::from).or(known.map(|aim| aim.mode));
        let mode = mode.unwrap_or(Mode::Verity);
        let etc = match so_far {
            _ if self.etc.is_some() => self.etc.map(EtcMode::from),
            SoFar::Known(aim) => Some(aim.etc),
            SoFar::Unreadable { has_own_etc, .. } => has_own_etc.then_some(EtcMode::Merge),
            SoFar::OfOstree { .. } => Some(as_with_ostree(mode)),
            SoFar::Nothing => None,
        };
        let stateroot = match so_far {
            _ if self.stateroot.is_some() => self.stateroot.clone(),
            SoFar::OfOstree { stateroot } => Some(stateroot.parse()?),
            _ => known.and_then(|aim| aim.stateroot.clone()),
        };
        let aim = Aim {
            mode,
            etc: etc.unwrap_or_else(|| usual(mode)),
            stateroot,
        };
        if let SoFar::Unreadable { name, error, .. } = so_far {
            self.check_unreadable(*name, error, &aim, monitor)?;
        }
        Ok(aim)
    }

    /// That nothing is guessed which must not be, where the record of the deployment before is damaged.
    fn check_unreadable(
        &self,
        name: DeploymentName,
        error: &DeployError,
        aim: &Aim,
        monitor: &dyn Monitor,
    ) -> anyhow::Result<()> {
        let what = format!("what {name} was for cannot be read: {error}");
        if self.stateroot.is_none() {
            let hint = "say whose /var the new deployment gets with --stateroot NAME; --mode and \
                        --etc say what else the one before was for";
            return Err(Failure::new(error.class(), what).hint(hint).into());
        }
        if self.mode.is_none() || self.etc.is_none() {
            let (mode, etc) = (ModeChoice::from(aim.mode), aim.etc.as_str());
            monitor.warn(format!("{what}; taken is --mode {mode} --etc {etc}"));
        }
        Ok(())
    }

    /// That what was said of it is what the initramfs will do.
    fn check(&self, aim: &Aim) -> anyhow::Result<()> {
        let differ = |option: &str, said: String, found: String| {
            let message = format!(
                "--{option} {said}: the policy in the initramfs says {found}, and it decides"
            );
            Failure::new(ErrorClass::Usage, message)
                .hint(format!("leave out --{option}, or name another --initramfs"))
        };
        match (self.mode, self.etc, &self.stateroot) {
            (Some(mode), ..) if Mode::from(mode) != aim.mode => {
                let found = ModeChoice::from(aim.mode).to_string();
                Err(differ("mode", mode.to_string(), found).into())
            }
            (_, Some(etc), _) if EtcMode::from(etc) != aim.etc => {
                let said = EtcMode::from(etc).as_str().to_owned();
                Err(differ("etc", said, aim.etc.as_str().to_owned()).into())
            }
            (.., Some(name)) if Some(name) != aim.stateroot.as_ref() => {
                let found = aim.stateroot.as_ref().map(ToString::to_string);
                let found = found.unwrap_or_else(|| "that /var is in memory".into());
                Err(differ("stateroot", name.to_string(), found).into())
            }
            _ => Ok(()),
        }
    }
}

/// How a release of the store is deployed.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeployArgs {
    /// Where the release came from, for people: a URL or a path, say. Printable ASCII without
    /// spaces, at most 255 characters.
    #[arg(long, value_name = "WORD")]
    origin: Option<Word>,

    /// Make the change of what boots only when the machine goes down, with /etc as it is then. What
    /// would stand against it is told now.
    #[arg(long, conflicts_with_all = ["initramfs", "uki", "no_entry", "root"])]
    stage: bool,

    #[command(flatten)]
    aim: AimArgs,

    #[command(flatten)]
    entry: EntryArgs,
}

impl DeployArgs {
    /// Whether a new deployment needs a unified kernel image: nothing else was said, and this machine is started by
    /// one.
    pub(crate) fn needs_image(&self, common: &Common) -> anyhow::Result<bool> {
        Ok(self.entry.may_take_image() && self.entry.boot.is_started_by_image(common)?)
    }

    /// That nothing was said that stands against a unified kernel image.
    pub(crate) fn check_image(&self) -> anyhow::Result<()> {
        if self.entry.may_take_image() {
            return Ok(());
        }
        let message = "--image cannot be used with --uki, --initramfs, --root or --no-entry";
        Err(Failure::new(ErrorClass::Usage, message).into())
    }

    /// Deploys the release that `choose` finds in the locked store, with an image of the store if one is named.
    pub(crate) fn deploy(
        &self,
        common: &Common,
        output: Output,
        image: Option<ImageName>,
        choose: impl FnOnce(&Store, &Verified<Keyset>) -> anyhow::Result<Verified<Statement>>,
    ) -> anyhow::Result<DeployedReport> {
        let store = common.open_store_for_change()?;
        let keyset = common.trusted_keyset()?;
        let progress = Progress::new(output);
        let transaction = store.begin(&progress)?;
        let what = Deploying {
            statement: &choose(&store, &keyset)?,
            origin: self.origin.clone(),
            aim: &self.aim,
            usual_etc: |_| EtcMode::Transient,
            is_staged: self.stage,
            image,
        };
        let report = self.entry.deploy(common, &transaction, &what)?;
        transaction.finish()?;
        Ok(report)
    }
}

/// What to do with a release.
pub(crate) struct Deploying<'d> {
    pub(crate) statement: &'d Verified<Statement>,
    pub(crate) origin: Option<Word>,
    pub(crate) aim: &'d AimArgs,
    /// What becomes of `/etc` where nothing was said and no deployment was there before.
    pub(crate) usual_etc: fn(Mode) -> EtcMode,
    /// Whether what boots changes only when the machine goes down.
    pub(crate) is_staged: bool,
    /// The image of the store that boots it.
    pub(crate) image: Option<ImageName>,
}

impl EntryArgs {
    const fn may_take_image(&self) -> bool {
        self.initramfs.is_none() && self.uki.is_none() && self.root.is_none() && !self.no_entry
    }

    /// Finds the boot partition; it must be there if anything was said of an entry.
    pub(crate) fn find(&self, common: &Common, is_image_wanted: bool) -> anyhow::Result<BootPlace> {
        let place = self.boot.find_for_change(common)?;
        let is_wanted = self.initramfs.is_some()
            || self.uki.is_some()
            || self.tries.is_some()
            || !self.kargs.is_empty()
            || is_image_wanted;
        match place.reason() {
            Some(reason) if is_wanted => {
                let message = format!("no boot entry can be made: {reason}");
                Err(Failure::new(ErrorClass::NotFound, message)
                    .hint(NAME_THE_BOOT_PARTITION)
                    .into())
            }
            _ => Ok(place),
        }
    }

    /// Deploys a verified release and makes it what boots next, or stages that.
    pub(crate) fn deploy(
        &self,
        common: &Common,
        transaction: &Transaction<'_>,
        what: &Deploying<'_>,
    ) -> anyhow::Result<DeployedReport> {
        let place = self.find(common, what.image.is_some())?;
        let (sysroot, runtime) = (common.physical_root(), self.boot.runtime());
        let machine = place.found().map(|boot| Machine {
            sysroot: &sysroot,
            boot,
            runtime: &runtime,
        });
        if let Some(machine) = machine.as_ref().filter(|_| !self.no_entry) {
            return self.deploy_on(common, transaction, machine, what);
        }
        if what.is_staged {
            let reason = place.reason().unwrap_or("--no-entry was said");
            let message = format!("there is nothing to stage without a boot entry: {reason}");
            return Err(Failure::new(ErrorClass::Usage, message).into());
        }
        let aim = what.aim.aim(
            &SoFar::Nothing,
            |_| EtcMode::Transient,
            transaction.monitor(),
        )?;
        let tree = release::read_pack(transaction.store(), what.statement)?.tree;
        let etc = what.aim.etc.map(Into::into);
        let (_, mut report) = link(
            common,
            transaction,
            machine.as_ref(),
            what,
            &aim,
            etc,
            &tree,
        )?;
        if !self.no_entry {
            report.no_entry_because = place.reason().map(str::to_owned);
        }
        Ok(report)
    }

    fn deploy_on(
        &self,
        common: &Common,
        transaction: &Transaction<'_>,
        machine: &Machine<'_>,
        what: &Deploying<'_>,
    ) -> anyhow::Result<DeployedReport> {
        let (store, monitor) = (transaction.store(), transaction.monitor());
        let release = release::read_pack(store, what.statement)?;
        let pack = activate::pack_of(&release.bytes, &what.statement.pack_digest)?;
        let so_far = SoFar::read(store, machine)?;
        let wished = what.aim.aim(&so_far, what.usual_etc, monitor)?;
        let given = self.given()?;
        if let (Some(path), Some(Given { policy: None, .. })) = (&self.initramfs, &given) {
            monitor.warn(format!(
                "{} carries no policy of sealroot's that could be found: unless its boot program \
                 has one all the same, it verifies nothing",
                path.display()
            ));
        }
        let image = match &what.image {
            Some(name) => Some(read_image(store, name)?),
            None => self.image()?,
        };
        let contents = image.as_deref().map(uki::read).transpose()?;
        let installed = Installed::of(common)?;
        let start = match (&image, &contents, &given) {
            (Some(file), Some(contents), _) => Start::Image { file, contents },
            (.., Some(given)) => Start::Initramfs {
                file: &given.file,
                policy: given.policy.as_ref(),
                verity_certificates: given.verity_certificates.as_deref(),
            },
            _ => Start::OfRelease(installed.parts(self.root.as_ref())),
        };
        let wishes = Wishes {
            kernel_arguments: &self.kargs,
            tries: self.tries,
            start,
        };
        let statement = what.statement;
        let prepared =
            activate::prepare(store, &pack, machine, statement, &wished, &wishes, monitor)?;
        let (aim, tree) = (&prepared.aim, &release.tree);
        what.aim.check(aim)?;
        activate::check(store, machine, None, tree, &prepared, monitor)?;
        let etc = Some(aim.etc);
        let (name, mut report) = link(common, transaction, Some(machine), what, aim, etc, tree)?;
        report.initramfs = prepared.origin.as_ref().map(word);
        if what.is_staged {
            let of_store = what.image.map(|name| name.image);
            let staged = Staged::now(self.kargs.clone(), self.tries, of_store)?;
            activate::stage(transaction, name, &staged)?;
            report.is_staged = true;
            return Ok(report);
        }
        let done = activate::activate(transaction, machine, name, tree, &prepared)?;
        if let Some(image) = &image
            && uki::signatures(image)?.is_some_and(|signatures| signatures.is_empty())
        {
            monitor.warn(
                "the image is not signed: firmware with Secure Boot does not start it".into(),
            );
        }
        report.entry = Some(EntryReport::new(&done.added, machine.boot.loader()));
        report.etc = done.etc.as_ref().map(EtcReport::new);
        Ok(report)
    }

    /// The image that was named.
    fn image(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let image = self.uki.as_deref().map(cmd::uki::read_image);
        image.transpose()
    }

    /// The initramfs that was named.
    fn given(&self) -> anyhow::Result<Option<Given>> {
        let Some(path) = &self.initramfs else {
            return Ok(None);
        };
        // One that is put together in a way that we do not know may boot all the same.
        let carried = initramfs::scan(&mut files::open(path)?).ok();
        let policy = carried.as_ref().and_then(|carried| carried.policy.as_ref());
        Ok(Some(Given {
            file: files::open(path)?,
            policy: policy.and_then(|bytes| Policy::parse(bytes).ok()),
            verity_certificates: carried.and_then(|carried| carried.certificate_names().ok()),
        }))
    }
}

/// An initramfs that was named, and what could be found in it.
struct Given {
    file: File,
    policy: Option<Policy>,
    verity_certificates: Option<Vec<CertificateName>>,
}

/// An image of the store.
fn read_image(store: &Store, name: &ImageName) -> anyhow::Result<Vec<u8>> {
    let file = store.open_image(name)?;
    let mut bytes = Vec::new();
    file.reader().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The deployment itself, without anything that boots.
fn link(
    common: &Common,
    transaction: &Transaction<'_>,
    machine: Option<&Machine<'_>>,
    what: &Deploying<'_>,
    aim: &Aim,
    etc: Option<EtcMode>,
    tree: &Tree,
) -> anyhow::Result<(DeploymentName, DeployedReport)> {
    let store = transaction.store();
    let untouched = match machine {
        Some(machine) if aim.etc == EtcMode::Merge => {
            let release = (&what.statement.commit, tree);
            activate::with_wanted_etc(store, machine, release, transaction.monitor())?
        }
        _ => BTreeSet::new(),
    };
    if let (Some(stateroot), None) = (&aim.stateroot, &common.store) {
        let (sysroot, first) = (common.physical_root(), Some((tree, store)));
        machine::make_stateroot(&sysroot, stateroot, first, transaction.monitor())?;
    }
    let request = Request {
        statement: what.statement,
        mode: aim.mode,
        origin: what.origin.clone(),
        stateroot: aim.stateroot.clone(),
        etc,
        untouched,
        now: time::now(),
    };
    let deployed = deploy::deploy(transaction, &request, release::objects(tree))?;
    let name = deployed.name;
    let report = DeployedReport {
        deployment: name.to_string(),
        commit: name.commit.to_string(),
        serial: name.serial,
        karg: format!("sealroot={name}"),
        is_reused: deployed.is_reused,
        entry: None,
        no_entry_because: None,
        is_staged: false,
        initramfs: None,
        etc: None,
    };
    Ok((name, report))
}

/// What this system has of an initramfs.
struct Installed {
    boot_program: Option<PathBuf>,
    keyset: Vec<u8>,
}

impl Installed {
    fn of(common: &Common) -> anyhow::Result<Self> {
        Ok(Self {
            boot_program: initramfs::installed_boot_program(),
            keyset: common.keyset_file()?.bytes().to_vec(),
        })
    }

    fn parts<'i>(&'i self, root: Option<&'i RootDevice>) -> Parts<'i> {
        Parts {
            boot_program: self.boot_program.as_deref(),
            keyset: &self.keyset,
            root,
        }
    }
}
