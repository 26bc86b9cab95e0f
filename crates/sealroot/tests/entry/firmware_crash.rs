// SPDX-License-Identifier: MIT OR Apache-2.0
//! Without a boot loader: whatever fails, and wherever the power goes, firmware starts the old or the
//! new, whole, and doing it again ends in the same.

use std::collections::BTreeMap;

use rustix::io::Errno;
use sealroot::entry::{Boot, Entry, EntryError, NewEntry, OurEntry};
use sealroot::monitor::Silent;
use sealroot_testkit::boot_manager::stranger;
use sealroot_testkit::memory_io::{Calls, MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::support::{
    all, deployment, image, look_without_loader as look, name, starts_of, without_loader,
};

/// Arbitrary write-back orders per crash.
const ARBITRARY_ORDERS: u64 = 6;

/// Numbers of load options of somebody else's, in their order.
const STRANGERS: [u16; 3] = [7, 1, 0x2001];

/// One more in that order, which names nothing.
const NAMES_NOTHING: u16 = 0x3000;

type Change = fn(&Boot<MemoryIo>) -> Result<(), EntryError>;

struct Scenario {
    name: &'static str,
    before: MemoryDisk,
    change: Change,
    after: MemoryDisk,
    calls: Calls,
}

fn keep_second(ours: &OurEntry) -> bool {
    ours.text.deployment == deployment(2)
}

fn try_third(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    image(3, Some(1)).add_image(boot, &all).map(drop)
}

fn try_third_and_retire(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    image(3, Some(1)).add_image(boot, &keep_second).map(drop)
}

fn take_third(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    image(3, None).add_image(boot, &keep_second).map(drop)
}

fn try_large(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let mut wanted = image(3, Some(1));
    wanted.kernel.0.resize(20 * 4096, 3);
    wanted.add_image(boot, &keep_second).map(drop)
}

fn ours_of(boot: &Boot<MemoryIo>, number: u8) -> Result<OurEntry, EntryError> {
    let entries = boot.entries()?;
    let entry = entries.of(&deployment(number)).and_then(Entry::ours);
    Ok(entry.expect("it is there").clone())
}

fn roll_back(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    boot.add(&NewEntry::again(&ours_of(boot, 1)?), &all, &Silent)
        .map(drop)
}

fn give_up_trial(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    boot.add(&NewEntry::again(&ours_of(boot, 2)?), &all, &Silent)
        .map(drop)
}

fn bless_third(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    boot.bless(&ours_of(boot, 3)?.id, &Silent).map(drop)
}

fn bless_second(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    boot.bless(&ours_of(boot, 2)?.id, &Silent).map(drop)
}

fn remove_second(boot: &Boot<MemoryIo>) -> Result<(), EntryError> {
    let entries = boot.entries()?;
    match entries.of(&deployment(2)) {
        Some(entry) => boot.remove(&[&entry.file_name], &Silent).map(drop),
        None => boot.clear(&Silent).map(drop),
    }
}

/// A machine with other systems, before ours.
fn with_strangers(disk: MemoryDisk) -> MemoryDisk {
    for number in STRANGERS {
        disk.plant_variable(&format!("Boot{number:04X}"), &stranger("other"));
    }
    let order = STRANGERS
        .into_iter()
        .chain([NAMES_NOTHING])
        .flat_map(u16::to_le_bytes);
    disk.plant_variable("BootOrder", &order.collect::<Vec<_>>());
    disk
}

/// A machine on which the second of two was found good.
fn two(disk: MemoryDisk) -> MemoryDisk {
    let disk = with_strangers(disk);
    for number in [1, 2] {
        let boot = look(&disk);
        image(number, Some(1))
            .add_image(&boot, &all)
            .expect("added");
        boot.bless(&ours_of(&boot, number).expect("there").id, &Silent)
            .expect("blessed");
    }
    disk.plant_variable("BootNext", &[1, 0]);
    let disk = disk.crash(WriteBack::Nothing);
    assert_eq!(starts_of(&disk), ("Boot0001".into(), name(2)));
    // What was to be started once has been.
    disk.lose_next();
    disk
}

/// The same while the third is to be tried, or runs as such.
fn third_tried(is_running: bool) -> MemoryDisk {
    let disk = two(MemoryDisk::new(false));
    try_third(&look(&disk)).expect("added");
    if is_running {
        disk.lose_next();
    }
    disk.crash(WriteBack::Nothing)
}

impl Scenario {
    fn new(name: &'static str, before: MemoryDisk, change: Change) -> Self {
        let after = before.copy();
        let io = after.process(Trouble::None);
        let calls = io.calls();
        change(&without_loader(io)).expect("nothing goes wrong");
        Self {
            name,
            before,
            change,
            after,
            calls: calls.get(),
        }
    }

    fn all() -> Vec<Self> {
        let plain = || two(MemoryDisk::new(false));
        let small = || two(MemoryDisk::with_capacity(62 * 4096));
        let lost = plain();
        lost.lose_variables();
        let given = plain();
        let number = look(&given)
            .entries()
            .expect("entries")
            .default_entry()
            .and_then(|entry| entry.option);
        let number = number.expect("a load option").number;
        let variable = format!("Boot{number:04X}");
        let with_data = [&given.variables()[&variable][..], b"i\0n\0i\0t\0"].concat();
        given.plant_variable(&variable, &with_data);
        vec![
            Self::new("first", with_strangers(MemoryDisk::new(false)), try_third),
            Self::new("first of all", MemoryDisk::new(false), try_third),
            Self::new("try", plain(), try_third),
            Self::new("try and retire", plain(), try_third_and_retire),
            Self::new("take", plain(), take_third),
            Self::new("space is short", small(), try_large),
            Self::new("bless", third_tried(true), bless_third),
            Self::new("bless what is to be tried", third_tried(false), bless_third),
            Self::new("roll back", plain(), roll_back),
            Self::new("give up a trial", third_tried(false), give_up_trial),
            Self::new("remove", plain(), remove_second),
            Self::new("variables were lost", lost, bless_second),
            Self::new("a command line was slipped in", given, bless_second),
        ]
    }

    /// What must hold whenever somebody looks.
    fn judge(&self, disk: &MemoryDisk, when: &str) {
        let [old, found, new] = [&self.before, disk, &self.after].map(starts);
        assert!(
            [&old.0, &new.0].contains(&&found.0),
            "{when}: {} starts",
            found.0
        );
        assert!(
            [&old.1, &new.1].contains(&&found.1),
            "{when}: then {} starts",
            found.1
        );
        let [before, now] = [&self.before, disk].map(MemoryDisk::variables);
        let theirs = |variables: &BTreeMap<String, Vec<u8>>| -> Vec<_> {
            let names = STRANGERS.map(|number| format!("Boot{number:04X}"));
            let order = variables.get("BootOrder").cloned().unwrap_or_default();
            let order: Vec<u16> = order
                .chunks(2)
                .map(|two| u16::from_le_bytes([two[0], two[1]]))
                .collect();
            let mut order = order;
            order.retain(|number| STRANGERS.contains(number) || *number == NAMES_NOTHING);
            vec![(names.map(|name| variables.get(&name).cloned()), order)]
        };
        assert_eq!(theirs(&now), theirs(&before), "{when}: others' options");
        look(disk)
            .entries()
            .unwrap_or_else(|error| panic!("{when}: {error}"));
    }

    /// The change once more, without trouble.
    fn converge(&self, disk: &MemoryDisk, when: &str) {
        (self.change)(&look(disk)).unwrap_or_else(|error| panic!("{when}, again: {error}"));
        assert_eq!(state(disk), state(&self.after), "{when}, again");
    }
}

/// [`starts_of`], of which a command line that was slipped in before is no part.
fn starts(disk: &MemoryDisk) -> (String, String) {
    let disk = disk.copy();
    for (name, content) in disk.variables() {
        if let Some(option) = content.strip_suffix(b"i\0n\0i\0t\0") {
            disk.plant_variable(&name, option);
        }
    }
    starts_of(&disk)
}

/// All that there is, but for generations, which may be used up, and numbers of load options.
fn state(disk: &MemoryDisk) -> impl PartialEq + std::fmt::Debug {
    let files = disk.files().into_iter().map(|(path, content)| {
        let Some(rest) = path.strip_prefix("/loader/entries/sealroot-") else {
            return (path, content.len(), String::new());
        };
        let text = String::from_utf8_lossy(&content).into_owned();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("version"))
            .collect();
        (rest[8..].to_owned(), 0, lines.join("\n"))
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    let entries = look(disk).entries().expect("entries");
    let options = entries.options().expect("there are").clone();
    let path = |number: &u16| {
        let ours = options.ours.iter().find(|option| option.number == *number);
        ours.map_or_else(|| format!("{number}"), |option| option.path.clone())
    };
    let order: Vec<_> = options.order.iter().map(path).collect();
    let mut ours: Vec<_> = options
        .ours
        .iter()
        .map(|option| (option.path.clone(), option.has_data))
        .collect();
    ours.sort();
    (
        files,
        order,
        options.next.as_ref().map(path),
        ours,
        starts_of(disk),
    )
}

// Rules: F3, F4
#[test]
fn a_power_cut_at_any_moment_leaves_what_starts_the_old_or_the_new() {
    let mut crashes = 0_u64;
    for scenario in Scenario::all() {
        for at in 0..=scenario.calls.changes {
            let disk = scenario.before.copy();
            let io = disk.process(Trouble::KilledAtChange { at });
            let result = (scenario.change)(&without_loader(io));
            let is_done = at == scenario.calls.changes;
            assert!(result.is_err() || is_done, "{}: {at}", scenario.name);
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
    assert!(crashes > 3000, "{crashes} crashes");
}

#[test]
fn whatever_operation_fails_the_old_or_the_new_starts() {
    for scenario in Scenario::all() {
        for at in 0..scenario.calls.all {
            for errno in [Errno::IO, Errno::NOSPC] {
                for trouble in [
                    Trouble::FailsOnce { at, errno },
                    Trouble::FailsFrom { at, errno },
                ] {
                    let when = format!("{}, {trouble:?}", scenario.name);
                    let disk = scenario.before.copy();
                    let result = (scenario.change)(&without_loader(disk.process(trouble)));
                    let is_new = starts(&disk) == starts(&scenario.after);
                    assert!(result.is_err() || is_new, "{when}");
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
            let result = (scenario.change)(&without_loader(io));
            result.unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
            assert_eq!(disk.files(), scenario.after.files(), "{}", scenario.name);
            assert_eq!(
                disk.variables(),
                scenario.after.variables(),
                "{}",
                scenario.name
            );
        }
    }
}
