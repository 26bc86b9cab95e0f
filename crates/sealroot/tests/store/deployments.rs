// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments on this machine's filesystem: hardlinks and a record, whole or not at all, and
//! nothing new for a release that is deployed already.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use sealroot::deploy::{self, DeployError, Deployed, Request};
use sealroot::monitor::{Silent, Warnings};
use sealroot::store::{Store, VeritySupport, object_path, pack_path, statement_path};
use sealroot_format::ErrorClass;
use sealroot_format::policy::Mode;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};

use crate::support::{Release, Scratch, content, files_below, replace, stream};

fn release(seed: u8, objects: std::ops::Range<u8>) -> Release {
    Release::new(seed, objects.map(|i| content(i, 5000)).collect())
}

fn built(store: &Store, release: &Release) {
    release.build(store).expect("built");
}

fn deploy(store: &Store, release: &Release) -> Result<Deployed, DeployError> {
    release.deploy(store, Mode::Integrity, &Silent)
}

fn directory(scratch: &Scratch, deployed: &Deployed) -> PathBuf {
    scratch
        .location()
        .join("deploy")
        .join(deployed.name.to_string())
}

// Rules: D2
#[test]
fn a_deployment_is_links_and_a_record() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let release = release(1, 0..30);
    built(&store, &release);
    let deployed = deploy(&store, &release).expect("deployed");
    assert_eq!(deployed.name.serial, 0);
    assert!(!deployed.is_reused);
    let directory = directory(&scratch, &deployed);
    assert_eq!(files_below(&directory).len(), 30 + 1);
    for (_, digest) in &release.objects {
        let linked = directory.join(object_path(digest).to_string());
        let (linked, shared) = (fs::metadata(linked), fs::metadata(scratch.object(digest)));
        let (linked, shared) = (linked.expect("linked"), shared.expect("there"));
        assert_eq!((linked.ino(), linked.nlink()), (shared.ino(), 2));
    }
    assert_eq!(
        files_below(&scratch.location().join("tmp")),
        [] as [PathBuf; 0]
    );

    let listed = deploy::deployments(&store).expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, deployed.name);
    assert_eq!(
        listed[0].record.as_ref().expect("a record"),
        &deployed.record
    );
    assert_eq!(deployed.record.pack, release.pack.1);
    assert_eq!(deployed.record.deployed, 1_700_000_100);
}

// Rules: D3, D4
#[test]
fn the_same_release_again_writes_nothing_and_another_gets_the_next_serial() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let first = release(1, 0..5);
    built(&store, &first);
    let deployed = deploy(&store, &first).expect("deployed");
    let before = files_below(&scratch.location());
    let again = deploy(&store, &first).expect("deployed");
    assert!(again.is_reused);
    assert_eq!(
        (again.name, &again.record),
        (deployed.name, &deployed.record)
    );
    assert_eq!(files_below(&scratch.location()), before);

    // The same commit with other objects: another threshold, say.
    let objects = (0..6).map(|i| content(i, 5000)).collect();
    let second = Release::new(1, objects);
    built(&store, &second);
    let other = deploy(&store, &second).expect("deployed");
    assert_eq!(other.name.serial, 1);
    assert!(!other.is_reused);
    assert_eq!(deploy::deployments(&store).expect("listed").len(), 2);
}

// Rules: D4, R1, R2
#[test]
fn a_damaged_deployment_is_not_reused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let release = release(1, 0..3);
    built(&store, &release);
    let mut serial = 0;
    let mut damage = |change: &dyn Fn(PathBuf)| {
        let deployed = deploy(&store, &release).expect("deployed");
        assert!(!deployed.is_reused, "{serial}");
        assert_eq!(deployed.name.serial, serial);
        serial += 1;
        change(directory(&scratch, &deployed));
    };
    let object = object_path(&release.objects[0].1).to_string();
    let record = deploy::RECORD_NAME;
    damage(&|path| fs::remove_file(path.join(&object)).expect("removed"));
    damage(&|path| replace(&path.join(&object), b"short"));
    // The right size, but not the shared object: without fs-verity nothing else tells.
    damage(&|path| replace(&path.join(&object), &[0; 5000]));
    damage(&|path| fs::remove_file(path.join(record)).expect("removed"));
    damage(&|path| fs::write(path.join(record), "version = 1\n").expect("planted"));
    damage(&|path| fs::write(path.join(record), "x".repeat(9000)).expect("planted"));
    damage(&|path| {
        fs::remove_file(path.join(record)).expect("removed");
        fs::create_dir(path.join(record)).expect("planted");
    });
    damage(&|_| {});
    assert!(deploy(&store, &release).expect("deployed").is_reused);

    let listed = deploy::deployments(&store).expect("listed");
    let readable = listed.iter().filter(|d| d.record.is_ok()).count();
    assert_eq!((listed.len(), readable), (8, 4));
}

