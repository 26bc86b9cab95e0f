// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever fails, and wherever the power goes while a file is kept: what was kept before is, or
//! the new one whole, and doing it again ends in the same.

use rustix::io::Errno;
use sealroot::etc::{self, EtcError};
use sealroot_format::kept::KeptFile;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble, WriteBack};

const OLD: &[u8] = b"old.example\n";
const NEW: &[u8] = b"new.example.org\n";

fn hostname() -> &'static KeptFile {
    KeptFile::find("/etc/hostname").expect("a file of the list")
}

fn kept(disk: &MemoryDisk) -> Option<Vec<u8>> {
    etc::read_kept(&disk.process(Trouble::None), hostname()).expect("readable")
}

fn keep(disk: &MemoryDisk, trouble: Trouble, bytes: &[u8]) -> Result<(), EtcError> {
    etc::keep(&disk.process(trouble), hostname(), bytes)
}

/// Without anything, and with a file that is kept already; both durable.
fn befores() -> [(MemoryDisk, Option<&'static [u8]>); 2] {
    let kept = MemoryDisk::new(false);
    keep(&kept, Trouble::None, OLD).expect("nothing goes wrong");
    [
        (MemoryDisk::new(false), None),
        (kept.crash(WriteBack::Nothing), Some(OLD)),
    ]
}

#[test]
fn after_a_power_cut_a_file_is_the_old_or_the_new_one() {
    for (before, old) in befores() {
        let disk = before.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        etc::keep(&io, hostname(), NEW).expect("nothing goes wrong");
        assert_eq!(kept(&disk.crash(WriteBack::Nothing)).as_deref(), Some(NEW));
        for at in 0..calls.get().changes {
            let disk = before.copy();
            keep(&disk, Trouble::KilledAtChange { at }, NEW).expect_err("killed");
            for order in WriteBack::orders(6) {
                let crashed = disk.crash(order);
                let found = kept(&crashed);
                let found = found.as_deref();
                assert!(
                    found == old || found == Some(NEW),
                    "{at} {order:?}: {found:?}"
                );
                keep(&crashed, Trouble::None, NEW).expect("again");
                let durable = crashed.crash(WriteBack::Nothing);
                assert_eq!(kept(&durable).as_deref(), Some(NEW), "{at} {order:?}");
            }
        }
    }
}

#[test]
fn a_failure_leaves_the_old_file_or_the_new_one() {
    for (before, old) in befores() {
        let io = before.copy().process(Trouble::None);
        let calls = io.calls();
        etc::keep(&io, hostname(), NEW).expect("nothing goes wrong");
        for at in 0..calls.get().all {
            let disk = before.copy();
            let trouble = Trouble::FailsOnce {
                at,
                errno: Errno::NOSPC,
            };
            let result = keep(&disk, trouble, NEW);
            let found = kept(&disk);
            let found = found.as_deref();
            assert!(
                found == Some(NEW) || (found == old && result.is_err()),
                "{at}: {found:?}"
            );
            keep(&disk, Trouble::None, NEW).expect("again");
            assert_eq!(kept(&disk).as_deref(), Some(NEW));
        }
    }
}

#[test]
fn what_is_forgotten_is_not_there_and_can_be_kept_again() {
    let [_, (disk, _)] = befores();
    let forget = || etc::forget(&disk.process(Trouble::None), hostname()).expect("forgotten");
    assert!(forget());
    assert!(!forget());
    assert_eq!(kept(&disk.crash(WriteBack::Nothing)), None);
    keep(&disk, Trouble::None, NEW).expect("again");
}

#[test]
fn what_is_not_of_its_type_is_not_kept() {
    let disk = MemoryDisk::new(false);
    let error = keep(&disk, Trouble::None, b"../x\n").expect_err("no host name");
    assert!(matches!(error, EtcError::Kept(_)), "{error}");
    assert!(disk.files().is_empty());
}
