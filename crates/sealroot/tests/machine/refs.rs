// SPDX-License-Identifier: MIT OR Apache-2.0
//! The refs that keep adopted commits in OSTree's repository: each as long as the store has anything
//! of its commit, and no longer.

use std::collections::BTreeSet;

use rustix::io::Errno;
use sealroot::adopt::{AdoptError, Kept, keep_on, kept_on, release_unused_on, unused_on};
use sealroot::deploy;
use sealroot::machine::{Pruned, plan_prune, prune};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StorePath};
use sealroot_format::digest::CommitId;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::support::{Machine, NOTHING, open, release};

/// Arbitrary write-back orders per crash.
const ARBITRARY_ORDERS: u64 = 6;

/// What boots.
const BOOTING: [usize; 2] = [2, 1];

/// A repository with a ref for each of these commits.
fn repository(commits: impl IntoIterator<Item = CommitId>) -> MemoryDisk {
    let disk = MemoryDisk::new(false);
    for path in ["tmp/x", "refs/x", "refs/heads/x"] {
        disk.plant(&StorePath::new(path).expect("a path"), b"");
    }
    let stateroot = "exampleos".parse().expect("a name");
    for commit in commits {
        keep_on(&disk.process(Trouble::None), &stateroot, &commit).expect("kept");
    }
    disk.crash(WriteBack::Nothing)
}

fn of_machine(machine: &Machine) -> MemoryDisk {
    repository(machine.names.iter().map(|name| name.commit))
}

fn commits(refs: &[Kept]) -> BTreeSet<CommitId> {
    refs.iter().map(|kept| kept.commit).collect()
}

fn release_unused(store: &Store<MemoryIo>, io: &MemoryIo) -> Result<Vec<Kept>, AdoptError> {
    let transaction = store.begin(&Silent)?;
    let released = release_unused_on(&transaction, io)?;
    transaction.finish()?;
    Ok(released)
}

/// Collects the machine's first deployment, then its ref; whether nothing went wrong.
fn collect(machine: &Machine, disk: &MemoryDisk, trouble: Trouble, io: &MemoryIo) -> bool {
    let choices = machine.choices(&BOOTING);
    let ask = || Ok(choices.clone());
    let Ok(store) = Store::open_on(disk.process(trouble)) else {
        return false;
    };
    let pruned = prune(&store, &machine.runtime(), &ask, NOTHING, &Silent);
    pruned.is_ok() && release_unused(&store, io).is_ok()
}

#[test]
fn a_ref_goes_when_nothing_of_its_commit_is_left() {
    let machine = Machine::new(true);
    let never_deployed = release(7);
    never_deployed.build(&machine.open()).expect("built");
    let all = machine.names.iter().map(|name| name.commit);
    let repository = repository(all.chain([never_deployed.commit()]));
    let io = repository.process(Trouble::None);
    assert_eq!(kept_on(&io).expect("listed").len(), 4);
    assert!(
        release_unused(&machine.open(), &io)
            .expect("none")
            .is_empty()
    );

    let choices = machine.choices(&BOOTING);
    let ask = || Ok(choices.clone());
    let planned = plan_prune(&machine.open(), &machine.runtime(), &ask, NOTHING);
    let planned = planned.expect("planned");
    let unused = unused_on(&machine.open(), &io, &planned).expect("looked at");
    let first = BTreeSet::from([machine.names[0].commit]);
    assert_eq!(commits(&unused), first);
    let unused = unused_on(&machine.open(), &io, &Pruned::default());
    assert!(unused.expect("looked at").is_empty());
    assert_eq!(kept_on(&io).expect("listed").len(), 4, "only looked");

    machine.prune(&BOOTING, NOTHING).expect("pruned");
    let released = release_unused(&machine.open(), &io).expect("released");
    assert_eq!(commits(&released), first);
    assert!(released[0].name.starts_with("sealroot/exampleos/"));
    assert_eq!(kept_on(&io).expect("listed").len(), 3);
}

#[test]
fn whatever_is_deployed_has_its_ref_wherever_it_is_stopped() {
    let mut machine = Machine::new(true);
    machine.disk = machine.disk.crash(WriteBack::Nothing);
    let calls = {
        let (disk, refs) = (machine.disk.copy(), of_machine(&machine));
        let (store, io) = (disk.process(Trouble::None), refs.process(Trouble::None));
        let calls = (store.calls(), io.calls());
        let store = Store::open_on(store).expect("a store");
        let choices = machine.choices(&BOOTING);
        let ask = || Ok(choices.clone());
        prune(&store, &machine.runtime(), &ask, NOTHING, &Silent).expect("pruned");
        release_unused(&store, &io).expect("released");
        (calls.0.get(), calls.1.get())
    };
    let killed = |changes| (0..=changes).map(|at| Trouble::KilledAtChange { at });
    let errno = Errno::IO;
    let failing = |all| (0..all).map(move |at| Trouble::FailsFrom { at, errno });
    let of_store = killed(calls.0.changes).map(|trouble| (trouble, Trouble::None));
    let of_refs = killed(calls.1.changes).map(|trouble| (Trouble::None, trouble));
    let faults = failing(calls.1.all).map(|trouble| (Trouble::None, trouble));
    for (of_store, of_refs) in of_store.chain(of_refs).chain(faults) {
        let (disk, refs) = (machine.disk.copy(), of_machine(&machine));
        let is_whole = collect(&machine, &disk, of_store, &refs.process(of_refs));
        for order in WriteBack::orders(ARBITRARY_ORDERS) {
            let when = format!("{of_store:?}, {of_refs:?}, {order:?}");
            let (disk, refs) = (disk.crash(order), refs.crash(order));
            let io = refs.process(Trouble::None);
            let kept = commits(&kept_on(&io).expect(&when));
            let deployed = deploy::deployments(&open(&disk, Trouble::None)).expect(&when);
            for found in deployed {
                assert!(kept.contains(&found.name.commit), "{when}: {}", found.name);
            }
            assert!(!is_whole || kept.len() == 2, "{when}: not durable");
            assert!(collect(&machine, &disk, Trouble::None, &io), "{when}");
            let kept = kept_on(&refs.crash(WriteBack::Nothing).process(Trouble::None));
            assert_eq!(kept.expect(&when).len(), 2, "{when}: it does not converge");
        }
    }
}
