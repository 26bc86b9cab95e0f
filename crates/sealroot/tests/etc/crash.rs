// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever fails, and wherever the power goes while an `/etc` is written: the deployment has the
//! one it had, or the new one whole, and doing it again ends in the same.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sealroot::deploy;
use sealroot::etc::{self, Current, EtcError, Source};
use sealroot::monitor::Silent;
use sealroot::store::{Store, VeritySupport};
use sealroot_format::policy::{DeploymentName, Mode};
use sealroot_format::tree::{Metadata, Tree};
use sealroot_testkit::memory_io::{Calls, MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::support::{Released, tree};

/// Arbitrary write-back orders per crash.
const ARBITRARY_ORDERS: u64 = 6;

fn old() -> Tree {
    tree("/a file 1\n/d dir mode=700\n/d/b file 1 uid=3\n/l link a")
}

fn current() -> Tree {
    tree("/a file mine mode=600\n/d dir mode=711\n/d/b file 1 uid=3 label=x\n/l link b gid=4")
}

fn new() -> Tree {
    tree("/a file 2\n/d dir mode=700\n/d/b file 2 uid=3\n/e file 2\n/l link a")
}

fn merge(io: MemoryIo, name: DeploymentName) -> Result<(), EtcError> {
    let store = Store::open_on(io)?;
    let transaction = store.begin(&Silent)?;
    let current = Current::of_tree(current());
    let source = Source {
        old: &old(),
        current: &current,
        deployment: None,
    };
    etc::merge(&transaction, name, Some(source), &new())?;
    transaction.finish()?;
    Ok(())
}

/// A store with a deployment.
fn deployed() -> (MemoryDisk, DeploymentName) {
    let disk = MemoryDisk::new(true);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    assert_eq!(store.verity(), VeritySupport::Kernel);
    let release = Released::new(1, &tree("/etc dir\n/etc/a file 1"));
    let name = release.deploy(&store, Mode::Verity);
    drop(store);
    (disk.crash(WriteBack::Nothing), name)
}

/// What is in the deployment's `/etc`.
type Found = (BTreeMap<String, Vec<u8>>, BTreeMap<String, Metadata>);

fn etc_of(disk: &MemoryDisk, name: DeploymentName) -> Found {
    let place = format!("/{}", etc::path_of(name));
    let files = disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.starts_with(&place));
    let attributes = disk.attributes().into_iter();
    let attributes = attributes.filter(|(path, _)| path.starts_with(&place));
    (files.collect(), attributes.collect())
}

fn calls_of(before: &MemoryDisk, name: DeploymentName) -> (Calls, Found) {
    let disk = before.copy();
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    merge(io, name).expect("nothing goes wrong");
    (calls.get(), etc_of(&disk, name))
}

#[track_caller]
fn assert_old_or_new_whole(before: &MemoryDisk, name: DeploymentName) {
    let was = etc_of(before, name);
    let (calls, expected) = calls_of(before, name);
    assert_ne!(was, expected);
    for at in 0..calls.changes {
        let disk = before.copy();
        merge(disk.process(Trouble::KilledAtChange { at }), name).expect_err("killed");
        for order in WriteBack::orders(ARBITRARY_ORDERS) {
            let crashed = disk.crash(order);
            let found = etc_of(&crashed, name);
            assert!(
                found == was || found == expected,
                "{at} {order:?}: {found:?}"
            );
            merge(crashed.process(Trouble::None), name).expect("again");
            assert_eq!(etc_of(&crashed, name), expected, "{at} {order:?}");
            // And what is there now is durable.
            assert_eq!(etc_of(&crashed.crash(WriteBack::Nothing), name), expected);
        }
    }
}

#[test]
fn the_first_etc_of_a_deployment_is_there_whole_or_not_at_all() {
    let (disk, name) = deployed();
    assert_old_or_new_whole(&disk, name);
}

#[test]
fn an_etc_is_replaced_in_one_step() {
    let (disk, name) = deployed();
    let store = Store::open_on(disk.process(Trouble::None)).expect("a store");
    let transaction = store.begin(&Silent).expect("begun");
    etc::merge(&transaction, name, None, &old()).expect("the default alone");
    transaction.finish().expect("finished");
    drop(store);
    assert_old_or_new_whole(&disk.crash(WriteBack::Nothing), name);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let (before, name) = deployed();
    let (calls, expected) = calls_of(&before, name);
    for at in 0..calls.all {
        for errno in [Errno::IO, Errno::NOSPC] {
            let disk = before.copy();
            let result = merge(disk.process(Trouble::FailsOnce { at, errno }), name);
            let found = etc_of(&disk, name);
            let is_whole = found == expected || found == (BTreeMap::new(), BTreeMap::new());
            assert!(is_whole, "{at} {errno}: {found:?}");
            assert!(result.is_err() || found == expected, "{at} {errno}");
            merge(disk.process(Trouble::None), name).expect("again");
            assert_eq!(etc_of(&disk, name), expected);
        }
    }
}

#[test]
fn a_clash_writes_nothing() {
    let (disk, name) = deployed();
    let store = Store::open_on(disk.process(Trouble::None)).expect("a store");
    let transaction = store.begin(&Silent).expect("begun");
    let current = Current::of_tree(tree("/a file mine"));
    let old = tree("/a file 1");
    let source = Source {
        old: &old,
        current: &current,
        deployment: None,
    };
    let error = etc::merge(&transaction, name, Some(source), &tree("/a dir")).expect_err("a clash");
    assert!(matches!(error, EtcError::Clashes { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "/etc cannot be merged: /etc/a is no directory here and is one in the new release: move \
         it away, or take back the change (sealroot etc reset)"
    );
    assert!(!disk.files().keys().any(|path| path.starts_with("/tmp/")));
    assert!(!etc::has_own(&store, name).expect("looked at"));
}

#[test]
fn a_merge_needs_a_deployment_and_not_its_own_etc() {
    let (disk, name) = deployed();
    let store = Store::open_on(disk.process(Trouble::None)).expect("a store");
    let nobody = DeploymentName { serial: 9, ..name };
    let transaction = store.begin(&Silent).expect("begun");
    let error = etc::merge(&transaction, nobody, None, &old()).expect_err("no deployment");
    assert!(
        matches!(
            error,
            EtcError::Deploy(deploy::DeployError::NoDeployment { .. })
        ),
        "{error}"
    );
    drop(transaction);
    let transaction = store.begin(&Silent).expect("begun");
    let current = Current::of_tree(current());
    let source = Source {
        old: &old(),
        current: &current,
        deployment: Some(name),
    };
    let error = etc::merge(&transaction, name, Some(source), &new()).expect_err("its own");
    assert!(matches!(error, EtcError::OwnSource { .. }), "{error}");
}
