// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `prune` collects and what it never does.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use sealroot::check::{Depth, Severity, check};
use sealroot::deploy::{self, Flag};
use sealroot::entry::{Boot, Loader};
use sealroot::machine::{
    self, BootChoices, MachineError, MountRecord, Releases, Retention, plan_prune, prune,
    record_mount,
};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreIo as _, StorePath, object_path, pack_path};
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};

use crate::store_support::{Scratch, content};
use crate::support::{Machine, NOTHING, deploy, open, release};

/// What is done to a machine, and a word for it.
type Case<'c> = (&'c str, &'c dyn Fn(&Machine));

/// All that is found is what waits to be deleted.
fn assert_sound(machine: &Machine) {
    let report = check(&machine.open(), Depth::Full, &Silent).expect("checked");
    for finding in report.findings {
        assert_eq!(finding.code.severity(), Severity::Leftover, "{finding:?}");
    }
}

fn has_object(machine: &Machine, seed: u8) -> bool {
    let path = format!("/{}", object_path(&content(seed, 5000).1));
    machine.disk.files().contains_key(&path)
}

#[test]
fn the_trash_is_emptied_before_anything_is_written() {
    let machine = Machine::new(true);
    machine.prune(&[2, 1], NOTHING).expect("pruned");
    let io = machine.disk.process(Trouble::None);
    let calls = io.calls();
    let store = Store::open_on(io).expect("a store");
    let choices = machine.choices(&[2, 1]);
    let ask = || Ok(choices.clone());
    let pruned = prune(&store, &machine.runtime(), &ask, NOTHING, &Silent).expect("pruned");
    assert!(pruned.emptied.files > 0);
    let made = |name| calls.get().of(name);
    assert_eq!((made("create_directory"), made("create_unnamed")), (0, 0));
}

// Rules: G1, G3, G4, G5
#[test]
fn what_nothing_uses_is_put_aside_and_deleted_by_the_next_run() {
    for has_verity in [true, false] {
        let machine = Machine::new(has_verity);
        let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
        assert_eq!(pruned.deployments, [machine.names[0]]);
        assert_eq!(pruned.statements.len(), 1);
        assert_eq!(pruned.packs, [machine.releases[0].pack.1]);
        assert_eq!((pruned.objects, pruned.linked_elsewhere), (1, 0));
        let pack_bytes = machine.releases[0].pack.0.len() as u64;
        assert_eq!(pruned.aside_bytes, 5000 + pack_bytes);
        assert_eq!(pruned.emptied.files + pruned.emptied.links, 0);
        assert!(!has_object(&machine, 1));
        assert!((2..6).all(|seed| has_object(&machine, seed)));
        assert_sound(&machine);
        assert!(!machine.below("trash").is_empty());

        let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
        assert_eq!(pruned.deployments, []);
        assert_eq!(pruned.objects, 0);
        // The object, the pack, the statement, the record.
        assert_eq!(pruned.emptied.files, 4);
        assert_eq!(pruned.emptied.links, 3);
        assert!(pruned.emptied.freed_bytes > 5000);
        assert_eq!(machine.below("trash"), [""; 0]);
        let report = check(&machine.open(), Depth::Full, &Silent).expect("checked");
        assert_eq!(report.findings, []);
        assert_eq!(
            (report.objects, report.packs, report.deployments),
            (4, 2, 2)
        );
    }
}

