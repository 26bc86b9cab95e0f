// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a machine boots what it is to boot, and what stands against it (docs/design/doctor.md).
//!
//! What boots is not tried but held against the rules that boot loader and boot program go by: the
//! entry's files are whole, the policy and the keyset in its initramfs take the release, all that
//! this one needs measures, no floor is above it. An examination changes nothing, stops at
//! nothing, and names for each thing that it finds what would mend it.

mod boot_manager;
mod content;
mod entries;
mod floor;
mod judge;
mod keys;
mod leftovers;
mod report;
mod room;
mod staged;

use sealroot_format::policy::RootDevice;
use sealroot_format::sign::{Keyset, Verified};

use crate::check::explain;
use crate::entry::{Boot, BootIo, Entries};
use crate::machine::{self, BootChoices, MachineError, Runtime, Scan};
use crate::monitor::Monitor;
use crate::store::{LockKind, Store, StoreIo};

pub use floor::{FloorStores, MachineFloors};
pub use report::{Check, EntryVerdict, Finding, Mend, Report, Severity, Verdict};

/// What is examined: the parts of a machine.
#[derive(Debug)]
pub struct Subject<'s, I: StoreIo, B: BootIo> {
    /// Its store.
    pub store: &'s Store<I>,
    /// Its boot partition, or why that is not known.
    pub boot: Result<&'s Boot<B>, &'s str>,
    /// What this boot's programs have written.
    pub runtime: &'s Runtime,
    /// Whom it trusts, if that is known.
    pub keyset: Option<&'s Verified<Keyset>>,
    /// The floors that it keeps; `None` where they are another machine's.
    pub floors: Option<&'s dyn FloorStores>,
    /// What names the filesystem that the store is on, as far as that is known.
    pub root: Option<&'s RootDevice>,
}

/// What the checks have in common.
struct Seen<'s, I: StoreIo, B: BootIo> {
    subject: &'s Subject<'s, I, B>,
    /// The boot partition, where its entries could be read.
    boot: Option<(&'s Boot<B>, &'s Entries)>,
    scan: &'s Scan,
}

/// Examines a machine, while nobody changes its store.
pub fn examine<I: StoreIo, B: BootIo>(
    subject: &Subject<'_, I, B>,
    monitor: &dyn Monitor,
) -> Result<Report, MachineError> {
    let _lock = subject.store.lock(LockKind::Shared)?;
    let mut report = Report::default();
    let entries = match subject.boot {
        Err(why) => {
            report.warn(
                Check::Boots,
                Finding {
                    place: subject.store.location().display().to_string(),
                    expected: "a boot partition whose entries are known".into(),
                    found: why.into(),
                    mend: Mend::NameBoot,
                },
            );
            None
        }
        Ok(boot) => match boot.entries() {
            Ok(entries) => Some(entries),
            Err(error) => {
                report.fail(
                    Check::Boots,
                    Finding {
                        place: boot.location().display().to_string(),
                        expected: "boot entries that can be read".into(),
                        found: explain(&error),
                        mend: Mend::Look(boot.location().to_owned()),
                    },
                );
                None
            }
        },
    };
    let choices = entries.as_ref().map(BootChoices::of_entries);
    let scan = machine::scan(subject.store, subject.runtime, &choices.unwrap_or_default())?;
    let seen = Seen {
        subject,
        boot: subject.boot.ok().zip(entries.as_ref()),
        scan: &scan,
    };
    report.deployments = scan.deployments.len() as u64;
    let whole = seen.content(&mut report, monitor);
    let judged = seen.entries(&whole, &mut report, monitor);
    seen.boot_manager(&mut report);
    seen.leftovers(&mut report);
    seen.staged(&mut report);
    seen.keys(&judged, &mut report);
    seen.floors(&judged, &mut report);
    seen.room(&mut report);
    Ok(report)
}
