// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is damaged is named and replaced, from wherever it is right; wherever the power goes, each name is
//! of what was there or of what is right.

use std::collections::BTreeSet;

use rustix::io::Errno;
use sealroot::check::{Depth, FindingCode, Severity, check};
use sealroot::deploy::{self, LAYER_NAME};
use sealroot::monitor::Silent;
use sealroot::repair::{self, Outcome, RepairError, Report, Request, Source, StoreSource, What};
use sealroot::store::{
    Store, StoreIo as _, StorePath, VeritySupport, deployment_path, object_path, pack_path,
};
use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::Mode;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble, WriteBack};

use crate::support::{Content, Release, content, files_of};

/// Arbitrary write-back orders per crash.
const ARBITRARY_ORDERS: u64 = 8;

const FULL: Request<'static> = Request {
    chosen: BTreeSet::new(),
    depth: Depth::Full,
    keyset: None,
};

/// A way to damage a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Truncated,
    Zeroed,
    Other,
    Missing,
    Rotten,
}

const HARMS: [Harm; 5] = [
    Harm::Truncated,
    Harm::Zeroed,
    Harm::Other,
    Harm::Missing,
    Harm::Rotten,
];

fn harm(disk: &MemoryDisk, path: &StorePath, bytes: &[u8], harm: Harm) {
    match harm {
        Harm::Truncated => disk.plant(path, &bytes[..bytes.len() / 2]),
        Harm::Zeroed => disk.plant(path, &vec![0; bytes.len()]),
        Harm::Other => disk.plant(path, &[bytes, b"more"].concat()),
        Harm::Missing => {
            let io = disk.process(Trouble::None);
            io.remove_file(path).expect("removed");
            io.sync_filesystem().expect("durable");
        }
        Harm::Rotten => disk.rot(path),
    }
}

fn objects(count: u8) -> Vec<Content> {
    (0..count).map(|seed| content(seed, 5000)).collect()
}

fn open(disk: &MemoryDisk) -> Store<MemoryIo> {
    Store::open_on(disk.process(Trouble::None)).expect("a store")
}

/// A disk with a deployed release, durable.
fn deployed(release: &Release, has_verity: bool) -> MemoryDisk {
    let disk = MemoryDisk::new(has_verity);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    release.build(&store).expect("built");
    let mode = match store.verity() {
        VeritySupport::Kernel => Mode::Sealed,
        VeritySupport::None => Mode::Integrity,
    };
    release.deploy(&store, mode, &Silent).expect("deployed");
    disk.crash(WriteBack::Nothing)
}

fn layer_path(disk: &MemoryDisk, digest: &VerityDigest) -> StorePath {
    let deployments = deploy::deployments(&open(disk)).expect("listed");
    let layer = deployment_path(&deployments[0].name).join(LAYER_NAME);
    let shared = object_path(digest).to_string();
    let (_, rest) = shared.split_once('/').expect("in a directory");
    layer
        .and_then(|layer| StorePath::new(format!("{layer}/{rest}")))
        .expect("valid")
}

fn repair_from(io: MemoryIo, source: Option<&Store<MemoryIo>>) -> Result<Report, RepairError> {
    let store = Store::open_on(io)?;
    let source = source.map(StoreSource::new);
    let sources: Vec<&dyn Source<MemoryIo>> = source.iter().map(|source| source as _).collect();
    repair::repair(&store, &FULL, &sources, &Silent)
}

fn assert_whole(disk: &MemoryDisk, when: &str) {
    let report = check(&open(disk), Depth::Full, &Silent).expect("checked");
    for finding in report.findings {
        assert_eq!(
            finding.code.severity(),
            Severity::Leftover,
            "{when}: {finding:?}"
        );
    }
    let looked = repair::look(&open(disk), &FULL, &Silent).expect("looked");
    assert_eq!(looked.damage, [], "{when}");
}

/// Two disks with the same release: one on which every way to damage is in every place, and a whole one.
fn harmed(has_verity: bool) -> (Release, MemoryDisk, MemoryDisk) {
    let release = Release::new(1, objects(16));
    let (disk, whole) = (
        deployed(&release, has_verity),
        deployed(&release, has_verity),
    );
    for (number, (bytes, digest)) in release.objects.iter().enumerate() {
        let how = HARMS[number % HARMS.len()];
        let (shared, own) = (object_path(digest), layer_path(&disk, digest));
        match (number / HARMS.len(), how) {
            // Both names are of the same file.
            (_, Harm::Rotten) | (0, _) => harm(&disk, &shared, bytes, how),
            (1, _) => harm(&disk, &own, bytes, how),
            _ => {
                harm(&disk, &shared, bytes, how);
                harm(&disk, &own, bytes, how);
            }
        }
    }
    harm(
        &disk,
        &pack_path(&release.pack.1),
        &release.pack.0,
        Harm::Zeroed,
    );
    (release, disk, whole)
}

