// SPDX-License-Identifier: MIT OR Apache-2.0
//! Without a boot loader: what stands in the firmware's variables, and what firmware makes of it.

use sealroot::entry::{Entry, EntryError, Fallback, FallbackState, Loader, NewEntry, Owner, Tries};
use sealroot::monitor::Silent;
use sealroot::store::StorePath;
use sealroot_testkit::boot_files::image_digest;
use sealroot_testkit::boot_manager::{FALLBACK, stranger};
use sealroot_testkit::memory_io::MemoryDisk;

use crate::support::{
    Wanted, all, deployment, image, look_without_loader as look, name, starts_of,
};

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

/// Deploys and blesses, one after another.
fn good(disk: &MemoryDisk, wanted: &[u8]) {
    for number in wanted {
        image(*number, Some(1))
            .add_image(&look(disk), &all)
            .expect("added");
        bless(disk, *number);
    }
}

fn bless(disk: &MemoryDisk, number: u8) {
    let boot = look(disk);
    let entries = boot.entries().expect("entries");
    let ours = entries
        .of(&deployment(number))
        .and_then(Entry::ours)
        .expect("it is there");
    boot.bless(&ours.id, &Silent).expect("blessed");
}

fn plant(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
    disk.plant(&StorePath::new(path).expect("a path"), bytes);
}

// Rules: F1
#[test]
fn a_load_option_names_the_image_by_its_content_and_gives_nothing_to_it() {
    let disk = MemoryDisk::new(false);
    let wanted = image(1, None);
    wanted.add_image(&look(&disk), &all).expect("added");
    let variables = disk.variables();
    let path = format!("\\sealroot\\{}\\uki.efi\0", image_digest(&wanted.kernel.0));
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let expected = [
        // Attributes, and the length of the device path.
        &[1, 0, 0, 0, 0xd8, 0][..],
        &utf16("Test OS 1\0"),
        // The partition: its number, first block, length and GUID in a GPT.
        &[
            4, 1, 42, 0, 1, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0xf8, 1, 0, 0, 0, 0, 0,
        ],
        b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10\x02\x02",
        &[4, 4, 170, 0],
        &utf16(&path),
        &[0x7f, 0xff, 4, 0],
    ];
    assert_eq!(
        variables["Boot0000"].escape_ascii().to_string(),
        expected.concat().escape_ascii().to_string()
    );
    assert_eq!(variables["BootOrder"], [0, 0]);
    assert_eq!(variables.len(), 2);
}

// Rules: F2
#[test]
fn images_alone_and_one_try_are_what_firmware_knows() {
    let disk = MemoryDisk::new(false);
    let error = Wanted::of(1).add(&look(&disk), &all).expect_err("a kernel");
    assert!(matches!(error, EntryError::NoKernels), "{error}");
    let error = image(1, Some(3))
        .add_image(&look(&disk), &all)
        .expect_err("three tries");
    assert!(matches!(error, EntryError::OneTry { found: 3 }), "{error}");
    assert!(
        disk.files().is_empty() && disk.variables().is_empty(),
        "something was written"
    );
    assert_eq!(Loader::Firmware.usual_tries(), Some(1));
    assert_eq!(Loader::SystemdBoot.usual_tries(), None);
}

