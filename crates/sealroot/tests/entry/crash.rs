// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever fails, and wherever the power goes: what boots is the old or the new, whole, and doing
//! it again ends in the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use sealroot::entry::{Boot, Entry, EntryError, NewEntry, OurEntry};
use sealroot::monitor::Silent;
use sealroot::store::StorePath;
use sealroot_testkit::memory_io::{Calls, MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::support::{Wanted, all, boot, bootable, deployment, look};

/// Arbitrary write-back orders per crash. Even ones keep a prefix of the changes of names, as a
/// journal does; odd ones any subset, as FAT does.
const ARBITRARY_ORDERS: u64 = 16;

const REPAIR_IMAGE: [u8; 9000] = [b'M'; 9000];
const OLDER_REPAIR_IMAGE: &[u8] = b"MZ, an older one";

type Change = fn(&Boot<MemoryIo>) -> Result<(), EntryError>;

struct Scenario {
    name: &'static str,
    before: MemoryDisk,
    change: Change,
    after: BTreeMap<String, Vec<u8>>,
    calls: Calls,
    /// What may boot.
    old: String,
    new: String,
}

fn of_number(ours: &OurEntry, number: u8) -> bool {
    ours.text.deployment == deployment(number)
}

fn add(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    Wanted::of(3).add(boot, &all).map(drop)
}

fn add_and_retire(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    Wanted::of(3)
        .add(boot, &|ours| of_number(ours, 2))
        .map(drop)
}

fn add_counted(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let mut wanted = Wanted::of(3);
    wanted.tries = Some(3);
    wanted.add(boot, &|ours| of_number(ours, 2)).map(drop)
}

fn add_image(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let mut wanted = Wanted::of(3);
    wanted.tries = Some(3);
    wanted.add_image(boot, &|ours| of_number(ours, 2)).map(drop)
}

fn add_large(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let mut wanted = Wanted::of(3);
    wanted.kernel.1 = vec![3; 20 * 4096];
    wanted.add(boot, &|ours| of_number(ours, 2)).map(drop)
}

fn change_arguments(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let mut wanted = Wanted::of(2);
    wanted.arguments = "quiet debug";
    wanted.add(boot, &all).map(drop)
}

fn roll_back(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let entries = boot.entries()?;
    let Some(entry) = entries.of(&deployment(1)).and_then(|entry| entry.ours()) else {
        panic!("the old entry is gone");
    };
    boot.add(&NewEntry::again(entry), &all, &Silent).map(drop)
}

fn bless(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let entries = boot.entries()?;
    let newest = entries
        .of(&deployment(3))
        .and_then(|entry| entry.ours())
        .expect("it is there");
    boot.bless(&newest.id, &Silent).map(drop)
}

fn remove_newest(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let entries = boot.entries()?;
    match entries.of(&deployment(2)) {
        Some(entry) => boot.remove(&[&entry.file_name], &Silent).map(drop),
        None => boot.clear(&Silent).map(drop),
    }
}

/// An image for repairs in the place of an older one: nothing that boots a release changes.
fn put_repair_image(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    boot.put_repair_image(&REPAIR_IMAGE).map(drop)
}

/// What is left of the time before, besides: somebody's entry with a kernel that is there, and OSTree's
/// kernels.
fn time_before(disk: &MemoryDisk) {
    let entries = look(disk).entries().expect("entries");
    let newest = entries.of(&deployment(1)).expect("it is there");
    let path = format!("/loader/entries/{}", newest.file_name);
    let text = disk.files().remove(&path).expect("its file");
    let plant = |path: &str, bytes: &[u8]| {
        disk.plant(&StorePath::new(path).expect("a path"), bytes);
    };
    plant("loader/entries/other.conf", &text);
    plant("ostree/notes", b"somebody's");
    for name in ["vmlinuz", "initramfs"] {
        plant(
            &format!("ostree/os-{}/{name}", "ab".repeat(32)),
            b"ostree's",
        );
    }
}

fn clear_out(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let entries = boot.entries()?;
    let kept = |entry: &&Entry| entry.deployment() != Some(deployment(2));
    let names = entries.in_boot_order().iter().filter(kept);
    let names: BTreeSet<_> = names.map(|entry| entry.file_name.clone()).collect();
    boot.clear_out(&names, &Silent).map(drop)
}

impl Scenario {
    fn new(name: &'static str, before: MemoryDisk, change: Change) -> Self {
        let disk = before.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        change(&boot(io)).expect("nothing goes wrong");
        let default = |disk: &MemoryDisk| match bootable(&disk.files()).into_iter().next() {
            Some((_, deployment)) => deployment,
            None => String::new(),
        };
        Self {
            name,
            change,
            after: disk.files(),
            calls: calls.get(),
            old: default(&before),
            new: default(&disk),
            before,
        }
    }

    fn all() -> Vec<Self> {
        let two = |disk: MemoryDisk| {
            for number in [1, 2] {
                Wanted::of(number).add(&look(&disk), &all).expect("added");
            }
            disk.crash(WriteBack::Nothing)
        };
        let large = MemoryDisk::with_capacity(66 * 4096);
        let counted = two(MemoryDisk::new(false));
        add_counted(&look(&counted)).expect("added");
        let image = two(MemoryDisk::new(false));
        add_image(&look(&image)).expect("added");
        let shown = two(MemoryDisk::new(false));
        let with_older = two(MemoryDisk::new(false));
        let older = look(&with_older).put_repair_image(OLDER_REPAIR_IMAGE);
        older.expect("there is room");
        let before = two(MemoryDisk::new(false));
        time_before(&before);
        let before = before.crash(WriteBack::Everything);
        vec![
            Self::new("first", MemoryDisk::new(false), add),
            Self::new("add", two(MemoryDisk::new(false)), add),
            Self::new(
                "add and retire",
                two(MemoryDisk::new(false)),
                add_and_retire,
            ),
            Self::new("add counted", two(MemoryDisk::new(false)), add_counted),
            Self::new("add an image", two(MemoryDisk::new(false)), add_image),
            Self::new("bless an image", image, bless),
            Self::new("space is short", two(large), add_large),
            Self::new("arguments", two(MemoryDisk::new(false)), change_arguments),
            Self::new("roll back", two(MemoryDisk::new(false)), roll_back),
            Self::new("bless", counted, bless),
            Self::new("remove", shown, remove_newest),
            Self::new("clear out", before, clear_out),
            Self::new("a repair image", with_older, put_repair_image),
        ]
    }

    /// What must hold whenever somebody looks: [`bootable`] itself fails where an entry is shown
    /// that is not whole.
    fn judge(&self, disk: &MemoryDisk, when: &str) {
        match bootable(&disk.files()).into_iter().next() {
            Some((_, found)) => {
                assert!(
                    [&self.old, &self.new].contains(&&found),
                    "{when}: {found} boots"
                );
            }
            None => assert!(self.old.is_empty(), "{when}: nothing boots"),
        }
        // Without its first byte it is no program.
        if let Some(image) = disk.files().get("/EFI/Linux/sealroot-repair.efi")
            && image.first() == Some(&b'M')
        {
            let is_whole = [OLDER_REPAIR_IMAGE, &REPAIR_IMAGE].contains(&&**image);
            assert!(is_whole, "{when}: {} bytes", image.len());
        }
    }

    /// The change once more, without trouble.
    fn converge(&self, disk: &MemoryDisk, when: &str) {
        let was = disk
            .files()
            .into_iter()
            .map(|(name, content)| (name, content.len()));
        let was: Vec<_> = was.collect();
        (self.change)(&look(disk))
            .unwrap_or_else(|error| panic!("{when}, again: {error}; there was {was:#?}"));
        let files = disk.files();
        // Generations may be used up by what never booted; all else is the same.
        let without_generation = |files: &BTreeMap<String, Vec<u8>>| -> Vec<_> {
            let mut files: Vec<_> = (files.iter())
                .map(
                    |(path, content)| match path.strip_prefix("/loader/entries/sealroot-") {
                        Some(rest) => {
                            let text = String::from_utf8_lossy(content).into_owned();
                            let lines = text.lines().filter(|line| !line.starts_with("version"));
                            (
                                rest[8..].to_owned(),
                                lines.collect::<Vec<_>>().join("\n").into_bytes(),
                            )
                        }
                        None => (path.clone(), content.clone()),
                    },
                )
                .collect();
            files.sort();
            files
        };
        assert_eq!(
            without_generation(&files),
            without_generation(&self.after),
            "{when}, again"
        );
    }
}

// Rules: C1
#[test]
fn a_power_cut_at_any_moment_leaves_the_old_or_the_new() {
    let mut crashes = 0_u64;
    for scenario in Scenario::all() {
        for at in 0..=scenario.calls.changes {
            let disk = scenario.before.copy();
            let result = (scenario.change)(&boot(disk.process(Trouble::KilledAtChange { at })));
            assert!(
                result.is_err() || at == scenario.calls.changes,
                "{}: {at}",
                scenario.name
            );
            let when = format!("{}, killed at {at}", scenario.name);
            scenario.judge(&disk, &when);
            scenario.converge(&disk.copy(), &when);
            for order in WriteBack::orders(ARBITRARY_ORDERS) {
                let when = format!("{}, power cut at {at}, {order:?}", scenario.name);
                let crashed = disk.crash(order);
                scenario.judge(&crashed, &when);
                scenario.converge(&crashed, &when);
                crashes += 1;
            }
        }
    }
    assert!(crashes > 4000, "{crashes} crashes");
}

#[test]
fn whatever_operation_fails_the_old_or_the_new_boots() {
    for scenario in Scenario::all() {
        for at in 0..scenario.calls.all {
            for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS] {
                for trouble in [
                    Trouble::FailsOnce { at, errno },
                    Trouble::FailsFrom { at, errno },
                ] {
                    let when = format!("{}, {trouble:?}", scenario.name);
                    let disk = scenario.before.copy();
                    let result = (scenario.change)(&boot(disk.process(trouble)));
                    let is_whole = result.is_ok()
                        && bootable(&disk.files()).first().map(|e| &e.1) == Some(&scenario.new);
                    assert!(result.is_err() || is_whole, "{when}");
                    scenario.judge(&disk, &when);
                    scenario.converge(&disk.crash(WriteBack::Nothing), &when);
                    scenario.converge(&disk, &when);
                }
            }
        }
    }
}

