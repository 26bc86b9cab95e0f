// SPDX-License-Identifier: MIT OR Apache-2.0
//! What interrupted runs left: the next change clears it away, so there is never more than one of them
//! leaves.

use std::collections::BTreeSet;

use sealroot_format::sign::Statement;

use super::{Check, Finding, Mend, Report, Seen, Severity};
use crate::check::explain;
use crate::entry::BootIo;
use crate::release;
use crate::store::{FileKind, StoreDir, StoreError, StoreIo, StorePath, again, failed};

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Weighs what is left against what one update takes.
    pub(super) fn leftovers(&self, report: &mut Report) {
        let store = self.subject.store;
        let directory = StoreDir::Tmp.path();
        let place = store.location().join(directory.to_string());
        match self.taken_below(&directory) {
            Ok((0, _)) => {}
            Ok((names, bytes)) => {
                let most_bytes = self.one_release();
                weigh(
                    report,
                    bytes,
                    most_bytes,
                    Finding {
                        place: place.display().to_string(),
                        expected: format!(
                            "nothing, or at most {most_bytes} bytes of one interrupted update"
                        ),
                        found: format!("{names} names, {bytes} bytes that nothing else uses"),
                        mend: Mend::Prune,
                    },
                );
            }
            Err(error) => report.warn(
                Check::Leftovers,
                Finding {
                    place: place.display().to_string(),
                    expected: "a directory that can be read".into(),
                    found: explain(&error),
                    mend: Mend::Look(place.clone()),
                },
            ),
        }
        self.on_boot_partition(report);
    }

    fn on_boot_partition(&self, report: &mut Report) {
        let Some((boot, entries)) = self.boot else {
            return;
        };
        let place = boot.location().display().to_string();
        let left = match boot.leftovers(entries) {
            Ok(left) => left,
            Err(error) => {
                return report.warn(
                    Check::Leftovers,
                    Finding {
                        place,
                        expected: "kernels that can be looked at".into(),
                        found: explain(&error),
                        mend: Mend::Look(boot.location().to_owned()),
                    },
                );
            }
        };
        if left.entries.is_empty() && left.kernels == 0 {
            return;
        }
        let kernels: BTreeSet<_> = entries.ours().map(|(_, ours)| ours.text.files).collect();
        let room = boot.room_left(entries, &|_| true).ok();
        let largest_bytes = room.map_or(0, |room| room.largest_bytes);
        // What a change retires is no more than what it keeps, and one is new.
        let most_bytes = largest_bytes.saturating_mul(1 + kernels.len() as u64);
        weigh(
            report,
            left.bytes,
            most_bytes,
            Finding {
                place,
                expected: format!(
                    "nothing, or at most {most_bytes} bytes of one interrupted update"
                ),
                found: format!(
                    "{} unfinished entries, {} kernels that no entry names, {} bytes",
                    left.entries.len(),
                    left.kernels,
                    left.bytes
                ),
                mend: Mend::Upgrade,
            },
        );
    }

    /// How many names there are below a directory, and what those files take that have no other name.
    fn taken_below(&self, directory: &StorePath) -> Result<(u64, u64), StoreError> {
        let io = self.subject.store.io();
        let (mut names, mut bytes) = (0, 0_u64);
        let mut open = vec![directory.clone()];
        while let Some(directory) = open.pop() {
            let entries = again(|| io.list(&directory)).map_err(failed(io, "list", &directory))?;
            for entry in entries {
                let path = directory.join(&entry.name).expect("none is this deep");
                names += 1;
                if entry.kind == FileKind::Directory {
                    open.push(path);
                    continue;
                }
                let usage = again(|| io.usage(&path)).map_err(failed(io, "look at", &path))?;
                if usage.links <= 1 {
                    bytes = bytes.saturating_add(usage.allocated_bytes);
                }
            }
        }
        Ok((names, bytes))
    }

    /// What the largest deployed release takes, bytes.
    fn one_release(&self) -> u64 {
        let records = self
            .scan
            .deployments
            .iter()
            .filter_map(|found| found.record.as_ref().ok());
        let taken = records.filter_map(|record| {
            let (_, document) =
                release::read_statement(self.subject.store, record.commit, Some(&record.stream))
                    .ok()?;
            let statement = Statement::parse(document.body()).ok()?;
            Some(
                statement
                    .pack_size_bytes
                    .saturating_add(statement.object_bytes),
            )
        });
        taken.max().unwrap_or_default()
    }
}

fn weigh(report: &mut Report, bytes: u64, most_bytes: u64, finding: Finding) {
    let severity = if bytes > most_bytes {
        Severity::Failure
    } else {
        Severity::Warning
    };
    report.add(Check::Leftovers, severity, finding);
}
