// SPDX-License-Identifier: MIT OR Apache-2.0
//! What boots is there: wherever the power goes while a deployment becomes the default, every entry
//! names a deployment that survives, and there is always one.

use sealroot::deploy::{self, Flag, Request};
use sealroot::entry::{Boot, BootIo as _, Content, KernelArguments, Loader, NewEntry};
use sealroot::machine::{self, BootChoices, MachineError, Runtime, make_default};
use sealroot::monitor::{Silent, Warnings};
use sealroot::store::{Store, StorePath};
use sealroot_format::policy::{DeploymentName, Mode};
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::doctor::only_leftovers;
use crate::store_support::Release;
use crate::support::{Machine, initrd_of, open, release};

fn boot_on(disk: &MemoryDisk, trouble: Trouble) -> Boot<MemoryIo> {
    Boot::new(disk.process(trouble), Loader::SystemdBoot, "")
}

/// What `deploy` does, from the release to the entry.
fn deploy_and_boot(
    store: &Store<MemoryIo>,
    boot: &Boot<MemoryIo>,
    runtime: &Runtime,
    release: &Release,
    tries: Option<u32>,
) -> Result<DeploymentName, MachineError> {
    let transaction = store.begin(&Silent)?;
    let request = Request {
        statement: &release.statement,
        mode: Mode::Integrity,
        origin: None,
        stateroot: None,
        etc: None,
        untouched: std::collections::BTreeSet::new(),
        now: 0,
    };
    let name = deploy::deploy(&transaction, &request, release.object_list())?.name;
    let (linux, initrd) = (vec![3; 100], initrd_of(release));
    let new = NewEntry {
        deployment: name,
        title: "new".into(),
        content: Content::Kernel {
            arguments: "quiet".parse().expect("an argument"),
            linux: &linux,
            initrd: &initrd,
        },
        tries,
    };
    make_default(&transaction, runtime, boot, &new)?;
    transaction.finish()?;
    Ok(name)
}

/// Every entry names a deployment that no power cut takes away, there is one, and all of them boot.
fn judge(store: &MemoryDisk, boot: &MemoryDisk, when: &str) -> BootChoices {
    let choices = BootChoices::of(Some(&boot_on(boot, Trouble::None))).expect("read");
    let store = open(&store.crash(WriteBack::Nothing), Trouble::None);
    only_leftovers(&store, &boot_on(boot, Trouble::None), when);
    assert!(choices.default.is_some(), "{when}: nothing boots");
    for name in choices.named.keys() {
        let record = deploy::read_record(&store, *name);
        record.unwrap_or_else(|error| panic!("{when}: an entry names {name}: {error}"));
    }
    choices
}

#[test]
fn an_entry_appears_only_when_its_deployment_is_durable() {
    let machine = Machine::new(true);
    let boot_before = MemoryDisk::new(false);
    machine.add_entries(&boot_on(&boot_before, Trouble::None), &[0, 1]);
    let new = release(9);
    new.build(&machine.open()).expect("built");
    let runtime = machine.runtime();

    let (store_io, boot) = (
        machine.disk.copy().process(Trouble::None),
        boot_on(&boot_before.copy(), Trouble::None),
    );
    let (store_calls, boot_calls) = (store_io.calls(), boot.io().calls());
    let store = Store::open_on(store_io).expect("a store");
    let name = deploy_and_boot(&store, &boot, &runtime, &new, None).expect("nothing goes wrong");
    let store_changes = store_calls.get().changes;
    let boot_changes = boot_calls.get().changes;
    assert!(store_changes > 5 && boot_changes > 5);

    let mut cuts = 0;
    let troubles = (0..store_changes)
        .map(|at| (Trouble::KilledAtChange { at }, Trouble::None))
        .chain((0..boot_changes).map(|at| (Trouble::None, Trouble::KilledAtChange { at })));
    for (in_store, in_boot) in troubles {
        let (store_disk, boot_disk) = (machine.disk.copy(), boot_before.copy());
        let when = format!("{in_store:?}, {in_boot:?}");
        deploy_and_boot(
            &open(&store_disk, in_store),
            &boot_on(&boot_disk, in_boot),
            &runtime,
            &new,
            None,
        )
        .expect_err("killed");
        for order in WriteBack::orders(8) {
            let found = boot_disk.crash(order);
            judge(&store_disk, &found, &format!("{when}, {order:?}"));
            let again = deploy_and_boot(
                &open(&store_disk.crash(order), Trouble::None),
                &boot_on(&found, Trouble::None),
                &runtime,
                &new,
                None,
            );
            assert_eq!(again.expect("again"), name, "{when}, {order:?}");
            cuts += 1;
        }
    }
    eprintln!("{cuts} power cuts, always something to boot");
    assert!(cuts > 200);
}

