// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever fails, and wherever the power goes: the old is there, the new is there whole or not
//! at all, and doing it again ends in the same store.
//!
//! Each scenario runs on a filesystem in memory that knows what is durable. It is stopped at
//! every single operation; what is found then, in several orders of write-back, is judged and the
//! scenario done again.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use sealroot::check::{self, Depth, FindingCode, Severity};
use sealroot::deploy::{self, DeployError};
use sealroot::monitor::Silent;
use sealroot::object::ObjectContent;
use sealroot::store::{Store, Taken, VeritySupport, object_path};
use sealroot_format::policy::Mode;
use sealroot_sys::verity::EnableVerityError;
use sealroot_testkit::memory_io::{Calls, MemoryDisk, MemoryIo, MemoryKeyring, Trouble, WriteBack};

use crate::support::{Content, Release, content, files_of, stream};

/// Arbitrary write-back orders per crash, where every operation is tried.
const ARBITRARY_ORDERS: u64 = 24;

/// The release that is in the store before, if any, and the one that is being added.
struct Scenario {
    old: Option<Release>,
    new: Release,
    before: MemoryDisk,
    /// The files when nothing goes wrong.
    after: BTreeMap<String, Vec<u8>>,
    /// What the damage that the scenario starts with becomes.
    allowed: Option<FindingCode>,
    calls: Calls,
}

fn build_and_deploy(io: MemoryIo, release: &Release) -> Result<(), DeployError> {
    let store = Store::open_or_create_on(io)?;
    release.build(&store)?;
    let mode = match store.verity() {
        VeritySupport::Kernel => Mode::Sealed,
        VeritySupport::None => Mode::Integrity,
    };
    release.deploy(&store, mode, &Silent)?;
    Ok(())
}

fn objects(seeds: std::ops::Range<u8>) -> Vec<(Vec<u8>, sealroot_format::digest::VerityDigest)> {
    seeds.map(|seed| content(seed, 5000)).collect()
}

impl Scenario {
    /// A first release, in a directory that is no store yet.
    fn first(has_verity: bool) -> Self {
        Self::new(
            MemoryDisk::new(has_verity),
            None,
            Release::new(2, objects(0..3)),
        )
    }

    /// A second release that shares objects with the first.
    fn second(has_verity: bool) -> Self {
        let old = Release::new(1, objects(0..3));
        let disk = MemoryDisk::new(has_verity);
        build_and_deploy(disk.process(Trouble::None), &old).expect("the old release");
        Self::new(
            disk.crash(WriteBack::Nothing),
            Some(old),
            Release::new(2, objects(1..5)),
        )
    }

    /// A second release, with an image.
    fn with_image(has_verity: bool) -> Self {
        let mut scenario = Self::second(has_verity);
        scenario.new.image = Some(content(77, 9000));
        Self::new(scenario.before, scenario.old, scenario.new)
    }

    /// A first release whose objects have signatures that the kernel verifies.
    fn signed(has_verity: bool) -> Self {
        let disk = MemoryDisk::new(has_verity);
        disk.set_keyring(MemoryKeyring {
            has_certificate: true,
            requires_signatures: false,
        });
        let mut release = Release::new(2, objects(0..3));
        release.is_signed = true;
        Self::new(disk, None, release)
    }

    /// Many small objects: more than are synced one by one.
    fn many(has_verity: bool) -> Self {
        let release = Release::new(2, objects(10..30));
        Self::new(MemoryDisk::new(has_verity), None, release)
    }

    /// A second release, and an object of it is there with wrong content.
    fn over_damage(has_verity: bool) -> Self {
        let mut scenario = Self::second(has_verity);
        let disk = scenario.before.copy();
        let path = object_path(&scenario.new.objects[3].1);
        disk.plant(&path, b"wrong");
        scenario.before = disk;
        let mut scenario = Self::new(scenario.before, scenario.old, scenario.new);
        scenario.allowed = Some(if has_verity {
            FindingCode::NoVerity
        } else {
            FindingCode::WrongDigest
        });
        scenario
    }

    fn new(before: MemoryDisk, old: Option<Release>, new: Release) -> Self {
        let disk = before.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        build_and_deploy(io, &new).expect("nothing goes wrong");
        let calls = calls.get();
        Self {
            old,
            new,
            before,
            after: files_of(&disk),
            allowed: None,
            calls,
        }
    }

