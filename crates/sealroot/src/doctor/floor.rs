// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floors: are they there where policies name them, and not above what is kept?

use std::fmt::Debug;

use sealroot_format::floor::Floor;
use sealroot_format::policy::{FloorOn, FloorStore};
use sealroot_format::sign::ReleaseNumbers;

use super::entries::Judged;
use super::judge::{Doubt, Orders};
use super::{Check, Finding, Mend, Report, Seen, Severity};
use crate::entry::BootIo;
use crate::floor::{Counter, Firmware, FloorError};
use crate::machine::{Booted, Found, State};
use crate::store::StoreIo;

/// Where a machine keeps floors, to be read.
pub trait FloorStores: Debug {
    /// The floor in the firmware.
    ///
    /// # Errors
    ///
    /// Why it cannot be read; [`FloorError::NoVariable`] if there is none.
    fn firmware(&self) -> Result<Floor, FloorError>;

    /// The epoch that the TPM's counter stands for, with this base.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    fn counter(&self, base: u64) -> Result<u64, FloorError>;
}

/// Those of this machine.
#[derive(Clone, Debug)]
pub struct MachineFloors(pub Firmware);

impl FloorStores for MachineFloors {
    fn firmware(&self) -> Result<Floor, FloorError> {
        self.0.floor()?.ok_or(FloorError::NoVariable)
    }

    fn counter(&self, base: u64) -> Result<u64, FloorError> {
        Counter::open(base)?.epoch()
    }
}

/// What the stores that a policy names say now.
enum Kept {
    /// This.
    Floor(Floor),
    /// They are another machine's.
    Elsewhere,
    /// One cannot be read: the boot program refuses every release.
    Unreadable { error: FloorError, mend: Mend },
}

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// That no floor keeps an entry from booting that takes its release.
    pub(super) fn below_floor(&self, orders: &Orders) -> Result<(), Doubt> {
        let policy = &orders.policy;
        let refused = |expected: String, found: String| Err(Doubt::Refused { expected, found });
        match self.kept(policy.floor_store, policy.floor_on) {
            Kept::Floor(floor) if floor.allows(orders.statement.numbers()) => Ok(()),
            Kept::Floor(floor) => refused(at_least(floor), shown(orders.statement.numbers())),
            Kept::Elsewhere => Err(Doubt::Unknown {
                expected: "a floor that is not above the release".into(),
                found: "it is kept in the firmware or the TPM of another machine".into(),
            }),
            Kept::Unreadable { error, .. } => {
                let found = crate::check::explain(&error);
                refused("the floors that the policy names".into(), found)
            }
        }
    }

    fn kept(&self, store: FloorStore, on: FloorOn) -> Kept {
        let mut floor = Floor::default();
        let Some(stores) = self.subject.floors else {
            return if store.is_empty() {
                Kept::Floor(floor)
            } else {
                Kept::Elsewhere
            };
        };
        if store.efi {
            match stores.firmware() {
                Ok(found) => floor = floor.and(found),
                Err(error) => {
                    let mend = Mend::EnrolVariable;
                    return Kept::Unreadable { error, mend };
                }
            }
        }
        if let Some(base) = store.tpm {
            match stores.counter(base) {
                Ok(epoch) => floor = floor.and(Floor { epoch, index: 0 }),
                Err(error) => {
                    let mend = Mend::EnrolCounter(base);
                    return Kept::Unreadable { error, mend };
                }
            }
        }
        Kept::Floor(on.of(floor))
    }

    /// Holds what is kept against the floors: an entry's by its own policy, all else by the one of this
    /// boot.
    pub(super) fn floors(&self, judged: &Judged, report: &mut Report) {
        let booted = self.scan.booted.as_ref().ok().and_then(Option::as_ref);
        for found in &self.scan.deployments {
            let own = judged.get(&found.name);
            let own = own.map(|orders| {
                let policy = &orders.policy;
                (
                    policy.floor_store,
                    policy.floor_on,
                    orders.statement.numbers(),
                )
            });
            let Some((store, on, numbers)) = own.or_else(|| by_this_boot(booted, found)) else {
                continue;
            };
            self.hold(found, (store, on), numbers, report);
        }
    }

    fn hold(
        &self,
        found: &Found,
        (store, on): (FloorStore, FloorOn),
        numbers: ReleaseNumbers,
        report: &mut Report,
    ) {
        let place = format!("deployment {}", found.name);
        let needed = [State::Default, State::Staged];
        let is_needed = needed.iter().any(|state| found.states.contains(state));
        let severity = if is_needed {
            Severity::Failure
        } else {
            Severity::Warning
        };
        match self.kept(store, on) {
            Kept::Floor(floor) if floor.allows(numbers) => {}
            Kept::Floor(floor) => report.add(
                Check::Floor,
                severity,
                Finding {
                    place,
                    expected: at_least(floor),
                    found: shown(numbers),
                    mend: if is_needed {
                        Mend::Upgrade
                    } else {
                        Mend::Undeploy(found.name)
                    },
                },
            ),
            Kept::Elsewhere => report.warn(
                Check::Floor,
                Finding {
                    place,
                    expected: "a floor that is not above the release".into(),
                    found: "it is kept in the firmware or the TPM of another machine".into(),
                    mend: Mend::OnThatMachine,
                },
            ),
            Kept::Unreadable { error, mend } => report.add(
                Check::Floor,
                severity,
                Finding {
                    place,
                    expected: "the floors that its policy names".into(),
                    found: crate::check::explain(&error),
                    mend,
                },
            ),
        }
    }
}

/// What a deployment without a known policy of its own is held against, if something uses it.
fn by_this_boot(
    booted: Option<&Booted>,
    found: &Found,
) -> Option<(FloorStore, FloorOn, ReleaseNumbers)> {
    let kept = booted?.floor?;
    let record = found.record.as_ref().ok()?;
    let numbers = ReleaseNumbers {
        index: record.index,
        epoch: record.epoch,
    };
    (!found.states.is_empty()).then_some((kept.store, kept.on, numbers))
}

fn at_least(floor: Floor) -> String {
    format!("at least epoch {} and index {}", floor.epoch, floor.index)
}

fn shown(numbers: ReleaseNumbers) -> String {
    format!("epoch {} and index {}", numbers.epoch, numbers.index)
}