// Rules: G2
#[test]
fn nothing_that_is_used_is_collected_whatever_uses_it() {
    let device = fs::metadata("/").expect("a root").dev();
    let uses: [Case<'_>; 6] = [
        ("pinned", &|machine| {
            let store = machine.open();
            let transaction = store.begin(&Silent).expect("begun");
            deploy::raise_flag(&transaction, &machine.names[0], Flag::Pinned, b"").expect("raised");
            transaction.finish().expect("finished");
        }),
        ("staged", &|machine| {
            let store = machine.open();
            let transaction = store.begin(&Silent).expect("begun");
            deploy::raise_flag(&transaction, &machine.names[0], Flag::Staged, b"").expect("raised");
            transaction.finish().expect("finished");
        }),
        ("booted", &|machine| {
            machine.boot(&machine.releases[0].pack.1, Some(machine.names[0]));
        }),
        ("booted by a policy with its pack", &|machine| {
            machine.boot(&machine.releases[0].pack.1, None);
        }),
        ("mounted", &|machine| {
            let record = MountRecord {
                store: None,
                device,
                pack: Some(machine.releases[0].pack.1),
                deployment: Some(machine.names[0]),
                place: "/mnt".into(),
            };
            record_mount(&machine.runtime(), &record).expect("written");
        }),
        ("kept", &|_| {}),
    ];
    for (how, use_it) in uses {
        let machine = Machine::new(true);
        use_it(&machine);
        let before = machine.disk.files();
        let retention = Retention {
            keep: usize::from(how == "kept"),
            releases: Releases::None,
        };
        let pruned = machine.prune(&[2, 1], retention).expect("pruned");
        assert_eq!(pruned.deployments, [], "{how}");
        assert_eq!(machine.disk.files(), before, "{how}");
    }
    let machine = Machine::new(true);
    let pruned = machine.prune(&[2, 1, 0], NOTHING).expect("pruned");
    assert_eq!(pruned.deployments, [], "an entry names it");
}

// Rules: G2
#[test]
fn a_pack_that_is_mounted_without_its_deployment_keeps_its_objects() {
    let machine = Machine::new(true);
    let record = MountRecord {
        store: None,
        device: fs::metadata("/").expect("a root").dev(),
        pack: Some(machine.releases[0].pack.1),
        deployment: None,
        place: "/mnt".into(),
    };
    record_mount(&machine.runtime(), &record).expect("written");
    let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
    assert_eq!(pruned.deployments, [machine.names[0]]);
    assert_eq!((pruned.packs.len(), pruned.objects), (0, 0));
    assert!(has_object(&machine, 1));

    // The number of a filesystem that there is not.
    fs::remove_dir_all(machine.runtime().mounts_path()).expect("removed");
    let gone = MountRecord {
        store: None,
        device: rustix::fs::makedev(0, 0xf_fffe),
        ..record
    };
    record_mount(&machine.runtime(), &gone).expect("written");
    let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
    if cfg!(target_arch = "x86_64") {
        assert_eq!((pruned.packs.len(), pruned.objects), (1, 1));
        let records = fs::read_dir(machine.runtime().mounts_path()).expect("listed");
        assert_eq!(records.count(), 0);
    }
}

// Rules: G2
#[test]
fn what_is_mounted_of_another_store_keeps_nothing() {
    let device = fs::metadata("/").expect("a root").dev();
    for is_own in [true, false] {
        let machine = Machine::new(true);
        let mut store = machine.open().io().identity().expect("a directory");
        store.inode += u64::from(!is_own);
        let record = |pack: Option<VerityDigest>| MountRecord {
            store: Some(store),
            device,
            pack,
            deployment: None,
            place: "/mnt".into(),
        };
        let pack = Some(machine.releases[0].pack.1);
        record_mount(&machine.runtime(), &record(pack)).expect("written");
        let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
        assert_eq!(pruned.packs.len(), usize::from(!is_own));

        // Of a pack that is in no store it is not known what it needs.
        record_mount(&machine.runtime(), &record(None)).expect("written");
        let pruned = machine.prune(&[2], NOTHING);
        assert_eq!(pruned.is_err(), is_own, "{pruned:?}");
        let records = fs::read_dir(machine.runtime().mounts_path()).expect("listed");
        assert_eq!(records.count(), 1, "they are not this store's to remove");
    }
}