#[test]
fn what_runs_and_what_is_pinned_keep_their_entries() {
    let machine = Machine::new(true);
    let disk = MemoryDisk::new(false);
    let boot = boot_on(&disk, Trouble::None);
    machine.add_entries(&boot, &[0, 1, 2]);
    machine.boot(&machine.releases[0].pack.1, Some(machine.names[0]));
    let new = release(9);
    new.build(&machine.open()).expect("built");
    let named = |boot: &Boot<MemoryIo>| BootChoices::of(Some(boot)).expect("read").named;

    machine::pin(&machine.open(), &machine.names[1], &Silent).expect("pinned");
    let name =
        deploy_and_boot(&machine.open(), &boot, &machine.runtime(), &new, None).expect("deployed");
    let found: Vec<_> = named(&boot).into_keys().collect();
    let mut expected = vec![name, machine.names[0], machine.names[1]];
    expected.sort_unstable();
    assert_eq!(found, expected, "what was only pending went");
    assert!(deploy::has_flag(&machine.open(), &machine.names[1], Flag::Pinned).expect("looked at"));

    let added =
        machine::rollback(&machine.open(), &machine.runtime(), &boot, &Silent).expect("back");
    assert_ne!(added.entry.text.deployment, name);
    let choices = BootChoices::of(Some(&boot)).expect("read");
    assert_eq!(choices.default, Some(added.entry.text.deployment));
    assert_eq!(choices.rollback, Some(name));
    assert_eq!(choices.named.len(), 3);
}

#[test]
fn a_default_below_the_floor_is_told() {
    const NULL: &str = "\"index\": null, \"epoch\": null";
    let machine = Machine::new(true);
    let boot = boot_on(&MemoryDisk::new(false), Trouble::None);
    machine.add_entries(&boot, &[0, 1]);
    let told = |floor: &str| {
        machine.boot(&machine.releases[1].pack.1, Some(machine.names[1]));
        let path = machine.runtime().booted_path();
        let text = std::fs::read_to_string(&path).expect("a record");
        std::fs::write(&path, text.replace(NULL, floor)).expect("written");
        let warnings = Warnings::default();
        let back = machine::rollback(&machine.open(), &machine.runtime(), &boot, &warnings);
        back.expect("back");
        warnings.take()
    };
    let floor = |efi, tpm| {
        format!(
            "\"index\": 9, \"epoch\": 5, \"floor\": {{\"epoch\": 0, \"index\": 0, \"on\": \
             \"epoch\", \"efi\": {efi}, \"tpm_base\": {tpm}}}"
        )
    };
    assert_eq!(told(&floor("false", "null")), Vec::<String>::new());
    for store in [floor("true", "null"), floor("false", "8")] {
        let told = told(&store);
        assert!(told[0].contains("a floor at epoch 5"), "{told:?}");
    }
}

// Rules: F3
#[test]
fn who_chooses_what_boots_next_takes_back_what_was_staged() {
    let machine = Machine::new(true);
    let boot = boot_on(&MemoryDisk::new(false), Trouble::None);
    machine.add_entries(&boot, &[0, 1]);
    let stage = |number: usize| {
        let store = machine.open();
        let transaction = store.begin(&Silent).expect("begun");
        let name = machine.names[number];
        deploy::raise_flag(&transaction, &name, Flag::Staged, b"").expect("raised");
        transaction.finish().expect("finished");
    };
    let is_staged = |number: usize| {
        let flag = deploy::has_flag(&machine.open(), &machine.names[number], Flag::Staged);
        flag.expect("looked at")
    };

    stage(2);
    machine::rollback(&machine.open(), &machine.runtime(), &boot, &Silent).expect("back");
    assert!(!is_staged(2));

    stage(2);
    let new = release(9);
    new.build(&machine.open()).expect("built");
    deploy_and_boot(&machine.open(), &boot, &machine.runtime(), &new, None).expect("deployed");
    assert!(!is_staged(2));
}

