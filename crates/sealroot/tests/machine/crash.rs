// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wherever the power goes or an operation fails while something is collected: what is used is
//! there whole, nothing lacks what it needs, and doing it again ends in the same store.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sealroot::check::{Depth, Severity, check};
use sealroot::deploy::{self, Flag};
use sealroot::doctor;
use sealroot::entry::Boot;
use sealroot::machine::{self, MachineError, prune};
use sealroot::monitor::Silent;
use sealroot::store::{Store, image_path, object_path, pack_path};
use sealroot_testkit::memory_io::{Calls, MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::doctor::examine;
use crate::support::{Machine, NO_BOOT, NOTHING, open};

/// Arbitrary write-back orders per crash.
const ARBITRARY_ORDERS: u64 = 12;

type Operation = fn(&Machine, &Store<MemoryIo>) -> Result<(), MachineError>;

/// The deployments with these numbers boot; the third but one is pinned.
const BOOTING: [usize; 1] = [2];

fn collect(machine: &Machine, store: &Store<MemoryIo>) -> Result<(), MachineError> {
    let choices = machine.choices(&BOOTING);
    let ask = || Ok(choices.clone());
    prune(store, &machine.runtime(), &ask, NOTHING, &Silent).map(drop)
}

fn remove(machine: &Machine, store: &Store<MemoryIo>) -> Result<(), MachineError> {
    let name = &machine.names[0];
    match machine::undeploy(store, &machine.runtime(), NO_BOOT, name, &Silent) {
        // Removed by an attempt before.
        Err(MachineError::Deploy(deploy::DeployError::NoDeployment { .. })) => Ok(()),
        result => result.map(drop),
    }
}

/// An operation and the disk it is done to.
struct Scenario {
    name: String,
    machine: Machine,
    /// What boots of it.
    boot: Boot<MemoryIo>,
    operation: Operation,
    calls: Calls,
    /// The files when nothing goes wrong and all is collected and deleted afterwards.
    after: BTreeMap<String, Vec<u8>>,
}

impl Scenario {
    fn new(name: &str, machine: Machine, operation: Operation) -> Self {
        let disk = machine.disk.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        operation(&machine, &Store::open_on(io).expect("a store")).expect("nothing goes wrong");
        let calls = calls.get();
        let mut scenario = Self {
            name: name.into(),
            boot: machine.boot_partition(&BOOTING),
            machine,
            operation,
            calls,
            after: BTreeMap::new(),
        };
        scenario.after = scenario.finish(&disk);
        scenario
    }

    fn all() -> Vec<Self> {
        let mut scenarios = Vec::new();
        for has_verity in [true, false] {
            let pinned = || {
                let mut machine = Machine::new(has_verity);
                machine.add_images();
                machine::pin(&machine.open(), &machine.names[1], &Silent).expect("pinned");
                machine.disk = machine.disk.crash(WriteBack::Nothing);
                machine
            };
            let trashed = || {
                let machine = pinned();
                remove(&machine, &machine.open()).expect("removed");
                machine
            };
            scenarios.push(Self::new("prune", pinned(), collect));
            scenarios.push(Self::new("prune with trash", trashed(), collect));
            scenarios.push(Self::new("undeploy", pinned(), remove));
        }
        scenarios
    }

    fn process(&self, disk: &MemoryDisk, trouble: Trouble) -> Result<(), MachineError> {
        (self.operation)(&self.machine, &open(disk, trouble))
    }

    /// Does it again, then collects twice: once to put aside, once to delete.
    fn finish(&self, disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
        let again = self.process(disk, Trouble::None);
        again.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        for _ in 0..2 {
            collect(&self.machine, &open(disk, Trouble::None)).expect("collected");
        }
        disk.crash(WriteBack::Nothing).files()
    }

    /// What must hold whenever somebody looks.
    fn judge(&self, disk: &MemoryDisk, when: &str) {
        let store = open(disk, Trouble::None);
        let report = check(&store, Depth::Full, &Silent).expect("checked");
        for finding in &report.findings {
            let severity = finding.code.severity();
            assert_eq!(severity, Severity::Leftover, "{when}: {finding:?}");
        }
        let examined = examine(&store, &self.boot, &self.machine.runtime());
        assert!(
            examined.worst() < Some(doctor::Severity::Failure),
            "{when}: {examined:?}"
        );
        let is_pinned = deploy::has_flag(&store, &self.machine.names[1], Flag::Pinned);
        assert!(is_pinned.expect("looked at"), "{when}: the pin");
        for number in [1, 2] {
            let name = self.machine.names[number];
            deploy::read_record(&store, name).unwrap_or_else(|e| panic!("{when}: {e}"));
            let files = disk.files();
            let release = &self.machine.releases[number];
            let pack = format!("/{}", pack_path(&release.pack.1));
            assert!(files.contains_key(&pack), "{when}: the pack of {number}");
            let image = release.image_name().expect("it has one");
            let image = format!("/{}", image_path(&image));
            assert!(files.contains_key(&image), "{when}: the image of {number}");
            for (content, digest) in &release.objects {
                let shared = format!("/{}", object_path(digest));
                let linked = format!("/deploy/{name}{shared}");
                for path in [shared, linked] {
                    assert_eq!(files.get(&path), Some(content), "{when}: {path}");
                }
            }
        }
    }

    fn converges(&self, disk: &MemoryDisk, when: &str) {
        let found = self.finish(disk);
        let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&self.after), "{when}");
        assert!(found == self.after, "{when}: other content");
    }
}