    fn all() -> impl Iterator<Item = (&'static str, Self)> {
        [true, false].into_iter().flat_map(|has_verity| {
            [
                ("first", Self::first(has_verity)),
                ("second", Self::second(has_verity)),
                ("over damage", Self::over_damage(has_verity)),
                ("with an image", Self::with_image(has_verity)),
                ("signed", Self::signed(has_verity)),
            ]
        })
    }

    /// What must hold whenever somebody looks.
    fn judge(&self, disk: &MemoryDisk, when: &str) {
        let store = match Store::open_on(disk.process(Trouble::None)) {
            Ok(store) => store,
            Err(error) => {
                assert!(self.old.is_none(), "{when}: {error}");
                return;
            }
        };
        let report = check::check(&store, Depth::Full, &Silent).expect("checked");
        for finding in &report.findings {
            let is_allowed =
                finding.code.severity() == Severity::Leftover || Some(finding.code) == self.allowed;
            assert!(is_allowed, "{when}: {finding:?}");
        }
        if let Some(old) = &self.old {
            assert!(is_stated(&store, old), "{when}: the old statement is gone");
            let deployments = deploy::deployments(&store).expect("listed");
            let of_old = deployments.iter().find(|d| d.name.commit == old.commit());
            assert!(
                of_old.is_some_and(|d| d.record.is_ok()),
                "{when}: the old deployment"
            );
            assert_whole(&store, old, when);
        }
        if is_stated(&store, &self.new) {
            assert_whole(&store, &self.new, when);
        }
    }

    /// Doing it again ends in the same store, durable.
    fn converges(&self, disk: &MemoryDisk, when: &str) {
        build_and_deploy(disk.process(Trouble::None), &self.new)
            .unwrap_or_else(|error| panic!("{when}: {error:?}"));
        self.is_done(disk, when);
    }

    /// It is done, and no power cut can undo it.
    fn is_done(&self, disk: &MemoryDisk, when: &str) {
        for order in [WriteBack::Nothing, WriteBack::NamesOverZeros] {
            let found = files_of(&disk.crash(order));
            let names = |files: &BTreeMap<String, _>| files.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&found), names(&self.after), "{when}, {order:?}");
            assert!(found == self.after, "{when}, {order:?}: other content");
        }
        if self.new.is_signed && disk.has_verity() {
            for (_, digest) in &self.new.objects {
                let found = disk.crash(WriteBack::Nothing);
                assert!(found.is_signed(&object_path(digest)), "{when}: not signed");
            }
        }
    }
}

/// Whether a statement is there; it must be the whole one.
fn is_stated(store: &Store<MemoryIo>, release: &Release) -> bool {
    let file = store
        .read_statement(&release.commit(), &stream())
        .expect("read");
    if let Some(file) = &file {
        assert_eq!(file, release.file.as_bytes(), "half a statement");
    }
    file.is_some()
}

/// A statement is there: so must be what it names.
fn assert_whole(store: &Store<MemoryIo>, release: &Release, when: &str) {
    store
        .open_pack(&release.pack.1)
        .unwrap_or_else(|error| panic!("{when}: {error}"));
    for (bytes, digest) in &release.objects {
        let object = store.open_object(digest, bytes.len() as u64);
        object.unwrap_or_else(|error| panic!("{when}: {error}"));
    }
    if let Some(name) = release.image_name() {
        let image = store.open_image(&name);
        image.unwrap_or_else(|error| panic!("{when}: {error}"));
    }
}

// Rules: L2, L4, C4, D2
#[test]
fn a_power_cut_at_any_operation_loses_nothing_and_leaves_nothing_half() {
    let mut crashes = 0;
    for (name, scenario) in Scenario::all() {
        for at in 0..=scenario.calls.changes {
            let disk = scenario.before.copy();
            let trouble = Trouble::KilledAtChange { at };
            let result = build_and_deploy(disk.process(trouble), &scenario.new);
            assert_eq!(
                result.is_ok(),
                at >= scenario.calls.changes,
                "{name} at {at}"
            );
            for order in WriteBack::orders(ARBITRARY_ORDERS) {
                let when = format!("{name}, power cut at {at}, {order:?}");
                let found = disk.crash(order);
                scenario.judge(&found, &when);
                scenario.converges(&found, &when);
                crashes += 1;
            }
        }
    }
    eprintln!("{crashes} power cuts, 0 losses");
    assert!(crashes > 5000);
}