// Rules: G2
#[test]
fn where_no_entry_names_a_deployment_none_is_removed() {
    let machine = Machine::new(true);
    let pruned = machine.prune(&[], NOTHING).expect("pruned");
    assert!(pruned.is_boot_unknown);
    assert_eq!(pruned.deployments, []);
    machine.boot(&machine.releases[2].pack.1, Some(machine.names[2]));
    let pruned = machine.prune(&[], NOTHING).expect("pruned");
    assert!(pruned.is_boot_unknown, "an older one may be the fallback");
}

#[test]
fn the_newest_are_kept_on_request() {
    let machine = Machine::new(true);
    let keep = |keep| Retention { keep, ..NOTHING };
    assert_eq!(
        machine.prune(&[2], keep(2)).expect("pruned").deployments,
        []
    );
    // Deployed in the same second: the higher name is the newer.
    let pruned = machine.prune(&[2], keep(1)).expect("pruned");
    assert_eq!(pruned.deployments, [machine.names[0]]);
    let pruned = machine.prune(&[2], keep(0)).expect("pruned");
    assert_eq!(pruned.deployments, [machine.names[1]]);
}

// Rules: G3
#[test]
fn a_release_that_was_never_deployed_stays_unless_asked() {
    let machine = Machine::new(true);
    let built = release(9);
    built.build(&machine.open()).expect("built");
    let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
    assert_eq!(pruned.packs, [machine.releases[0].pack.1]);
    assert!((9..12).all(|seed| has_object(&machine, seed)));
    let all = Retention {
        releases: Releases::None,
        ..NOTHING
    };
    let pruned = machine.prune(&[2, 1], all).expect("pruned");
    assert_eq!(pruned.packs, [built.pack.1]);
    assert_eq!((pruned.statements.len(), pruned.objects), (1, 3));
    assert_sound(&machine);
}

// Rules: G6
#[test]
fn what_an_interrupted_build_left_is_collected() {
    let machine = Machine::new(true);
    machine.prune(&[2, 1, 0], NOTHING).expect("pruned");
    let whole = {
        let disk = machine.disk.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        let store = sealroot::store::Store::open_on(io).expect("a store");
        release(9).build(&store).expect("built");
        calls.get().changes
    };
    let mut collected = 0;
    for at in 0..whole {
        let disk = machine.disk.copy();
        let killed = open(&disk, Trouble::KilledAtChange { at });
        release(9).build(&killed).expect_err("killed");
        drop(killed);
        let choices = machine.choices(&[2, 1, 0]);
        let store = open(&disk, Trouble::None);
        let all = Retention {
            releases: Releases::None,
            ..NOTHING
        };
        let ask = || Ok(choices.clone());
        let pruned = prune(&store, &machine.runtime(), &ask, all, &Silent).expect("pruned");
        collected += pruned.objects;
        let before = machine.disk.files();
        let after = disk.files();
        let objects = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
            let of = files.keys().filter(|path| path.starts_with("/objects/"));
            of.cloned().collect::<Vec<_>>()
        };
        assert_eq!(objects(&after), objects(&before), "killed at {at}");
    }
    assert!(collected > 3, "{collected}");
}

// Rules: G7
#[test]
fn where_nothing_can_go_nothing_is_written_and_no_pack_is_read() {
    let machine = Machine::new(false);
    let io = machine.disk.process(Trouble::None);
    let calls = io.calls();
    let store = sealroot::store::Store::open_on(io).expect("a store");
    let choices = machine.choices(&[2, 1, 0]);
    let ask = || Ok(choices.clone());
    prune(&store, &machine.runtime(), &ask, NOTHING, &Silent).expect("pruned");
    let calls = calls.get();
    // The lock.
    assert_eq!(calls.changes, 1, "{calls:?}");
    // store.toml, three statements and three records.
    assert_eq!(calls.of("read_at"), 7, "{calls:?}");
}

