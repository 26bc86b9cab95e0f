// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole-store check finds each kind of damage, says where, and goes on.

use std::fs;
use std::os::unix::fs::symlink;

use sealroot::check::{Depth, FindingCode, Report, Severity, check};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreIo as _, VeritySupport, object_path, pack_path, statement_path};
use sealroot_format::policy::Mode;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};

use crate::support::{Release, Scratch, content, replace, stream};

fn filled(scratch: &Scratch) -> (Store, Release) {
    let store = scratch.store();
    let release = Release::new(1, (0..4).map(|i| content(i, 5000)).collect());
    release.build(&store).expect("built");
    release
        .deploy(&store, Mode::Integrity, &Silent)
        .expect("deployed");
    (store, release)
}

fn full(store: &Store) -> Report {
    check(store, Depth::Full, &Silent).expect("checked")
}

// Rules: K1
#[test]
fn a_good_store_has_nothing_to_find() {
    let scratch = Scratch::new();
    let (store, release) = filled(&scratch);
    let report = full(&store);
    assert_eq!(report.findings, []);
    assert_eq!(report.worst(), None);
    let counts = (
        report.objects,
        report.packs,
        report.statements,
        report.deployments,
    );
    assert_eq!(counts, (4, 1, 1, 1));
    // Each object once, though the deployment has them as well.
    let pack_bytes = release.pack.0.len() as u64;
    assert_eq!(report.hashed_bytes, 4 * 5000 + pack_bytes);
    let quick = check(&store, Depth::Quick, &Silent).expect("checked");
    let hashed_bytes = match store.verity() {
        VeritySupport::Kernel => 0,
        VeritySupport::None => pack_bytes,
    };
    assert_eq!((quick.findings, quick.hashed_bytes), (vec![], hashed_bytes));
}