#[test]
fn an_interruption_is_tried_again() {
    for scenario in Scenario::all() {
        for at in 0..scenario.calls.all {
            let disk = scenario.before.copy();
            let errno = Errno::INTR;
            let io = disk.process(Trouble::FailsOnce { at, errno });
            (scenario.change)(&boot(io))
                .unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
            assert_eq!(disk.files(), scenario.after, "{}", scenario.name);
        }
    }
}

// Rules: C6
#[test]
fn clearing_out_takes_what_was_named_and_the_kernels_that_nothing_names() {
    let disk = MemoryDisk::new(false);
    for number in [1, 2] {
        Wanted::of(number).add(&look(&disk), &all).expect("added");
    }
    time_before(&disk);
    let plant = |path: &str, text: &[u8]| {
        disk.plant(&StorePath::new(path).expect("a path"), text);
    };
    // Another of OSTree's kernels, which a file beside the entries names.
    let used = format!("ostree/os-{}", "cd".repeat(32));
    plant(&format!("{used}/vmlinuz"), b"used");
    let named = format!("linux /{used}/vmlinuz\n");
    plant("loader/entries/ostree-1.conf", named.as_bytes());
    let before = disk.files();
    let gone: BTreeSet<_> = ["other.conf", "none.conf"].map(str::to_owned).into();
    let removed = look(&disk).clear_out(&gone, &Silent).expect("cleared");
    assert_eq!(removed.entries, ["other.conf"]);
    let unused = format!("ostree/os-{}", "ab".repeat(32));
    assert_eq!(removed.directories, [&*unused]);
    assert!(removed.kernels.is_empty(), "an entry names them");
    let is_gone = |path: &str| {
        path == "/loader/entries/other.conf" || path.starts_with(&format!("/{unused}/"))
    };
    let mut expected = before;
    expected.retain(|path, _| !is_gone(path));
    assert_eq!(disk.files(), expected);

    plant("loader/entries/large.conf", &vec![b'x'; 1 << 21]);
    let everything: BTreeSet<_> = ["ostree-1.conf".to_owned()].into();
    let error = look(&disk).clear_out(&everything, &Silent);
    assert!(
        matches!(error, Err(EntryError::Unreadable { .. })),
        "{error:?}"
    );
    assert!(disk.files().contains_key("/loader/entries/ostree-1.conf"));
}