// Rules: O5, O8
#[test]
fn any_damage_anywhere_is_healed() {
    for has_verity in [true, false] {
        let (release, disk, whole) = harmed(has_verity);
        let report = repair_from(disk.process(Trouble::None), Some(&open(&whole)));
        let report = report.expect("repaired");
        assert_eq!(report.left().count(), 0, "{report:?}");
        assert_eq!(report.damage.len(), 1 + release.objects.len());
        for damage in &report.damage {
            let is_object = matches!(damage.what, What::Object(_));
            assert_eq!(damage.files.len(), usize::from(is_object), "{damage:?}");
        }
        assert_whole(&disk, "healed");
        assert_whole(&disk.crash(WriteBack::Nothing), "healed and durable");
    }
}

#[test]
fn a_good_link_is_enough() {
    let release = Release::new(1, objects(8));
    for is_shared in [true, false] {
        let disk = deployed(&release, true);
        for (number, (bytes, digest)) in release.objects.iter().enumerate() {
            let path = if is_shared {
                object_path(digest)
            } else {
                layer_path(&disk, digest)
            };
            harm(&disk, &path, bytes, HARMS[number % 4]);
        }
        let report = repair_from(disk.process(Trouble::None), None).expect("repaired");
        assert_eq!(report.left().count(), 0, "{report:?}");
        let expected = if is_shared { "deploy/" } else { "objects/" };
        for damage in &report.damage {
            let Outcome::Repaired { from } = &damage.outcome else {
                panic!("{damage:?}");
            };
            assert!(from.starts_with(expected), "{from}");
        }
        assert_whole(&disk, "healed");
        assert_eq!(
            open(&disk)
                .io()
                .list(&StorePath::new("tmp").expect("valid"))
                .expect("listed"),
            []
        );
    }
}

#[test]
fn without_a_source_all_of_it_is_named_and_nothing_is_changed() {
    let release = Release::new(1, objects(5));
    for has_verity in [true, false] {
        let disk = deployed(&release, has_verity);
        for ((bytes, digest), how) in release.objects.iter().zip(HARMS) {
            harm(&disk, &object_path(digest), bytes, how);
            if !matches!(how, Harm::Rotten) {
                harm(&disk, &layer_path(&disk, digest), bytes, how);
            }
        }
        let files = || {
            let mut files = files_of(&disk);
            files.remove("/lock");
            files
        };
        let before = files();
        let looked = repair::look(&open(&disk), &FULL, &Silent).expect("looked");
        let report = repair_from(disk.process(Trouble::None), None).expect("looked");
        assert!(files() == before, "something was changed");
        for report in [looked, report] {
            let named: BTreeSet<_> = report.left().map(|damage| damage.what.clone()).collect();
            let all = release.objects.iter();
            assert_eq!(
                named,
                all.map(|(_, digest)| What::Object(*digest)).collect()
            );
            for damage in report.left() {
                assert_eq!(damage.places.len(), 2, "{damage:?}");
            }
        }
    }
}

#[test]
fn a_bad_block_is_found_only_by_reading() {
    let release = Release::new(1, objects(2));
    let (disk, whole) = (deployed(&release, true), deployed(&release, true));
    let (_, digest) = &release.objects[1];
    disk.rot(&object_path(digest));
    let quick = Request {
        depth: Depth::Quick,
        ..FULL
    };
    let looked = repair::look(&open(&disk), &quick, &Silent).expect("looked");
    assert_eq!(looked.damage, []);
    let looked = repair::look(&open(&disk), &FULL, &Silent).expect("looked");
    assert_eq!(looked.damage.len(), 1);
    assert_eq!(looked.damage[0].places[0].code, FindingCode::WrongDigest);
    repair_from(disk.process(Trouble::None), Some(&open(&whole))).expect("repaired");
    assert_whole(&disk, "healed");
}