// Rules: L3
#[test]
fn a_process_that_dies_on_a_running_machine_leaves_nothing_that_a_power_cut_can_take() {
    for (name, scenario) in Scenario::all() {
        for at in 0..scenario.calls.changes {
            let disk = scenario.before.copy();
            let trouble = Trouble::KilledAtChange { at };
            build_and_deploy(disk.process(trouble), &scenario.new).expect_err("killed");
            let when = format!("{name}, killed at {at}");
            scenario.judge(&disk, &when);
            scenario.converges(&disk, &when);
        }
    }
}

#[test]
fn a_power_cut_in_the_recovery_from_a_power_cut_is_no_different() {
    let mut crashes = 0;
    for scenario in [Scenario::second(true), Scenario::second(false)] {
        for at in 0..scenario.calls.changes {
            let disk = scenario.before.copy();
            let trouble = Trouble::KilledAtChange { at };
            build_and_deploy(disk.process(trouble), &scenario.new).expect_err("killed");
            for order in [
                WriteBack::Nothing,
                WriteBack::Everything,
                WriteBack::Some(at as u64),
            ] {
                let found = disk.crash(order);
                crashes += crash_again(&scenario, &found, &format!("cut at {at}, {order:?}"));
            }
        }
    }
    eprintln!("{crashes} power cuts in recoveries, 0 losses");
    assert!(crashes > 5_000);
}

fn crash_again(scenario: &Scenario, disk: &MemoryDisk, when: &str) -> usize {
    let mut crashes = 0;
    for again in 0.. {
        let disk = disk.copy();
        let trouble = Trouble::KilledAtChange { at: again };
        if build_and_deploy(disk.process(trouble), &scenario.new).is_ok() {
            break;
        }
        let orders: Vec<_> = WriteBack::orders(ARBITRARY_ORDERS).collect();
        let order = orders[again * 7 % orders.len()];
        let when = format!("{when}, then at {again}, {order:?}");
        let found = disk.crash(order);
        scenario.judge(&found, &when);
        scenario.converges(&found, &when);
        crashes += 1;
    }
    crashes
}

// Rules: L5, O6
#[test]
fn an_operation_that_fails_stops_everything_and_leaves_nothing_half() {
    const ERRNOS: [Errno; 8] = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::IO,
        Errno::INTR,
        Errno::MFILE,
        Errno::ACCESS,
        Errno::ROFS,
        Errno::NOMEM,
    ];
    let mut faults = 0;
    for (name, scenario) in Scenario::all() {
        for at in 0..scenario.calls.all {
            for errno in ERRNOS {
                let troubles = [
                    Trouble::FailsOnce { at, errno },
                    Trouble::FailsFrom { at, errno },
                ];
                for trouble in troubles {
                    let when = format!("{name}, {trouble:?}");
                    let disk = scenario.before.copy();
                    let result = build_and_deploy(disk.process(trouble), &scenario.new);
                    scenario.judge(&disk, &when);
                    match result {
                        Ok(()) => scenario.is_done(&disk, &when),
                        Err(error) => assert_says_why(&error, trouble, &when),
                    }
                    scenario.converges(&disk, &when);
                    faults += 1;
                }
            }
        }
    }
    eprintln!("{faults} faults, 0 losses");
    assert!(faults > 5000);
}

/// An error names the file and, somewhere among its causes, the reason.
fn assert_says_why(error: &DeployError, trouble: Trouble, when: &str) {
    let (errno, is_once) = match trouble {
        Trouble::FailsOnce { errno, .. } => (errno, true),
        Trouble::FailsFrom { errno, .. } => (errno, false),
        _ => unreachable!("{when}"),
    };
    assert!(
        !(is_once && errno == Errno::INTR),
        "{when}: an interruption is no failure"
    );
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains("/memory"), "{when}: {text}");
    let reasons = [
        std::io::Error::from(errno).to_string(),
        EnableVerityError::from(errno).to_string(),
    ];
    assert!(
        reasons.iter().any(|reason| text.contains(reason)),
        "{when}: {text}"
    );
    if errno == Errno::NOSPC && text.contains("cannot write") {
        assert!(text.contains("needed"), "{when}: {text}");
    }
}

