// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a machine whose firmware starts images without a boot loader: a trial, a failed one, the
//! way back, what is collected meanwhile, and what `doctor` says of it.

use sealroot::boot_manager::BootManager;
use sealroot::doctor::{Check, Mend, Report, Severity};
use sealroot::entry::{Boot, Content, NewEntry};
use sealroot::machine::{self, BootChoices, MachineError, Releases, Retention};
use sealroot::monitor::Silent;
use sealroot::store::StorePath;
use sealroot_testkit::boot_manager::{self, FALLBACK, PARTITION, Started, VariableMap};
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble};

use crate::doctor::examine;
use crate::support::Machine;

struct Scene {
    machine: Machine,
    esp: MemoryDisk,
}

/// What firmware takes for a program.
fn image(number: usize) -> Vec<u8> {
    let mut image = vec![u8::try_from(number).expect("few"); 9000];
    image[..2].copy_from_slice(b"MZ");
    image
}

impl Scene {
    /// A machine with three deployments, of which the first is good and runs.
    fn new() -> Self {
        let scene = Self {
            machine: Machine::new(true),
            esp: MemoryDisk::new(false),
        };
        scene.deploy(0);
        assert_eq!(scene.switch_on(), Some(0));
        scene.bless().expect("blessed");
        scene
    }

    fn boot(&self) -> Boot<MemoryIo> {
        let io = self.esp.process(Trouble::None);
        let variables = Box::new(io.clone());
        Boot::without_loader(io, BootManager::new(variables, PARTITION))
    }

    fn deploy(&self, number: usize) {
        let store = self.machine.open();
        let transaction = store.begin(&Silent).expect("begun");
        let new = NewEntry {
            deployment: self.machine.names[number],
            title: format!("number {number}"),
            content: Content::Image(&image(number)),
            tries: Some(1),
        };
        machine::make_default(&transaction, &self.machine.runtime(), &self.boot(), &new)
            .expect("made the default");
        transaction.finish().expect("finished");
    }

    /// One start of the machine: which of the deployments runs then.
    fn switch_on(&self) -> Option<usize> {
        let mut variables: VariableMap = self.esp.variables();
        let started = boot_manager::start(&mut variables, &self.esp.files());
        self.esp.lose_next();
        let Started::File { content, .. } = started else {
            return None;
        };
        let number = (0..3).find(|number| image(*number) == content)?;
        let pack = self.machine.releases[number].pack.1;
        self.machine.boot(&pack, Some(self.machine.names[number]));
        Some(number)
    }

    fn bless(&self) -> Result<machine::Blessed, MachineError> {
        let runtime = self.machine.runtime();
        machine::bless(&self.machine.open(), &runtime, &self.boot(), &Silent)
    }

    fn doctor(&self) -> Report {
        examine(&self.machine.open(), &self.boot(), &self.machine.runtime())
    }

    fn choices(&self) -> BootChoices {
        BootChoices::of(Some(&self.boot())).expect("read")
    }
}

/// What was found of the boot manager, and what mends it.
fn said(report: &Report, check: Check) -> Vec<(Severity, String, Mend)> {
    // That these images are no images of ours is another matter.
    let about = ["boot option", "blessed", "lost its variables"];
    let found = report.of(check).filter(|(_, finding)| {
        let expected = &finding.expected;
        about.iter().any(|about| expected.contains(about))
    });
    let found =
        found.map(|(severity, finding)| (severity, finding.found.clone(), finding.mend.clone()));
    found.collect()
}