#[test]
fn a_plan_changes_nothing_and_says_what_will_be() {
    let machine = Machine::new(true);
    let io = machine.disk.process(Trouble::None);
    let calls = io.calls();
    let store = sealroot::store::Store::open_on(io).expect("a store");
    let choices = machine.choices(&[2]);
    let ask = || Ok(choices.clone());
    let planned = plan_prune(&store, &machine.runtime(), &ask, NOTHING).expect("planned");
    assert_eq!(calls.get().changes, 1, "only the lock");
    let pruned = machine.prune(&[2], NOTHING).expect("pruned");
    assert_eq!(planned.deployments, pruned.deployments);
    assert_eq!(planned.packs, pruned.packs);
    assert_eq!(planned.objects, pruned.objects);
    assert_eq!(planned.aside_bytes, pruned.aside_bytes);
    assert_eq!(pruned.objects, 2);
}

// Rules: G5
#[test]
fn what_a_live_pack_needs_must_be_known() {
    let damages: [Case<'_>; 4] = [
        ("missing", &|machine| {
            let path = pack_path(&machine.releases[1].pack.1);
            let store = machine.open();
            store.io().remove_file(&path).expect("removed");
        }),
        ("cannot be trusted", &|machine| {
            machine
                .disk
                .plant(&pack_path(&machine.releases[1].pack.1), b"wrong");
        }),
        ("is mounted on", &|machine| {
            let record = MountRecord {
                store: None,
                device: fs::metadata("/").expect("a root").dev(),
                pack: None,
                deployment: None,
                place: "/mnt".into(),
            };
            record_mount(&machine.runtime(), &record).expect("written");
        }),
        ("is mounted on", &|machine| {
            let mounts = machine.runtime().mounts_path();
            fs::create_dir(&mounts).expect("made");
            fs::write(mounts.join("7.toml"), "version = 9").expect("planted");
        }),
    ];
    for (how, damage) in damages {
        for has_verity in [true, false] {
            let machine = Machine::new(has_verity);
            damage(&machine);
            let before = machine.disk.files();
            let error = machine.prune(&[2, 1], NOTHING).expect_err(how);
            if how == "missing" {
                assert!(matches!(error, MachineError::MissingPack { .. }), "{error}");
            } else {
                assert!(error.to_string().contains(how), "{error}");
            }
            assert_eq!(machine.disk.files(), before, "{how}");
        }
    }
}

#[test]
fn what_does_not_say_what_runs_stops_everything() {
    let machine = Machine::new(true);
    fs::write(machine.runtime().booted_path(), "{").expect("planted");
    let before = machine.disk.files();
    let error = machine.prune(&[2, 1], NOTHING).expect_err("unknown");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert_eq!(machine.disk.files(), before);
}

#[test]
fn a_damaged_record_does_not_save_what_nothing_uses_nor_harm_what_is_used() {
    let machine = Machine::new(true);
    for number in [0, 1] {
        let path = format!("deploy/{}/deployment.toml", machine.names[number]);
        let path = sealroot::store::StorePath::new(path).expect("a path");
        machine.disk.plant(&path, b"?");
    }
    let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
    assert_eq!(pruned.deployments, [machine.names[0]]);
    // Which pack the first was of is not known; the second's is that of its commit.
    assert_eq!((pruned.packs.len(), pruned.objects), (0, 0));
    let all = Retention {
        releases: Releases::None,
        ..NOTHING
    };
    let pruned = machine.prune(&[2, 1], all).expect("pruned");
    assert_eq!(pruned.packs, [machine.releases[0].pack.1]);
}

