// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keysets: does the one that is trusted here fit those in what boots, and the releases?

use std::cmp::Ordering;

use sealroot_format::sign::{Keyset, Role, Verified};

use super::entries::Judged;
use super::{Check, Finding, Mend, Report, Seen};
use crate::check::explain;
use crate::entry::BootIo;
use crate::release;
use crate::store::StoreIo;

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Compares keysets, and has the one that is trusted here verify what is deployed.
    pub(super) fn keys(&self, judged: &Judged, report: &mut Report) {
        let Some(trusted) = self.subject.keyset else {
            return;
        };
        for found in &self.scan.deployments {
            let name = found.name;
            if let Some(orders) = judged.get(&name) {
                let (ours, theirs) = (trusted.version(), orders.keyset.version());
                let differ = match theirs.cmp(&ours) {
                    Ordering::Greater => true,
                    Ordering::Equal => !is_same(trusted, &orders.keyset),
                    Ordering::Less => false,
                };
                if differ {
                    report.warn(
                        Check::Keys,
                        Finding {
                            place: format!("deployment {name}"),
                            expected: format!(
                                "this machine's keyset, version {ours}, or an older one"
                            ),
                            found: format!("it boots with another keyset, of version {theirs}"),
                            mend: Mend::Keyset,
                        },
                    );
                }
            }
            let Some(record) = found
                .record
                .as_ref()
                .ok()
                .filter(|_| !found.states.is_empty())
            else {
                continue;
            };
            let stream = Some(&record.stream);
            let verified =
                release::verify_statement(self.subject.store, trusted, name.commit, stream);
            if let Err(error) = verified {
                report.warn(
                    Check::Keys,
                    Finding {
                        place: format!("deployment {name}"),
                        expected:
                            "a release that the keys trusted here have signed, to be deployed again"
                                .into(),
                        found: explain(&error),
                        mend: Mend::Upgrade,
                    },
                );
            }
        }
    }
}

fn is_same(one: &Verified<Keyset>, other: &Verified<Keyset>) -> bool {
    let roles = [Role::Root, Role::Release, Role::Channel];
    roles
        .iter()
        .all(|role| one.role(*role) == other.role(*role))
}
