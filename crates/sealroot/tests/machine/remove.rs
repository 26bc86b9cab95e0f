// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pinning deployments and removing them by name.

use sealroot::deploy::{self, Flag};
use sealroot::entry::{Boot, BootIo};
use sealroot::machine::{self, BootChoices, MachineError, State, Undeployed};
use sealroot::monitor::Silent;
use sealroot::store::StorePath;
use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;
use sealroot_testkit::memory_io::MemoryIo;

use crate::support::{Machine, NO_BOOT, NOTHING};

fn undeploy(
    machine: &Machine,
    boot: Option<&Boot<MemoryIo>>,
    number: usize,
) -> Result<Undeployed, MachineError> {
    let (store, runtime) = (machine.open(), machine.runtime());
    machine::undeploy(&store, &runtime, boot, &machine.names[number], &Silent)
}

#[test]
fn what_is_used_is_not_removed_and_the_error_says_by_what() {
    let machine = Machine::new(true);
    machine.boot(&machine.releases[0].pack.1, Some(machine.names[0]));
    machine::pin(&machine.open(), &machine.names[2], &Silent).expect("pinned");
    for (number, expected) in [(0, State::Booted), (2, State::Pinned)] {
        let error = undeploy(&machine, NO_BOOT, number).expect_err("in use");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(
            matches!(error, MachineError::InUse { state, .. } if state == expected),
            "{error}"
        );
    }
    assert!(machine::unpin(&machine.open(), &machine.names[2], &Silent).expect("unpinned"));
    undeploy(&machine, NO_BOOT, 2).expect("removed");
    let error = undeploy(&machine, NO_BOOT, 2).expect_err("gone");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[test]
fn its_own_entries_go_with_it_and_what_boots_next_stays() {
    let machine = Machine::new(true);
    let boot = machine.boot_partition(&[0, 1]);
    let choices = BootChoices::of(Some(&boot)).expect("read");
    assert_eq!(choices.default, Some(machine.names[1]));
    assert_eq!(choices.rollback, Some(machine.names[0]));
    assert_eq!(choices.named.len(), 2);

    let error = undeploy(&machine, Some(&boot), 1).expect_err("it boots next");
    assert_eq!(error.class(), ErrorClass::Usage);
    assert!(error.to_string().contains("is what boots next"), "{error}");
    assert_eq!(BootChoices::of(Some(&boot)).expect("read"), choices);

    let undeployed = undeploy(&machine, Some(&boot), 0).expect("removed");
    assert_eq!(undeployed.entries.len(), 1);
    let choices = BootChoices::of(Some(&boot)).expect("read");
    assert_eq!(choices.default, Some(machine.names[1]));
    assert_eq!(choices.named.len(), 1);
    undeploy(&machine, Some(&boot), 1).expect_err("the last");
    let names = machine.below("deploy");
    let of_last = machine.names[1].to_string();
    assert!(names.iter().any(|name| name.starts_with(&of_last)));
}

#[test]
fn what_is_staged_is_not_removed() {
    let machine = Machine::new(true);
    let store = machine.open();
    let transaction = store.begin(&Silent).expect("begun");
    deploy::raise_flag(&transaction, &machine.names[0], Flag::Staged, b"").expect("staged");
    transaction.finish().expect("durable");
    let error = undeploy(&machine, NO_BOOT, 0).expect_err("staged");
    let is_staged = matches!(
        error,
        MachineError::InUse {
            state: State::Staged,
            ..
        }
    );
    assert!(is_staged, "{error}");
}

#[test]
fn an_entry_of_somebody_elses_keeps_a_deployment_and_its_own_entries() {
    let machine = Machine::new(true);
    let boot = machine.boot_partition(&[0, 1]);
    let path = StorePath::new("loader/entries/mine.conf").expect("a path");
    let file = BootIo::create(boot.io(), &path).expect("made");
    let text = format!(
        "title mine\nlinux /vmlinuz\noptions sealroot={}\n",
        machine.names[0]
    );
    BootIo::write(boot.io(), &file, text.as_bytes()).expect("written");
    let before = boot.entries().expect("read").in_boot_order().to_vec();
    let error = undeploy(&machine, Some(&boot), 0).expect_err("in use");
    let MachineError::EntriesOfOthers { entries, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*entries, ["mine.conf"]);
    let after = boot.entries().expect("read").in_boot_order().to_vec();
    assert_eq!(after, before);
}

#[test]
fn the_release_goes_with_the_next_prune() {
    let machine = Machine::new(true);
    undeploy(&machine, NO_BOOT, 0).expect("removed");
    assert!(!machine.below("trash").is_empty());
    assert_eq!(machine.below("pack").len(), 6);
    let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
    assert_eq!(pruned.packs, [machine.releases[0].pack.1]);
    assert_eq!(pruned.objects, 1);
    assert_eq!(machine.below("pack").len(), 4);
}

#[test]
fn a_pin_is_of_a_deployment_that_is_there() {
    let machine = Machine::new(true);
    let name = DeploymentName {
        serial: 9,
        ..machine.names[0]
    };
    let error = machine::pin(&machine.open(), &name, &Silent).expect_err("there is none");
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(machine::pin(&machine.open(), &machine.names[0], &Silent).expect("pinned"));
    assert!(!machine::pin(&machine.open(), &machine.names[0], &Silent).expect("again"));
}