// Rules: C2
#[test]
fn nothing_is_renamed_and_one_byte_is_overwritten() {
    for scenario in Scenario::all() {
        for operation in ["rename", "link", "create_unnamed"] {
            assert_eq!(
                scenario.calls.of(operation),
                0,
                "{}: {operation}",
                scenario.name
            );
        }
        // One entry each, but for a removal.
        let expected = usize::from(!["remove", "clear out"].contains(&scenario.name));
        assert_eq!(
            scenario.calls.of("overwrite"),
            expected,
            "{}",
            scenario.name
        );
    }
}

// Rules: C3
#[test]
fn everything_is_settled_before_the_byte_and_before_a_removal() {
    for scenario in Scenario::all() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let disk = scenario.before.copy();
        let io = {
            let log = Arc::clone(&log);
            disk.process_watched(move |operation, _| log.lock().expect("alive").push(operation))
        };
        (scenario.change)(&boot(io)).expect("nothing goes wrong");
        let log = log.lock().expect("alive");
        let writes = ["create", "write", "create_directory", "overwrite"];
        for (at, operation) in log.iter().enumerate() {
            let before = log.iter().take(at).rev();
            let mut before = before
                .skip_while(|earlier| !writes.contains(earlier) && **earlier != "sync_filesystem");
            if matches!(*operation, "overwrite") {
                assert_eq!(
                    before.next(),
                    Some(&"sync_filesystem"),
                    "{}: {log:?}",
                    scenario.name
                );
            } else if *operation == "remove_directory" || *operation == "remove_file" {
                let last = before.next();
                assert!(
                    last.is_none_or(|last| *last == "sync_filesystem"),
                    "{}: {log:?}",
                    scenario.name
                );
            }
        }
    }
}
