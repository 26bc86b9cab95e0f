// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pinning deployments and removing them by name.

use sealroot::machine::{self, MachineError, State};
use sealroot::monitor::Silent;
use sealroot_format::ErrorClass;
use sealroot_format::policy::DeploymentName;

use crate::support::{Machine, NOTHING};

fn undeploy(machine: &Machine, named: &[usize], number: usize) -> Result<(), MachineError> {
    let choices = machine.choices(named);
    let ask = || Ok(choices.clone());
    let (store, runtime) = (machine.open(), machine.runtime());
    machine::undeploy(&store, &runtime, &ask, &machine.names[number], &Silent)
}

#[test]
fn what_is_used_is_not_removed_and_the_error_says_by_what() {
    let machine = Machine::new(true);
    machine.boot(&machine.releases[0].pack.1, Some(machine.names[0]));
    machine::pin(&machine.open(), &machine.names[2], &Silent).expect("pinned");
    for (number, expected) in [(0, State::Booted), (1, State::Default), (2, State::Pinned)] {
        let error = undeploy(&machine, &[1], number).expect_err("in use");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(
            matches!(error, MachineError::InUse { state, .. } if state == expected),
            "{error}"
        );
    }
    assert!(machine::unpin(&machine.open(), &machine.names[2], &Silent).expect("unpinned"));
    undeploy(&machine, &[1], 2).expect("removed");
    let error = undeploy(&machine, &[1], 2).expect_err("gone");
    assert_eq!(error.class(), ErrorClass::NotFound);
}

#[test]
fn the_release_goes_with_the_next_prune() {
    let machine = Machine::new(true);
    undeploy(&machine, &[2, 1], 0).expect("removed");
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