#[test]
fn a_trial_that_nobody_blesses_is_over_and_nothing_it_needs_was_collected() {
    let scene = Scene::new();
    let names = &scene.machine.names;
    scene.deploy(1);
    assert_eq!(scene.choices().default, Some(names[1]));
    assert_eq!(scene.choices().rollback, Some(names[0]));
    assert_eq!(scene.switch_on(), Some(1));
    // It runs, and is not what boots next: both stay.
    assert_eq!(scene.choices().default, Some(names[0]));
    let ask = || Ok(scene.choices());
    let nothing = Retention {
        keep: 0,
        releases: Releases::OfDeployments,
    };
    let (store, runtime) = (scene.machine.open(), scene.machine.runtime());
    machine::prune(&store, &runtime, &ask, nothing, &Silent).expect("pruned");
    drop(store);
    let said_of_trial = said(&scene.doctor(), Check::Entries);
    assert!(
        matches!(&said_of_trial[..], [(Severity::Warning, _, Mend::Bless)]),
        "{said_of_trial:?}"
    );
    assert_eq!(scene.switch_on(), Some(0), "it fell back by itself");
    let found = said(&scene.doctor(), Check::Entries);
    let [
        (
            _,
            found,
            Mend::Deploy {
                commit,
                is_image: true,
            },
        ),
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert!(found.contains("gone back"), "{found}");
    assert_eq!(*commit, names[1].commit);
}

#[test]
fn what_was_blessed_stays_and_there_is_a_way_back() {
    let scene = Scene::new();
    scene.deploy(1);
    assert_eq!(scene.switch_on(), Some(1));
    assert!(scene.bless().expect("blessed").is_changed);
    assert!(!scene.bless().expect("blessed").is_changed);
    assert_eq!(scene.switch_on(), Some(1));
    assert_eq!(said(&scene.doctor(), Check::Entries), []);
    assert_eq!(said(&scene.doctor(), Check::Boots), []);
    let (store, runtime) = (scene.machine.open(), scene.machine.runtime());
    machine::rollback(&store, &runtime, &scene.boot(), &Silent).expect("rolled back");
    drop(store);
    // What runs still is good, and does not take back what was chosen after it.
    assert!(!scene.bless().expect("blessed").is_changed);
    assert_eq!(scene.switch_on(), Some(0));
    assert_eq!(scene.switch_on(), Some(0));
    // A third keeps what runs, and what it would go back to.
    scene.deploy(2);
    assert_eq!(scene.switch_on(), Some(2));
    assert_eq!(scene.switch_on(), Some(0));
}

#[test]
fn a_machine_that_lost_its_variables_boots_and_one_command_mends_it() {
    let scene = Scene::new();
    scene.esp.lose_variables();
    let found = said(&scene.doctor(), Check::Boots);
    assert!(
        matches!(&found[..], [(Severity::Failure, _, Mend::Bless)]),
        "{found:?}"
    );
    assert_eq!(scene.switch_on(), Some(0), "by the fallback");
    assert!(scene.bless().expect("blessed").is_changed);
    assert_eq!(said(&scene.doctor(), Check::Boots), []);
    assert_eq!(said(&scene.doctor(), Check::Entries), []);
    assert_eq!(scene.switch_on(), Some(0));
}

#[test]
fn doctor_tells_what_somebody_did_to_the_variables_and_the_fallback() {
    let scene = Scene::new();
    let genuine = scene.esp.variables()["Boot0000"].clone();
    let with_data = [&genuine[..], b"i\0n\0i\0t\0"].concat();
    scene.esp.plant_variable("Boot0000", &with_data);
    let found = said(&scene.doctor(), Check::Boots);
    assert!(
        matches!(&found[..], [(Severity::Failure, _, Mend::Bless)]),
        "{found:?}"
    );
    scene.bless().expect("blessed");
    assert_eq!(scene.esp.variables()["Boot0000"], genuine);
    let path = StorePath::new(&FALLBACK[1..]).expect("a path");
    scene.esp.plant(&path, b"");
    let found = said(&scene.doctor(), Check::Boots);
    assert!(
        matches!(&found[..], [(Severity::Warning, _, Mend::Bless)]),
        "{found:?}"
    );
    assert!(!scene.bless().expect("blessed").is_changed);
    assert_eq!(said(&scene.doctor(), Check::Boots), []);
    scene.esp.plant(&path, b"MZ another system's");
    assert_eq!(said(&scene.doctor(), Check::Boots), []);
}