#[test]
fn making_the_default_the_default_again_keeps_the_way_back() {
    let machine = Machine::new(true);
    let disk = MemoryDisk::new(false);
    let boot = boot_on(&disk, Trouble::None);
    machine.add_entries(&boot, &[0, 1]);
    let new = release(9);
    new.build(&machine.open()).expect("built");
    let deploy = |boot: &Boot<MemoryIo>| {
        deploy_and_boot(&machine.open(), boot, &machine.runtime(), &new, None).expect("deployed")
    };
    let name = deploy(&boot);
    let before = disk.files();
    for runs in [false, true] {
        if runs {
            machine.boot(&new.pack.1, Some(name));
        }
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        assert_eq!(deploy(&Boot::new(io, Loader::SystemdBoot, "")), name);
        assert_eq!(calls.get().changes, 0, "running: {runs}");
        assert_eq!(disk.files(), before, "running: {runs}");
    }
    let back = machine::rollback(&machine.open(), &machine.runtime(), &boot, &Silent)
        .expect("there is a way back");
    assert_eq!(back.entry.text.deployment, machine.names[1]);
}

/// It runs and is not blessed yet: what the loader falls back to is still wanted.
#[test]
fn a_counted_default_once_more_keeps_its_fallback_and_its_tries() {
    let machine = Machine::new(true);
    let disk = MemoryDisk::new(false);
    let boot = boot_on(&disk, Trouble::None);
    machine.add_entries(&boot, &[1]);
    let new = release(9);
    new.build(&machine.open()).expect("built");
    let deploy = |tries| {
        let (store, runtime) = (machine.open(), machine.runtime());
        deploy_and_boot(&store, &boot, &runtime, &new, tries).expect("deployed")
    };
    let name = deploy(Some(3));
    machine.boot(&new.pack.1, Some(name));
    let path = |tries: &str| {
        let commit = &name.commit.to_hex()[..12];
        let name = format!("loader/entries/sealroot-00000002-{commit}.0{tries}.conf");
        StorePath::new(name.as_str()).expect("a path")
    };
    let text = disk.files()[&format!("/{}", path("+3"))].clone();
    disk.plant(&path("+2-1"), &text);
    boot.io().remove_file(&path("+3")).expect("removed");
    let before = disk.files();
    for tries in [Some(3), None] {
        assert_eq!(deploy(tries), name);
        assert_eq!(disk.files(), before, "{tries:?}");
    }
}

#[test]
fn what_was_found_good_stays_until_something_newer_is() {
    let machine = Machine::new(true);
    let boot = boot_on(&MemoryDisk::new(false), Trouble::None);
    machine.add_entries(&boot, &[1, 0]);
    let good = machine.names[0];
    let names = [8, 9, 10].map(|seed| {
        let new = release(seed);
        new.build(&machine.open()).expect("built");
        let (store, runtime) = (machine.open(), machine.runtime());
        let name = deploy_and_boot(&store, &boot, &runtime, &new, Some(3)).expect("deployed");
        let choices = BootChoices::of(Some(&boot)).expect("read");
        assert!(choices.named.contains_key(&good), "nothing good is left");
        // It runs, and what comes next is deployed before anybody says that it is good.
        machine.boot(&new.pack.1, Some(name));
        name
    });
    machine::bless(&machine.open(), &machine.runtime(), &boot, &Silent).expect("blessed");
    let new = release(11);
    new.build(&machine.open()).expect("built");
    let (store, runtime) = (machine.open(), machine.runtime());
    let newest = deploy_and_boot(&store, &boot, &runtime, &new, Some(3)).expect("deployed");
    let choices = BootChoices::of(Some(&boot)).expect("read");
    let mut expected = [names[2], newest];
    expected.sort_unstable();
    assert!(choices.named.into_keys().eq(expected));
}