// Rules: D1
#[test]
fn deploying_needs_statement_pack_and_objects() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let release = release(1, 0..3);
    built(&store, &release);
    let sign = statement_path(&release.commit(), &stream()).to_string();
    let pack = pack_path(&release.pack.1).to_string();
    let object = object_path(&release.objects[1].1).to_string();
    let other = release.file.replacen("created 17", "created 18", 1);
    let short_pack = match store.verity() {
        VeritySupport::Kernel => "does not have fs-verity enabled",
        VeritySupport::None => "has 5 bytes, expected 4096",
    };
    for (path, planted, expected, class) in [
        (
            &sign,
            None,
            ".stable.sign does not exist",
            ErrorClass::NotFound,
        ),
        (
            &sign,
            Some("x\n"),
            "is not a release statement",
            ErrorClass::Corrupt,
        ),
        (
            &sign,
            Some(&*other),
            "holds another statement",
            ErrorClass::Untrusted,
        ),
        (&pack, None, ".pack does not exist", ErrorClass::NotFound),
        (&pack, Some("short"), short_pack, ErrorClass::Untrusted),
        (&object, None, ".file does not exist", ErrorClass::NotFound),
        (
            &object,
            Some("x"),
            "has 1 bytes, expected 5000",
            ErrorClass::Untrusted,
        ),
    ] {
        let (path, aside) = (
            scratch.location().join(path),
            scratch.directory.path().join("x"),
        );
        fs::rename(&path, &aside).expect("moved");
        if let Some(planted) = planted {
            fs::write(&path, planted).expect("planted");
        }
        let error = deploy(&store, &release).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.class(), class, "{error}");
        assert_eq!(
            files_below(&scratch.location().join("deploy")),
            [] as [PathBuf; 0]
        );
        fs::rename(&aside, &path).expect("moved back");
    }

    let transaction = store.begin(&Silent).expect("a transaction");
    let request = Request {
        statement: &release.statement,
        mode: Mode::Integrity,
        origin: None,
        stateroot: None,
        etc: None,
        untouched: std::collections::BTreeSet::new(),
        now: 0,
    };
    let error = deploy::deploy(&transaction, &request, release.object_list().skip(1))
        .expect_err("an object is missing from the list");
    assert!(matches!(error, DeployError::OtherObjects { .. }), "{error}");
    drop(transaction);
    assert!(deploy(&store, &release).is_ok());
}

// Rules: D6
#[test]
fn a_store_without_verity_deploys_for_integrity_only() {
    let disk = MemoryDisk::new(false);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    assert_eq!(store.verity(), VeritySupport::None);
    let release = release(1, 0..1);
    release.build(&store).expect("built");
    for mode in [Mode::Sealed, Mode::Verity] {
        let error = release
            .deploy(&store, mode, &Silent)
            .expect_err("no fs-verity");
        assert_eq!(error.class(), ErrorClass::Unsupported);
        assert!(error.to_string().contains("was made without fs-verity"));
    }
    let deployed = release.deploy(&store, Mode::Integrity, &Silent);
    assert_eq!(deployed.expect("deployed").record.mode, Mode::Integrity);
}

// Rules: D5
#[test]
fn an_object_with_as_many_links_as_there_can_be_stays_shared() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let release = release(1, 0..3);
    built(&store, &release);
    let object = scratch.object(&release.objects[2].1);
    let links = scratch.directory.path().join("links");
    fs::create_dir(&links).expect("made");
    let full = (0..70_000).any(|n| fs::hard_link(&object, links.join(n.to_string())).is_err());
    if !full {
        sealroot_testkit::need::missing("a filesystem with a limit on hardlinks");
        return;
    }
    let warnings = Warnings::default();
    let deployed = release
        .deploy(&store, Mode::Integrity, &warnings)
        .expect("deployed");
    assert_eq!(deployed.record.unlinked, 1);
    assert_eq!(files_below(&directory(&scratch, &deployed)).len(), 2 + 1);
    let warnings = warnings.take();
    assert!(
        warnings[0].contains("1 objects have as many hardlinks"),
        "{warnings:?}"
    );
    assert!(deploy(&store, &release).expect("deployed").is_reused);
}

// Rules: D2
#[test]
fn an_object_replaced_after_it_was_measured_does_not_get_into_a_deployment() {
    let release = release(1, 0..3);
    let disk = MemoryDisk::new(true);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    release.build(&store).expect("built");
    let paths: Vec<_> = release
        .object_list()
        .map(|(d, _)| object_path(&d))
        .collect();

    // Whenever something is about to be linked, all objects have just become something else.
    let store = Store::open_on(disk.process_watched(move |operation, disk| {
        if operation == "link" {
            for path in &paths {
                disk.plant(path, b"evil");
            }
        }
    }));
    let store = store.expect("a store");
    let error = release
        .deploy(&store, Mode::Sealed, &Silent)
        .expect_err("the second object is not what it was");
    assert_eq!(error.class(), ErrorClass::Untrusted);
    let linked: Vec<_> = (disk.files().into_iter())
        .filter(|(path, _)| path.starts_with("/tmp/deployment/objects/"))
        .collect();
    assert_eq!(linked.len(), 1);
    let first = (release.objects.iter()).find(|(bytes, _)| *bytes == linked[0].1);
    assert!(first.is_some(), "it is the one that was measured");
}