// Rules: L6
#[test]
fn what_gets_fs_verity_has_a_name_in_tmp_until_it_has_its_own() {
    let disk = MemoryDisk::new(true);
    let sealed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sealed);
    let io = disk.process_watched(move |operation, disk| {
        if operation == "enable_verity" {
            seen.lock().expect("whole").push(in_tmp(disk));
        }
    });
    let store = Store::open_or_create_on(io).expect("a store");
    let had_name = |(bytes, _): &Content| {
        let sealed = sealed.lock().expect("whole");
        sealed.last().expect("enabled").contains(bytes)
    };
    assert_eq!(
        sealed
            .lock()
            .expect("whole")
            .pop()
            .expect("the probe")
            .len(),
        1
    );
    assert_eq!(in_tmp(&disk), Vec::<Vec<u8>>::new());

    let [object, unknown, pack, foreign, wrong] = [1, 2, 3, 4, 5].map(|seed| content(seed, 5000));
    let transaction = store.begin(&Silent).expect("begun");
    let hashed = ObjectContent::Hashed(&object.0);
    let added = transaction.add_object(&object.1, 5000, hashed);
    added.expect("added");
    assert!(had_name(&object));
    for _ in 0..2 {
        let added = transaction.add_unknown(5000, |out| out.write_all(&unknown.0));
        assert_eq!(added.expect("added"), unknown.1);
        assert!(had_name(&unknown));
    }
    let claimed = content(6, 5000).1;
    let refused = transaction.add_foreign_object(&claimed, 5000, &mut &wrong.0[..]);
    refused.expect_err("another digest");
    assert!(had_name(&wrong));
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&foreign.0).expect("written");
    let taken = transaction.take_object(&foreign.1, 5000, file.as_file().as_fd());
    assert_eq!(taken.expect("taken"), Taken::Linked);
    assert!(had_name(&foreign));
    // Those that are to get their own names, once each.
    assert_eq!(in_tmp(&disk), [object.0, unknown.0]);
    let added = transaction.add_pack(&pack.1, 5000, |out| out.write_all(&pack.0));
    added.expect("added");
    assert!(had_name(&pack));
    transaction.finish().expect("finished");
    assert_eq!(in_tmp(&disk), Vec::<Vec<u8>>::new());
}

/// The content of what has a name in `tmp/`.
fn in_tmp(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let files = disk.files().into_iter();
    files
        .filter_map(|(path, bytes)| path.starts_with("/tmp/").then_some(bytes))
        .collect()
}

#[test]
fn each_step_that_succeeded_is_durable() {
    for has_verity in [true, false] {
        let release = Release::new(2, objects(0..3));
        let disk = MemoryDisk::new(has_verity);
        let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("made");
        let found = || {
            let disk = disk.crash(WriteBack::Nothing);
            Store::open_on(disk.process(Trouble::None)).expect("a store")
        };
        assert_eq!(found().verity(), store.verity());

        release.build(&store).expect("built");
        assert!(is_stated(&found(), &release));
        assert_whole(&found(), &release, "built");

        let deployed = release
            .deploy(&store, Mode::Integrity, &Silent)
            .expect("deployed");
        let record = deploy::read_record(&found(), deployed.name).expect("a record");
        assert_eq!(record, deployed.record);
    }
}

// Rules: O4, D4
#[test]
fn the_same_release_again_changes_nothing_and_reads_no_content() {
    for scenario in [
        Scenario::first(true),
        Scenario::first(false),
        Scenario::many(true),
    ] {
        let disk = scenario.before.copy();
        build_and_deploy(disk.process(Trouble::None), &scenario.new).expect("first");
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        build_and_deploy(io, &scenario.new).expect("again");
        let calls = calls.get();
        let locks = calls.of("try_lock");
        assert_eq!((calls.changes, locks), (2, 2), "{calls:?}");
        // store.toml, the statement twice and the record.
        assert_eq!(calls.of("read_at"), 4, "{calls:?}");
        assert_eq!(files_of(&disk), scenario.after);
    }
}

#[test]
fn the_number_of_syncs_does_not_grow_with_the_number_of_objects() {
    let syncs = |calls: &Calls| {
        let names = ["sync_file", "sync_directory", "sync_filesystem"];
        names.map(|name| calls.of(name)).iter().sum::<usize>()
    };
    let few = Scenario::first(true);
    let many = Scenario::many(true);
    assert_eq!(many.new.objects.len(), 20);
    assert!(syncs(&many.calls) < syncs(&few.calls), "{:?}", many.calls);
    assert!(syncs(&many.calls) <= 10, "{:?}", many.calls);
}