// Rules: G8
#[test]
fn what_has_other_names_elsewhere_frees_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let names: Vec<_> = (1..=2).map(|seed| deploy(&store, &release(seed))).collect();
    let elsewhere = scratch.directory.path().join("of-ostree");
    fs::hard_link(scratch.object(&content(1, 5000).1), &elsewhere).expect("linked");
    let choices = BootChoices {
        default: Some(names[1]),
        rollback: None,
        named: [(names[1], String::new())].into(),
        ..BootChoices::default()
    };
    let ask = || Ok(choices.clone());
    let runtime = sealroot::machine::Runtime::new(scratch.directory.path().join("run"));
    let prune = || prune(&store, &runtime, &ask, NOTHING, &Silent).expect("pruned");
    let pruned = prune();
    assert_eq!((pruned.objects, pruned.linked_elsewhere), (1, 1));
    let used = |path: &std::path::Path| fs::metadata(path).expect("there").blocks() * 512;
    let trash = crate::store_support::files_below(&scratch.location().join("trash"));
    let is_pack = |path: &&std::path::PathBuf| path.extension().is_some_and(|it| it == "pack");
    let pack = trash.iter().find(is_pack).expect("a pack");
    assert_eq!(pruned.aside_bytes, used(pack), "the object stays elsewhere");
    let small: u64 = (trash.iter())
        .filter(|path| fs::metadata(path).expect("there").nlink() == 1)
        .map(|path| used(path))
        .sum();
    let emptied = prune().emptied;
    assert_eq!((emptied.files, emptied.links), (3, 4));
    assert_eq!(emptied.freed_bytes, small);
    assert_eq!(
        fs::read(elsewhere).expect("still there"),
        content(1, 5000).0
    );
}

#[test]
fn a_statement_whose_pack_was_never_fetched_is_no_obstacle() {
    let machine = Machine::new(true);
    let store = machine.open();
    let other = release(9);
    let transaction = store.begin(&Silent).expect("begun");
    let (commit, stream) = (other.commit(), crate::store_support::stream());
    let written = transaction.write_statement(&commit, &stream, other.file.as_bytes());
    assert!(written.expect("written"));
    transaction.finish().expect("finished");
    let pruned = machine.prune(&[2, 1], NOTHING).expect("pruned");
    assert_eq!(pruned.deployments, [machine.names[0]]);
    assert_eq!(
        pruned.statements,
        [(machine.releases[0].commit(), stream.clone())]
    );
    let all = Retention {
        releases: Releases::None,
        ..NOTHING
    };
    let pruned = machine.prune(&[2, 1], all).expect("pruned");
    assert_eq!(pruned.statements, [(commit, stream)]);
    assert_eq!(pruned.packs, []);
}

/// A copy of an entry that people and their tools have made of one of ours, and which boots.
#[test]
fn what_an_odd_entry_boots_is_never_collected() {
    let machine = Machine::new(true);
    let disk = MemoryDisk::new(false);
    let boot = Boot::new(disk.process(Trouble::None), Loader::Grub, "");
    machine.add_entries(&boot, &[1]);
    let name = machine.names[0];
    let collect = || {
        let ask = || BootChoices::of(Some(&boot));
        let (store, runtime) = (machine.open(), machine.runtime());
        prune(&store, &runtime, &ask, NOTHING, &Silent)
    };
    machine::pin(&machine.open(), &machine.names[2], &Silent).expect("pinned");
    let path = StorePath::new("loader/entries/rescue.conf").expect("a path");
    for text in [
        format!("title Notl\0sung\nlinux /k\noptions a sealroot={name}\n"),
        format!(
            "title {}\nlinux /k\noptions sealroot={name}",
            "x".repeat(70_000)
        ),
        format!("linux /k\noptions \"sealroot={name}\"\noptions quiet\n"),
        format!("noise\rsealroot={name} more noise"),
    ] {
        let mut bytes = text.into_bytes();
        for byte in bytes.iter_mut().filter(|byte| **byte == 0) {
            *byte = 0xf6;
        }
        disk.plant(&path, &bytes);
        let pruned = collect().expect("pruned");
        assert_eq!(pruned.deployments, []);
    }
    disk.plant(&path, &vec![b' '; (1 << 20) + 1]);
    let error = collect().expect_err("what it boots is not known");
    assert!(
        matches!(error, MachineError::UnreadableEntry { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("loader/entries/rescue.conf"),
        "{error}"
    );
    sealroot::entry::BootIo::remove_file(boot.io(), &path).expect("removed");
    assert_eq!(collect().expect("pruned").deployments, [name]);
}
