// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot partition: does the next update fit beside what must stay?

use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;

use super::{Check, Finding, Mend, Report, Seen};
use crate::check::explain;
use crate::entry::{Boot, BootIo, Entries};
use crate::machine;
use crate::store::StoreIo;

/// What is to be free besides twice the largest kernel or image, bytes.
const SPARE_BYTES: u64 = 1 << 20;

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Weighs the room there is.
    pub(super) fn room(&self, report: &mut Report) {
        if let Some((boot, entries)) = self.boot {
            self.weigh(boot, entries, report);
        }
    }

    fn weigh(&self, boot: &Boot<B>, entries: &Entries, report: &mut Report) {
        let place = boot.location().display().to_string();
        // One that is not there yet.
        let next = DeploymentName {
            commit: CommitId::from_bytes([0; 32]),
            serial: 0,
        };
        let subject = self.subject;
        let kept = machine::kept_entries(subject.store, subject.runtime, boot, &next);
        let room = match kept {
            Ok(kept) => {
                let keep = |ours: &crate::entry::OurEntry| kept.contains(&ours.text.deployment);
                boot.room_left(entries, &keep)
                    .map_err(|error| explain(&error))
            }
            Err(error) => Err(explain(&error)),
        };
        let room = match room {
            Ok(room) => room,
            Err(found) => {
                return report.warn(
                    Check::Room,
                    Finding {
                        place,
                        expected: "how much room there is".into(),
                        found,
                        mend: Mend::Look(boot.location().to_owned()),
                    },
                );
            }
        };
        report.room = Some(room);
        let wanted_bytes = room
            .largest_bytes
            .saturating_mul(2)
            .saturating_add(SPARE_BYTES);
        let with_freed = room.available_bytes.saturating_add(room.freeable_bytes);
        let finding = |expected: String| Finding {
            place,
            expected,
            found: format!(
                "{} bytes free, and {} that the next update may free",
                room.available_bytes, room.freeable_bytes
            ),
            mend: Mend::MakeRoom(boot.location().to_owned()),
        };
        if room.largest_bytes == 0 || room.available_bytes >= wanted_bytes {
            return;
        }
        if with_freed < room.largest_bytes {
            let largest_bytes = room.largest_bytes;
            let expected =
                format!("room for the next update: {largest_bytes} bytes as the largest so far");
            report.fail(Check::Room, finding(expected));
        } else {
            let expected = format!(
                "{wanted_bytes} bytes free: twice what the largest kernel or image takes, and 1 MiB"
            );
            report.warn(Check::Room, finding(expected));
        }
    }
}