#[test]
fn a_blessing_that_was_interrupted_is_finished_by_the_next() {
    let machine = Machine::new(true);
    let before = MemoryDisk::new(false);
    let boot = boot_on(&before, Trouble::None);
    machine.add_entries(&boot, &[1]);
    let new = release(9);
    new.build(&machine.open()).expect("built");
    let (store, runtime) = (machine.open(), machine.runtime());
    let name = deploy_and_boot(&store, &boot, &runtime, &new, Some(3)).expect("deployed");
    drop(store);
    machine.boot(&new.pack.1, Some(name));
    let bless = |disk: &MemoryDisk, trouble| {
        let boot = boot_on(disk, trouble);
        let blessed = machine::bless(&machine.open(), &runtime, &boot, &Silent);
        (blessed, boot.io().calls().get().changes)
    };
    let is_counted = |disk: &MemoryDisk| disk.files().keys().any(|path| path.contains('+'));
    assert!(is_counted(&before));
    let (blessed, changes) = bless(&before.copy(), Trouble::None);
    assert!(blessed.expect("blessed").is_changed);
    assert!(changes > 5);
    for at in 0..changes {
        let disk = before.copy();
        let (killed, _) = bless(&disk, Trouble::KilledAtChange { at });
        killed.expect_err("killed");
        for order in WriteBack::orders(8) {
            let found = disk.crash(order);
            bless(&found, Trouble::None).0.expect("blessed");
            assert!(!is_counted(&found), "{at}, {order:?}");
        }
    }
}

#[test]
fn where_another_entry_boots_by_default_the_way_back_stays() {
    let machine = Machine::new(true);
    let disk = MemoryDisk::new(false);
    let boot = boot_on(&disk, Trouble::None);
    machine.add_entries(&boot, &[0, 1]);
    let foreign = StorePath::new("loader/entries/debian.conf").expect("a path");
    disk.plant(&foreign, b"title Debian\nsort-key debian\nlinux /l\n");
    let new = release(9);
    new.build(&machine.open()).expect("built");
    for _ in 0..2 {
        deploy_and_boot(&machine.open(), &boot, &machine.runtime(), &new, None).expect("deployed");
        let choices = BootChoices::of(Some(&boot)).expect("read");
        assert_eq!(
            (choices.default, choices.rollback),
            (None, Some(machine.names[1]))
        );
    }
    let back = machine::rollback(&machine.open(), &machine.runtime(), &boot, &Silent)
        .expect("there is a way back");
    assert_eq!(back.entry.text.deployment, machine.names[1]);
    assert_eq!(back.boots_instead.as_deref(), Some("debian.conf"));
}

#[test]
fn other_arguments_are_tried_as_often_as_the_entry_was() {
    let machine = Machine::new(true);
    let disk = MemoryDisk::new(false);
    let boot = boot_on(&disk, Trouble::None);
    machine.add_entries(&boot, &[1]);
    let new = release(9);
    new.build(&machine.open()).expect("built");
    let (store, runtime) = (machine.open(), machine.runtime());
    let name = deploy_and_boot(&store, &boot, &runtime, &new, Some(3)).expect("deployed");
    let commit = &name.commit.to_hex()[..12];
    let path =
        |name: &str| StorePath::new(format!("loader/entries/sealroot-{name}")).expect("a path");
    let counted = path(&format!("00000002-{commit}.0+3.conf"));
    let text = disk.files()[&format!("/{counted}")].clone();
    disk.plant(&path(&format!("00000002-{commit}.0+2-1.conf")), &text);
    boot.io().remove_file(&counted).expect("removed");
    let append = |arguments: &mut KernelArguments| arguments.append("more");
    machine::change_arguments(&store, &boot, &append, &Silent).expect("changed");
    let entries = boot.entries().expect("read");
    let names: Vec<_> = (entries.in_boot_order().iter())
        .map(|entry| entry.file_name.clone())
        .collect();
    let before = machine.names[1].commit.to_hex();
    let expected = [
        format!("sealroot-00000003-{commit}.0+3.conf"),
        format!("sealroot-00000001-{}.0.conf", &before[..12]),
    ];
    assert_eq!(names, expected);
}