// Rules: F3
#[test]
fn a_new_image_is_tried_once_and_stays_if_it_was_good() {
    let disk = MemoryDisk::new(false);
    good(&disk, &[1]);
    let added = image(2, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    assert!(added.is_counted && added.boots_instead.is_none());
    // Not blessed: the next start is the old one again.
    assert_eq!(starts_of(&disk), (name(2), name(1)));
    disk.lose_next();
    let entries = look(&disk).entries().expect("entries");
    let tries = entries.of(&deployment(2)).expect("there").tries;
    assert_eq!(tries, Some(Tries { left: 0, done: 1 }));
    assert_eq!(
        entries.default_entry().and_then(Entry::deployment),
        Some(deployment(1))
    );
    // The same once more is another try.
    let again = image(2, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    assert!(!again.is_reused);
    assert_eq!(starts_of(&disk), (name(2), name(1)));
    disk.lose_next();
    bless(&disk, 2);
    assert_eq!(starts_of(&disk), (name(2), name(2)));
    // Going back needs no try: that image was good.
    let boot = look(&disk);
    let entries = boot.entries().expect("entries");
    let back = entries
        .rollback_entry()
        .and_then(Entry::ours)
        .expect("a way back");
    let added = boot
        .add(&NewEntry::again(back), &all, &Silent)
        .expect("added");
    assert!(!added.is_counted);
    assert_eq!(starts_of(&disk), (name(1), name(1)));
    let again = image(2, Some(1)).add_image(&boot, &all).expect("added");
    assert!(!again.is_counted, "it was found good before");
    assert_eq!(starts_of(&disk), (name(2), name(2)));
}

// Rules: F3
#[test]
fn blessing_leaves_what_is_to_be_tried_next() {
    let disk = MemoryDisk::new(false);
    good(&disk, &[1]);
    image(2, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    disk.lose_next();
    image(3, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    bless(&disk, 2);
    assert_eq!(starts_of(&disk), (name(3), name(2)));
}

// Rules: F5, O6
#[test]
fn what_is_others_stays_and_its_order_too() {
    let disk = MemoryDisk::new(false);
    for (number, title) in [(0, "PXE"), (2, "Other OS"), (3, "asleep")] {
        disk.plant_variable(&format!("Boot{number:04X}"), &stranger(title));
    }
    disk.plant_variable("Boot0004", b"nothing that can be read");
    let mut inactive = stranger("asleep");
    inactive[0] = 0;
    disk.plant_variable("Boot0003", &inactive);
    // 1 names nothing: whatever gets this number would be started at once.
    disk.plant_variable("BootOrder", &numbers(&[3, 2, 1, 4, 0]));
    let before = disk.variables();
    image(1, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    assert_eq!(disk.variables()["BootOrder"], before["BootOrder"]);
    assert_eq!(disk.variables()["BootNext"], [5, 0]);
    let entries = look(&disk).entries().expect("entries");
    let shown: Vec<_> = entries
        .in_boot_order()
        .iter()
        .map(|entry| &*entry.file_name)
        .collect();
    assert_eq!(shown[1..], ["Boot0002", "Boot0000"]);
    assert_eq!(entries.in_boot_order()[1].owner, Owner::Firmware);
    bless(&disk, 1);
    assert_eq!(disk.variables()["BootOrder"], numbers(&[5, 3, 2, 1, 4, 0]));
    // Somebody puts another system first: that is said, and not changed by a look.
    disk.plant_variable("BootOrder", &numbers(&[2, 5, 0]));
    let entries = look(&disk).entries().expect("entries");
    assert_eq!(
        entries.default_entry().map(|entry| &*entry.file_name),
        Some("Boot0002")
    );
    let file = entries.of(&deployment(1)).expect("there").file_name.clone();
    look(&disk).remove(&[&file], &Silent).expect("removed");
    assert_eq!(disk.variables()["BootOrder"], numbers(&[2, 0]));
    for (variable, content) in before {
        if variable != "BootOrder" {
            assert_eq!(
                disk.variables().get(&variable),
                Some(&content),
                "{variable}"
            );
        }
    }
}

// Rules: F5
#[test]
fn an_order_that_is_damaged_is_not_written_anew() {
    let disk = MemoryDisk::new(false);
    disk.plant_variable("BootOrder", &[1, 0, 2]);
    let error = image(1, Some(1))
        .add_image(&look(&disk), &all)
        .expect_err("damaged");
    assert!(
        error.to_string().contains("BootOrder is damaged"),
        "{error}"
    );
    assert_eq!(disk.variables()["BootOrder"], [1, 0, 2]);
}

// Rules: F6
#[test]
fn the_fallback_follows_what_was_good_and_is_nobody_elses() {
    let disk = MemoryDisk::new(false);
    let content = |number: u8| image(number, None).kernel.0;
    let state = || {
        let boot = look(&disk);
        let found = boot
            .fallback(&boot.entries().expect("entries"))
            .expect("read");
        let Fallback { path, state } = found.expect("known on this architecture");
        assert_eq!(format!("/{path}"), FALLBACK);
        state
    };
    assert_eq!(state(), FallbackState::Missing);
    image(1, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    assert_eq!(
        disk.files()[FALLBACK],
        content(1),
        "there is nothing else to start"
    );
    bless(&disk, 1);
    image(2, Some(1))
        .add_image(&look(&disk), &all)
        .expect("added");
    assert_eq!(state(), FallbackState::Copy(image_digest(&content(1))));
    bless(&disk, 2);
    assert_eq!(disk.files()[FALLBACK], content(2));
    // One that a crash has left is no program.
    plant(&disk, &FALLBACK[1..], b"\0Z and no more");
    assert_eq!(state(), FallbackState::Missing);
    good(&disk, &[3]);
    assert_eq!(disk.files()[FALLBACK], content(3));
    plant(&disk, &FALLBACK[1..], b"MZ somebody's");
    assert_eq!(state(), FallbackState::Other);
    good(&disk, &[4]);
    assert_eq!(disk.files()[FALLBACK], b"MZ somebody's");
}

// Rules: F7
#[test]
fn lost_variables_are_written_again_by_a_blessing() {
    let disk = MemoryDisk::new(false);
    good(&disk, &[1, 2]);
    disk.lose_variables();
    assert_eq!(starts_of(&disk), (name(2), name(2)), "by the fallback");
    let entries = look(&disk).entries().expect("entries");
    for number in [1, 2] {
        let entry = entries.of(&deployment(number)).expect("there");
        assert_eq!(
            (entry.option, entry.tries),
            (None, Some(Tries { left: 0, done: 0 }))
        );
    }
    bless(&disk, 2);
    let entries = look(&disk).entries().expect("entries");
    let option = entries
        .of(&deployment(2))
        .and_then(|entry| entry.option)
        .expect("an option");
    assert_eq!(option.position, Some(0));
}

// Rules: F1, F7
#[test]
fn a_load_option_that_somebody_changed_is_not_taken_for_good() {
    let disk = MemoryDisk::new(false);
    good(&disk, &[1]);
    let genuine = disk.variables()["Boot0000"].clone();
    let mut asleep = genuine.clone();
    asleep[0] = 0;
    let with_data = [&genuine[..], b"i\0n\0i\0t\0=\0"].concat();
    for (changed, is_started) in [(asleep, false), (with_data, true)] {
        disk.plant_variable("Boot0000", &changed);
        let entries = look(&disk).entries().expect("entries");
        let option = entries.of(&deployment(1)).expect("there").option;
        assert_eq!(option.is_some(), is_started);
        bless(&disk, 1);
        assert_eq!(disk.variables()["Boot0000"], genuine);
    }
    // Two for one image: the one that is in the order stays.
    disk.plant_variable("Boot0009", &genuine);
    look(&disk).clear(&Silent).expect("cleared");
    assert_eq!(disk.variables().get("Boot0009"), None);
    assert_eq!(disk.variables()["Boot0000"], genuine);
}
