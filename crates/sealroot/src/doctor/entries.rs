// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot entries: would each boot what it names, and does at least one?

use std::collections::{BTreeMap, BTreeSet};

use sealroot_format::policy::DeploymentName;

use super::judge::{Doubt, Orders};
use super::{Check, EntryVerdict, Finding, Mend, Report, Seen, Severity, Verdict};
use crate::entry::{Boot, BootIo, Entry, Loader, OurEntry, Owner, Starts};
use crate::machine::State;
use crate::monitor::{Monitor, Unit};
use crate::store::StoreIo;

/// What decides in the newest entry of each deployment that takes its release.
pub(super) type Judged = BTreeMap<DeploymentName, Orders>;

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Looks at all entries. `whole` are the deployments of which everything is there.
    pub(super) fn entries(
        &self,
        whole: &BTreeSet<DeploymentName>,
        report: &mut Report,
        monitor: &dyn Monitor,
    ) -> Judged {
        let mut judged = Judged::new();
        let Some((boot, entries)) = self.boot else {
            return judged;
        };
        let shown = entries.in_boot_order();
        monitor.start(
            "looking at boot entries",
            Unit::Items,
            Some(shown.len() as u64),
        );
        let default = entries.default_entry().map(|entry| &entry.file_name);
        for entry in shown {
            let is_default = Some(&entry.file_name) == default;
            match &entry.owner {
                Owner::Sealroot(ours) => {
                    let name = ours.text.deployment;
                    let mut verity_certificates = Vec::new();
                    let verdict = match self.judge(boot, entry, ours) {
                        Ok(orders) => {
                            verity_certificates.clone_from(&orders.verity_certificates);
                            given_up(boot, entry, ours, report);
                            let verdict = self.held(&orders, whole.contains(&name));
                            judged.entry(name).or_insert(orders);
                            verdict
                        }
                        Err(doubt) => self.doubted(boot, entry, ours, is_default, doubt, report),
                    };
                    report.entries.push(EntryVerdict {
                        file_name: entry.file_name.clone(),
                        deployment: name,
                        is_default,
                        verdict,
                        verity_certificates,
                    });
                }
                Owner::Changed { reason, .. } => report.warn(
                    Check::Entries,
                    Finding {
                        place: place(boot, entry),
                        expected: "an entry as sealroot writes it".into(),
                        found: reason.clone(),
                        mend: Mend::Look(path(boot, entry)),
                    },
                ),
                Owner::Ostree | Owner::Other => self.foreign(boot, entry, report),
                Owner::Firmware => {}
            }
            monitor.advance(1);
        }
        if let Some(unreadable) = entries.unreadable() {
            report.warn(
                Check::Entries,
                Finding {
                    place: unreadable.path.display().to_string(),
                    expected: "an entry that can be read: until then nothing is collected".into(),
                    found: unreadable.reason.clone(),
                    mend: Mend::Look(unreadable.path.clone()),
                },
            );
        }
        self.boots(boot, report);
        judged
    }

    /// An entry that takes its release. What stands against it is said where content and floors are
    /// looked at.
    fn held(&self, orders: &Orders, is_whole: bool) -> Verdict {
        match self.below_floor(orders) {
            Ok(()) if is_whole => Verdict::Boots,
            Err(Doubt::Unknown { .. }) if is_whole => Verdict::Unknown,
            _ => Verdict::Refused,
        }
    }

    /// An entry that does not take its release, or of which that is not known.
    fn doubted(
        &self,
        boot: &Boot<B>,
        entry: &Entry,
        ours: &OurEntry,
        is_default: bool,
        doubt: Doubt,
        report: &mut Report,
    ) -> Verdict {
        let (verdict, expected, found) = match doubt {
            Doubt::Refused { expected, found } => (Verdict::Refused, expected, found),
            Doubt::Unknown { expected, found } => (Verdict::Unknown, expected, found),
        };
        let is_needed = is_default || self.is_way_back(ours.text.deployment);
        let severity = match verdict {
            Verdict::Refused if is_needed => Severity::Failure,
            _ => Severity::Warning,
        };
        report.add(
            Check::Entries,
            severity,
            Finding {
                place: place(boot, entry),
                expected,
                found,
                mend: again(ours),
            },
        );
        verdict
    }

    /// Whether a deployment runs, or is what the machine goes back to.
    fn is_way_back(&self, name: DeploymentName) -> bool {
        let states = [State::Booted, State::Rollback];
        let mut found = self
            .scan
            .deployments
            .iter()
            .filter(|found| found.name == name);
        found.any(|found| states.iter().any(|state| found.states.contains(state)))
    }

    /// An entry of somebody else's that names deployments of ours.
    fn foreign(&self, boot: &Boot<B>, entry: &Entry, report: &mut Report) {
        let is_there = |name: &DeploymentName| {
            let mut names = self.scan.deployments.iter().map(|found| found.name);
            names.any(|found| found == *name)
        };
        if let Some(missing) = entry.names.iter().find(|name| !is_there(name)) {
            report.warn(
                Check::Entries,
                Finding {
                    place: place(boot, entry),
                    expected: "a deployment in the store".into(),
                    found: format!("it names {missing}, which is not there"),
                    mend: Mend::Look(path(boot, entry)),
                },
            );
        }
    }

    /// That something boots, and by default.
    fn boots(&self, boot: &Boot<B>, report: &mut Report) {
        let location = boot.location();
        let finding = |expected: &str, found: String, mend: Mend| Finding {
            place: location.display().to_string(),
            expected: expected.into(),
            found,
            mend,
        };
        let best = report.entries.iter().map(|entry| entry.verdict).min();
        let expected = "an entry that boots a deployment which is whole and not below the floor";
        let Some((_, entries)) = self.boot else {
            return;
        };
        let others = entries.in_boot_order().len() - report.entries.len();
        let count = report.entries.len();
        match best {
            Some(Verdict::Boots) => {}
            Some(Verdict::Unknown) => {
                let found = format!("{count}, of which none could be judged");
                report.warn(Check::Boots, finding(expected, found, Mend::Upgrade));
            }
            Some(Verdict::Refused) => {
                let found = format!("none of {count}");
                report.fail(Check::Boots, finding(expected, found, Mend::Upgrade));
            }
            None if others > 0 => {
                let found = format!("none of sealroot's, and {others} that are not looked at");
                report.warn(Check::Boots, finding(expected, found, Mend::Upgrade));
            }
            None => report.fail(
                Check::Boots,
                finding(expected, "no entry".into(), Mend::Upgrade),
            ),
        }
        if report.entries.is_empty() {
            return;
        }
        match report.entries.iter().find(|entry| entry.is_default) {
            Some(entry) if Some(entry.verdict) != best => {
                let found = format!("{}: {}", entry.file_name, entry.verdict.as_str());
                let mend = Mend::Deploy {
                    commit: entry.deployment.commit,
                    is_image: self.is_image(&entry.file_name),
                };
                let severity = match entry.verdict {
                    Verdict::Refused => Severity::Failure,
                    Verdict::Boots | Verdict::Unknown => Severity::Warning,
                };
                let finding = finding("a default that boots", found, mend);
                report.add(Check::Boots, severity, finding);
            }
            Some(_) => {}
            None => {
                let default = entries.default_entry();
                let name = default.map_or_else(String::new, |entry| entry.file_name.clone());
                let found = format!("{name}, which is none of sealroot's as it wrote it");
                let mend = default.map(|entry| Mend::Look(path(boot, entry)));
                let mend = mend.unwrap_or(Mend::NameBoot);
                report.warn(
                    Check::Boots,
                    finding("a default of sealroot's", found, mend),
                );
            }
        }
    }

    fn is_image(&self, file_name: &str) -> bool {
        let entries = self.boot.iter().flat_map(|(_, entries)| entries.ours());
        let mut named = entries.filter(|(entry, _)| entry.file_name == file_name);
        named.any(|(_, ours)| ours.text.starts == Starts::Image)
    }
}

/// Says so of an entry whose tries are used up.
fn given_up<B: BootIo>(boot: &Boot<B>, entry: &Entry, ours: &OurEntry, report: &mut Report) {
    // What the firmware does not start is said with its boot manager.
    let is_counted = boot.loader() != Loader::Firmware;
    if is_counted && entry.tries.is_some_and(|tries| tries.left == 0) {
        report.warn(
            Check::Entries,
            Finding {
                place: place(boot, entry),
                expected: "a boot that was blessed before its tries were used up".into(),
                found: "the boot loader has given it up".into(),
                mend: again(ours),
            },
        );
    }
}

/// A new entry of the same release.
fn again(ours: &OurEntry) -> Mend {
    Mend::Deploy {
        commit: ours.text.deployment.commit,
        is_image: ours.text.starts == Starts::Image,
    }
}

fn path<B: BootIo>(boot: &Boot<B>, entry: &Entry) -> std::path::PathBuf {
    boot.location()
        .join("loader/entries")
        .join(&entry.file_name)
}

fn place<B: BootIo>(boot: &Boot<B>, entry: &Entry) -> String {
    path(boot, entry).display().to_string()
}
