// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot doctor`

mod report;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use sealroot::activate;
use sealroot::doctor::{self, Check, Finding, MachineFloors, Mend, Report, Severity, Subject};
use sealroot::entry::{Boot, root_device};
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Keyset, Verified};
use sealroot_remote::state::{self, Remote};

use crate::args::Common;
use crate::boot_entry::StagedDeployment;
use crate::cmd::floor::FirmwareArgs;
use crate::failure::Failure;
use crate::machine::BootArgs;
use crate::output::{Output, counted};
use crate::progress::Progress;

use report::DoctorReport;

/// How long an examination of an ordinary machine may take.
const MOST: Duration = Duration::from_secs(60);

/// Say whether this machine boots what it is to boot, and what mends it if not.
///
/// Holds each boot entry against the rules that boot loader and boot program go by: its files are whole,
/// the policy and the keyset in its initramfs or image take the release, with this kernel; all that
/// the deployment needs is there and measures; no floor is above it. Besides: what is staged can be set
/// up, keysets fit, nothing piles up, and the next update finds room. Nothing is changed.
///
/// A warning leaves a doubt, or a way back that is missing; a failure keeps the machine from booting what
/// it is to boot, or from taking updates. Content is measured and not read: `check --full` and
/// `repair --full` find damaged blocks.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Doctor {
    #[command(flatten)]
    boot: BootArgs,

    #[command(flatten)]
    firmware: FirmwareArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot doctor
  sealroot doctor --json
  sealroot --sysroot /mnt doctor --boot /mnt/efi --boot-loader systemd-boot

The exit code is 0 if there are no failures, warnings or not, and 1 if there are any.";

impl Doctor {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let started = Instant::now();
        let store = common.open_store()?;
        let place = self.boot.find(common)?;
        let (keyset, of_keyset) = trusted(common)?;
        let is_this_machine = common.store.is_none()
            && [Path::new("/"), Path::new("/sysroot")].contains(&&*common.sysroot);
        let floors = MachineFloors(self.firmware.firmware());
        let root = match common.store {
            None => root_device(&common.physical_root()),
            Some(_) => None,
        };
        let runtime = self.boot.runtime();
        let subject = Subject {
            store: &store,
            boot: match place.found() {
                Some(boot) => Ok(boot),
                None => Err(place.reason().unwrap_or_default()),
            },
            runtime: &runtime,
            keyset: keyset.as_ref(),
            floors: (is_this_machine || self.firmware.is_elsewhere()).then_some(&floors),
            root: root.as_ref(),
        };
        let mut report = {
            let progress = Progress::new(output);
            doctor::examine(&subject, &progress)?
        };
        report.findings.extend(of_keyset);
        self.look_at_staged(common, &store, place.found(), &mut report);
        look_at_remotes(&store, keyset.as_ref(), &mut report)?;
        let took = started.elapsed();
        if took > MOST {
            report.warn(Check::Time, slow(&store, took));
        }
        let failures = report.findings.iter();
        let failures = failures.filter(|(_, severity, _)| *severity == Severity::Failure);
        let failures = failures.count() as u64;
        output.emit(&DoctorReport::new(
            &report,
            keyset.as_deref(),
            took,
            common,
            &self.boot,
        ))?;
        if failures > 0 {
            let message = format!(
                "{} of this machine stand against its booting and being updated",
                counted(failures, "failure")
            );
            return Err(Failure::new(ErrorClass::Io, message)
                .hint("each is shown with what mends it")
                .into());
        }
        Ok(())
    }

    /// Whether what is staged could be set up to boot now.
    fn look_at_staged(
        &self,
        common: &Common,
        store: &Store,
        boot: Option<&Boot>,
        report: &mut Report,
    ) {
        // That it cannot be read was found already.
        let Ok(Some(found)) = activate::staged(store) else {
            return;
        };
        let name = found.0;
        let finding = |found: String, mend: Mend| Finding {
            place: format!("deployment {name}"),
            expected: "that it can be made what boots next".into(),
            found,
            mend,
        };
        let Some(boot) = boot else {
            let found = "the boot partition is not known";
            return report.fail(Check::Staged, finding(found.into(), Mend::NameBoot));
        };
        let staged = StagedDeployment::find(common, store, found, boot, &self.boot);
        let checked =
            staged.and_then(|staged| staged.check(common, store, &sealroot::monitor::Silent));
        if let Err(error) = checked {
            let commit = name.commit;
            let mend = Mend::Deploy {
                commit,
                is_image: false,
            };
            report.fail(Check::Staged, finding(format!("{error:#}"), mend));
        }
    }
}

type Found = Vec<(Check, Severity, Finding)>;

/// Whom this machine trusts; without it, what is wrong with that.
fn trusted(common: &Common) -> anyhow::Result<(Option<Verified<Keyset>>, Found)> {
    let error = match common.trusted_keyset() {
        Ok(keyset) => return Ok((Some(keyset), Vec::new())),
        Err(error) if common.keyset.is_some() => return Err(error),
        Err(error) => error,
    };
    let path = common.keyset_path();
    // Without one nothing new is deployed; what is there boots by the keysets in the initramfs.
    let severity = if path.symlink_metadata().is_ok() {
        Severity::Failure
    } else {
        Severity::Warning
    };
    let finding = Finding {
        place: path.display().to_string(),
        expected: "the keyset that releases are verified by".into(),
        found: format!("{error:#}"),
        mend: Mend::Keyset,
    };
    Ok((None, vec![(Check::Keys, severity, finding)]))
}

/// Whether what is known of remotes is whole, and their keysets are not newer than the one that releases
/// are deployed by; and whether parts of downloads are left that none offers.
fn look_at_remotes(
    store: &Store,
    keyset: Option<&Verified<Keyset>>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut are_whole = true;
    for name in store.list_remotes()? {
        let place = format!("remote {name}");
        match Remote::load(store, &name) {
            Err(error) => {
                are_whole = false;
                report.fail(
                    Check::Keys,
                    Finding {
                        place,
                        expected: "its keyset and its channel, signed".into(),
                        found: format!("{:#}", anyhow::Error::new(error)),
                        mend: Mend::Remote(name.to_string()),
                    },
                );
            }
            Ok(remote) => {
                let (theirs, ours) = (remote.keyset().version(), keyset.map(|one| one.version()));
                if let Some(ours) = ours.filter(|ours| theirs > *ours) {
                    report.warn(Check::Keys, Finding {
                        place,
                        expected: format!("no newer keyset than the one releases are deployed by, version {ours}"),
                        found: format!("it has gone on to version {theirs}"),
                        mend: Mend::Keyset,
                    });
                }
            }
        }
    }
    // What no remote offers is known only where all can be read.
    if !are_whole {
        return Ok(());
    }
    let parts = state::unneeded_parts(store)?.len() as u64;
    if parts > 0 {
        report.warn(
            Check::Leftovers,
            Finding {
                place: store.location().display().to_string(),
                expected: "nothing of downloads that no remote offers any more".into(),
                found: counted(parts, "part"),
                mend: Mend::Prune,
            },
        );
    }
    Ok(())
}

fn slow(store: &Store, took: Duration) -> Finding {
    Finding {
        place: store.location().display().to_string(),
        expected: format!("an examination of at most {} s", MOST.as_secs()),
        found: format!("{} s", took.as_secs()),
        mend: Mend::Prune,
    }
}
