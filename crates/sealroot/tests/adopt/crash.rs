// SPDX-License-Identifier: MIT OR Apache-2.0
//! Adoption and the way back, stopped at every operation: what is found afterwards is whole or not
//! there, and doing it again ends in the same state.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sealroot::adopt::{AdoptError, Adopted, Request, adopt_on, revert_on};
use sealroot::check::{self, Depth, Severity};
use sealroot::monitor::Silent;
use sealroot::spool::Spool;
use sealroot::store::{Store, StorePath};
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::support::{Sysroot, THRESHOLD_BYTES};

/// The files, but for the note that something was interrupted: it stays until the next collection.
fn files_of(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let mut files = disk.files();
    files.remove("/unswept");
    files
}

fn adopt(io: MemoryIo, sysroot: &Sysroot) -> Result<Adopted, AdoptError> {
    let store = Store::open_or_create_on(io)?;
    let repository = sysroot.repository();
    let request = Request {
        repository: &repository,
        commit: sysroot.commit,
        release: None,
        threshold_bytes: THRESHOLD_BYTES,
    };
    adopt_on(&store, &request, &Spool::in_temporary_directory(), &Silent)
}

#[test]
fn an_adoption_stopped_anywhere_leaves_nothing_half_and_converges() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    for has_verity in [true, false] {
        let before = MemoryDisk::new(has_verity);
        let disk = before.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        let whole = adopt(io, &sysroot).unwrap();
        let (calls, after) = (calls.get(), disk.files());
        // Files are read on all cores: not every run has its operations in the same order.
        let killed = (0..=calls.changes).map(|at| Trouble::KilledAtChange { at });
        let errno = Errno::NOSPC;
        let failing = (0..=calls.all).step_by(3);
        let failing = failing.map(|at| Trouble::FailsOnce { at, errno });
        for trouble in killed.chain(failing) {
            let disk = before.copy();
            let result = adopt(disk.process(trouble), &sysroot).map(|adopted| adopted.pack);
            for order in WriteBack::orders(2) {
                let when = format!("{trouble:?}, {order:?}: {result:?}");
                let found = disk.crash(order);
                if let Ok(store) = Store::open_on(found.process(Trouble::None)) {
                    let report = check::check(&store, Depth::Full, &Silent).expect(&when);
                    let mut findings = report.findings.iter();
                    let damage = findings.find(|f| f.code.severity() != Severity::Leftover);
                    assert!(damage.is_none(), "{when}: {damage:?}");
                    if result.is_ok() {
                        store.open_pack(&whole.pack.digest).expect(&when);
                    }
                } else {
                    assert!(result.is_err(), "{when}: the store is gone");
                }
                adopt(found.process(Trouble::None), &sysroot).expect(&when);
                assert!(files_of(&found) == after, "{when}: it does not converge");
            }
        }
    }
}

#[test]
fn the_way_back_stopped_anywhere_goes_on_where_it_was() {
    let before = MemoryDisk::new(true);
    let plant = |path: &str| before.plant(&StorePath::new(path).unwrap(), path.as_bytes());
    for path in [
        "repo/config",
        "verity/lock",
        "verity/store.toml",
        "verity/pack/one.pack",
        "verity/deploy/x",
        "verity/deploy/one/deployment.toml",
        "verity/deploy/one/etc/fstab",
    ] {
        plant(path);
    }
    let disk = before.copy();
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    assert_eq!(revert_on(&io, &Silent).unwrap(), 6);
    assert_eq!(revert_on(&io, &Silent).unwrap(), 0);
    let after = disk.files();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["/repo/config"]);
    for at in 0..=calls.get().changes {
        let disk = before.copy();
        let result = revert_on(&disk.process(Trouble::KilledAtChange { at }), &Silent);
        for order in WriteBack::orders(12) {
            let when = format!("{at}, {order:?}: {result:?}");
            let found = disk.crash(order);
            assert!(found.files().contains_key("/repo/config"), "{when}");
            // The store is whole, or no store any more.
            let files = found.files();
            let store = files
                .keys()
                .filter(|path| path.starts_with("/verity/"))
                .count();
            assert!(store == 6 || store == 0, "{when}: {store} files");
            revert_on(&found.process(Trouble::None), &Silent).expect(&when);
            assert!(found.files() == after, "{when}: it does not converge");
            assert!(
                found.crash(WriteBack::Nothing).files() == after,
                "{when}: not durable"
            );
        }
    }
}