#[test]
fn a_source_that_is_damaged_itself_gives_nothing_wrong() {
    let (_, disk, _) = harmed(true);
    let (_, other, _) = harmed(true);
    let report = repair_from(disk.process(Trouble::None), Some(&open(&other)));
    let report = report.expect("looked");
    assert!(report.left().count() > 0);
    for damage in report.left() {
        assert!(
            matches!(&damage.outcome, Outcome::Left { reasons } if !reasons.is_empty()),
            "{damage:?}"
        );
    }
}

#[test]
fn what_was_copied_back_from_a_backup_needs_no_source() {
    let release = Release::new(1, objects(12));
    let disk = deployed(&release, true);
    for (bytes, digest) in &release.objects {
        disk.plant(&object_path(digest), bytes);
        disk.plant(&layer_path(&disk, digest), bytes);
    }
    disk.plant(&pack_path(&release.pack.1), &release.pack.0);
    let report = repair_from(disk.process(Trouble::None), None).expect("repaired");
    assert_eq!(report.left().count(), 0, "{report:?}");
    assert_eq!(report.damage.len(), 13);
    let codes = report.damage.iter().map(|damage| damage.places[0].code);
    assert!(codes.into_iter().all(|code| code == FindingCode::NoVerity));
    assert_whole(&disk.crash(WriteBack::Nothing), "resealed");
}

/// Whether every name is of what it was of before, or of what is right.
fn judge(found: &MemoryDisk, before: &MemoryDisk, release: &Release, when: &str) {
    let (files, old) = (found.files(), before.files());
    let mut names = vec![(pack_path(&release.pack.1), &release.pack.0)];
    for (bytes, digest) in &release.objects {
        names.push((object_path(digest), bytes));
        names.push((layer_path(before, digest), bytes));
    }
    for (path, right) in names {
        let path = format!("/{path}");
        let found = files.get(&path);
        assert!(
            found == Some(right) || found == old.get(&path),
            "{when}: {path} is neither what it was nor right"
        );
    }
}

#[test]
fn a_power_cut_leaves_what_was_or_what_is_right() {
    let mut crashes = 0;
    for has_verity in [true, false] {
        let (release, before, whole) = harmed(has_verity);
        let source = open(&whole);
        let trial = before.copy();
        let io = trial.process(Trouble::None);
        let calls = io.calls();
        repair_from(io, Some(&source)).expect("repaired");
        for at in 0..calls.get().changes {
            let disk = before.copy();
            let process = disk.process(Trouble::KilledAtChange { at });
            repair_from(process, Some(&source)).expect_err("killed");
            for order in WriteBack::orders(ARBITRARY_ORDERS) {
                let when = format!("cut at {at}, {order:?}");
                let found = disk.crash(order);
                judge(&found, &before, &release, &when);
                let again = repair_from(found.process(Trouble::None), Some(&source));
                assert_eq!(again.expect(&when).left().count(), 0, "{when}");
                assert_whole(&found.crash(WriteBack::Nothing), &when);
                crashes += 1;
            }
        }
    }
    eprintln!("{crashes} power cuts, 0 losses");
    assert!(crashes > 1000);
}

#[test]
fn a_failure_leaves_what_was_or_what_is_right() {
    let mut faults = 0;
    for has_verity in [true, false] {
        let (release, before, whole) = harmed(has_verity);
        let source = open(&whole);
        let trial = before.copy();
        let io = trial.process(Trouble::None);
        let calls = io.calls();
        repair_from(io, Some(&source)).expect("repaired");
        for at in 0..calls.get().all {
            for errno in [
                Errno::NOSPC,
                Errno::IO,
                Errno::MFILE,
                Errno::MLINK,
                Errno::INTR,
            ] {
                let when = format!("{errno} at {at}");
                let disk = before.copy();
                let trouble = Trouble::FailsOnce { at, errno };
                // Some failures only make one file count as damaged.
                let result = repair_from(disk.process(trouble), Some(&source));
                judge_kept(&disk, &release, result.is_ok(), &when);
                let again = repair_from(disk.process(Trouble::None), Some(&source));
                assert_eq!(again.expect(&when).left().count(), 0, "{when}");
                assert_whole(&disk, &when);
                faults += 1;
            }
        }
    }
    eprintln!("{faults} faults, 0 losses");
    assert!(faults > 1000);
}

/// Nothing that was right is gone, whatever failed.
fn judge_kept(disk: &MemoryDisk, release: &Release, is_done: bool, when: &str) {
    let files = disk.files();
    let first = &release.objects[HARMS.len()];
    let shared = files.get(&format!("/{}", object_path(&first.1)));
    assert_eq!(shared, Some(&first.0), "{when}, done: {is_done}");
}