// Rules: G4, G5, G6
#[test]
fn a_power_cut_takes_nothing_that_is_used_and_the_next_run_goes_on() {
    let mut crashes = 0;
    for scenario in Scenario::all() {
        for at in 0..=scenario.calls.changes {
            let disk = scenario.machine.disk.copy();
            let trouble = Trouble::KilledAtChange { at };
            let result = scenario.process(&disk, trouble);
            assert_eq!(result.is_ok(), at >= scenario.calls.changes);
            let when = format!("{}, killed at {at}", scenario.name);
            scenario.judge(&disk, &when);
            scenario.converges(&disk.copy(), &when);
            for order in WriteBack::orders(ARBITRARY_ORDERS) {
                let when = format!("{}, power cut at {at}, {order:?}", scenario.name);
                let found = disk.crash(order);
                scenario.judge(&found, &when);
                scenario.converges(&found, &when);
                crashes += 1;
            }
        }
    }
    eprintln!("{crashes} power cuts, 0 losses");
    assert!(crashes > 2000);
}

#[test]
fn an_operation_that_fails_stops_everything_and_takes_nothing_that_is_used() {
    let mut faults = 0;
    for scenario in Scenario::all() {
        for at in 0..scenario.calls.all {
            for errno in [Errno::NOSPC, Errno::IO, Errno::INTR, Errno::ROFS] {
                for trouble in [
                    Trouble::FailsOnce { at, errno },
                    Trouble::FailsFrom { at, errno },
                ] {
                    let when = format!("{}, {trouble:?}", scenario.name);
                    let disk = scenario.machine.disk.copy();
                    let store = Store::open_on(disk.process(trouble));
                    let result = store.map_err(MachineError::from);
                    let result =
                        result.and_then(|store| (scenario.operation)(&scenario.machine, &store));
                    assert!(
                        !(errno == Errno::INTR && trouble == Trouble::FailsOnce { at, errno })
                            || result.is_ok(),
                        "{when}: an interruption is no failure"
                    );
                    scenario.judge(&disk, &when);
                    scenario.converges(&disk, &when);
                    faults += 1;
                }
            }
        }
    }
    eprintln!("{faults} faults, 0 losses");
    assert!(faults > 1000);
}