// Rules: K1, N1
#[test]
fn every_kind_of_damage_is_found_where_it_is() {
    let scratch = Scratch::new();
    let (store, release) = filled(&scratch);
    let at = |path: &str| scratch.location().join(path);
    let object = |i: usize| object_path(&release.objects[i].1).to_string();
    let deployment = format!("deploy/{}.0", release.commit());
    let linked = format!("{deployment}/{}", object(3));
    let sign = statement_path(&release.commit(), &stream()).to_string();
    let foreign_sign = sign.replace("stable", "other");
    let ghost = format!("deploy/{}.7", release.commit());
    let pack = pack_path(&release.pack.1).to_string();

    replace(&at(&object(0)), &[1; 5000]);
    fs::remove_file(at(&object(1))).expect("removed");
    symlink("/etc/passwd", at(&object(1))).expect("planted");
    replace(&at(&object(2)), b"");
    fs::remove_file(at(&linked)).expect("removed");
    fs::remove_file(at(&pack)).expect("removed");
    fs::write(at(&foreign_sign), &release.file).expect("planted");
    fs::create_dir(at(&ghost)).expect("planted");
    fs::remove_dir(at("trash")).expect("removed");
    fs::write(at("notes.txt"), "").expect("planted");
    fs::write(at("objects/readme"), "").expect("planted");
    fs::write(at("pack/readme"), "").expect("planted");
    fs::write(at("deploy/current"), "").expect("planted");
    fs::write(at(&format!("{deployment}/evil")), "").expect("planted");
    fs::create_dir(at(&format!("{deployment}/etc"))).expect("made");
    fs::write(at("tmp/left"), "").expect("planted");

    let found: Vec<_> = full(&store)
        .findings
        .into_iter()
        .map(|finding| (finding.path.to_string(), finding.code))
        .collect();
    let not_ours = match store.verity() {
        VeritySupport::Kernel => FindingCode::NoVerity,
        VeritySupport::None => FindingCode::WrongDigest,
    };
    let mut expected = vec![
        (object(0), not_ours),
        (object(1), FindingCode::NotRegular),
        (object(2), not_ours),
        (deployment.clone(), FindingCode::WrongObjectCount),
        (deployment.clone(), FindingCode::MissingPack),
        (format!("{deployment}/evil"), FindingCode::Stray),
        (sign, FindingCode::MissingPack),
        (foreign_sign, FindingCode::BadStatement),
        (ghost, FindingCode::BadRecord),
        ("trash".into(), FindingCode::MissingDirectory),
        ("trash".into(), FindingCode::Unreadable),
        ("notes.txt".into(), FindingCode::Stray),
        ("objects/readme".into(), FindingCode::Stray),
        ("pack/readme".into(), FindingCode::Stray),
        ("deploy/current".into(), FindingCode::Stray),
        ("tmp/left".into(), FindingCode::Leftover),
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_packs_and_statements_say_must_be_there_and_fit() {
    for (has_verity, depth) in [
        (false, Depth::Quick),
        (false, Depth::Full),
        (true, Depth::Quick),
        (true, Depth::Full),
    ] {
        let disk = MemoryDisk::new(has_verity);
        let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
        let release = Release::new(1, (0..3).map(|i| content(i, 5000)).collect());
        release.build(&store).expect("built");
        let found = |disk: &MemoryDisk| -> Vec<_> {
            let store = Store::open_on(disk.process(Trouble::None)).expect("a store");
            let report = check(&store, depth, &Silent).expect("checked");
            let findings = report.findings.into_iter();
            findings.map(|f| (f.path.to_string(), f.code)).collect()
        };
        assert_eq!(found(&disk), []);

        let object = object_path(&release.objects[0].1);
        let changed = disk.copy();
        let io = changed.process(Trouble::None);
        io.remove_file(&object).expect("removed");
        let expected = (object.to_string(), FindingCode::MissingObject);
        assert_eq!(found(&changed), [expected]);

        let wrong = if has_verity {
            FindingCode::NoVerity
        } else {
            FindingCode::WrongDigest
        };
        if !has_verity {
            let changed = disk.copy();
            changed.plant(&object, &release.objects[0].0[..4999]);
            assert_eq!(found(&changed), [(object.to_string(), wrong)]);
        }
        let pack = pack_path(&release.pack.1);
        let changed = disk.copy();
        changed.plant(&pack, &release.pack.0[..2000]);
        assert_eq!(found(&changed), [(pack.to_string(), wrong)]);

        let sign = statement_path(&release.commit(), &stream());
        let size = format!("pack-size {}", release.pack.0.len());
        let file = release.file.replace(&size, "pack-size 5000");
        let changed = disk.copy();
        changed.plant(&sign, file.as_bytes());
        let expected = (sign.to_string(), FindingCode::BadStatement);
        assert_eq!(found(&changed), [expected]);
    }
}

#[test]
fn the_statement_of_a_deployment_must_be_there() {
    let scratch = Scratch::new();
    let (store, release) = filled(&scratch);
    let sign = statement_path(&release.commit(), &stream()).to_string();
    fs::remove_file(scratch.location().join(&sign)).expect("removed");
    for depth in [Depth::Quick, Depth::Full] {
        let found = check(&store, depth, &Silent).expect("checked").findings;
        let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [FindingCode::MissingStatement], "{found:?}");
        assert!(found[0].detail.contains(&sign), "{found:?}");
    }
}

#[test]
fn a_pack_that_is_none_is_found() {
    let disk = MemoryDisk::new(true);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    let release = Release::with_pack(1, content(9, 9000), vec![content(1, 5000)]);
    release.build(&store).expect("built");
    let report = check(&store, Depth::Quick, &Silent).expect("checked");
    let codes: Vec<_> = report.findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, [FindingCode::BadPack]);
}

#[test]
fn what_a_quick_check_cannot_see_without_verity_a_full_one_does() {
    let disk = MemoryDisk::new(false);
    let store = Store::open_or_create_on(disk.process(Trouble::None)).expect("a store");
    let release = Release::new(1, vec![content(1, 5000)]);
    release.build(&store).expect("built");
    disk.plant(&object_path(&release.objects[0].1), &[1; 5000]);
    let quick = check(&store, Depth::Quick, &Silent).expect("checked");
    assert_eq!(quick.worst(), None);
    let full = check(&store, Depth::Full, &Silent).expect("checked");
    assert_eq!(full.worst(), Some(Severity::Damage));
    let detail = &full.findings[0].detail;
    assert!(detail.contains("has the fs-verity digest"), "{detail}");
}

// Rules: K2
#[test]
fn codes_are_distinct_and_documented() {
    let document = include_str!("../../../../docs/format/store.md");
    let mut words: Vec<_> = FindingCode::ALL.iter().map(|code| code.as_str()).collect();
    for word in &words {
        assert!(document.contains(&format!("| `{word}` |")), "{word}");
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), FindingCode::ALL.len());
}
