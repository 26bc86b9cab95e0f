// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is refused, and what the pre-flight says before anything is touched.

use std::fs;
use std::path::Path;

use sealroot::adopt::{AdoptError, FindingCode, Severity, Survey, survey};
use sealroot::import::{FoundStatement, ImportError};
use sealroot::monitor::Silent;
use sealroot::ostree::OstreeError;
use sealroot::store::VeritySupport;
use sealroot_format::digest::{CommitId, TreeDigest, VerityDigest};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified, Verified};

use crate::support::{Sysroot, THRESHOLD_BYTES, inodes};

fn look(sysroot: &Sysroot, location: &Path) -> Survey {
    let repository = sysroot.repository();
    survey(
        &repository,
        sysroot.commit,
        location,
        THRESHOLD_BYTES,
        &Silent,
    )
    .unwrap()
}

fn codes(survey: &Survey) -> Vec<FindingCode> {
    survey.findings.iter().map(|finding| finding.code).collect()
}

fn object(sysroot: &Sysroot, size: u64) -> std::path::PathBuf {
    let objects = sysroot.repository_path().join("objects");
    let mut all = fs::read_dir(objects)
        .unwrap()
        .flat_map(|d| fs::read_dir(d.unwrap().path()).unwrap());
    let found = all.find(|object| object.as_ref().unwrap().metadata().unwrap().len() == size);
    found.unwrap().unwrap().path()
}

#[test]
fn the_pre_flight_counts_and_touches_nothing() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let found = look(&sysroot, &sysroot.store_path());
    found.check().unwrap();
    // Three objects of one content count as often as OSTree has them.
    assert_eq!(found.cost.objects, 3 + 3 + 12);
    assert!(found.cost.pack_bytes > 4096 && found.cost.total_bytes() > found.cost.pack_bytes);
    assert!(found.available_bytes > 0);
    if found.verity == VeritySupport::None {
        assert!(codes(&found).contains(&FindingCode::NoVerity), "{found:?}");
        let text = &found.findings[0].text;
        assert!(text.contains("integrity"), "{text}");
    }
    assert!(!sysroot.store_path().exists());
    let adopted = sysroot.adopt(None).unwrap();
    assert!(
        adopted.pack.size_bytes <= found.cost.pack_bytes,
        "{found:?}"
    );
}

#[test]
fn the_pre_flight_names_what_stands_against_it() {
    let (Some(archive), Some(bare)) = (Sysroot::new("archive"), Sysroot::new("bare")) else {
        return;
    };
    let found = look(&archive, &archive.store_path());
    assert_eq!(found.findings[0].code, FindingCode::ArchiveMode);
    assert_eq!(found.findings[0].severity, Severity::Blocks);
    assert!(matches!(found.check(), Err(AdoptError::Blocked { .. })));
    // Another filesystem.
    let found = look(&bare, Path::new("/dev/shm/sealroot"));
    assert_eq!(found.findings[0].code, FindingCode::OtherFilesystem);
    // A file that is gone, then a commit that OSTree knows to be partial.
    fs::remove_file(object(&bare, 70_000)).unwrap();
    let found = look(&bare, &bare.store_path());
    assert_eq!(found.findings[0].code, FindingCode::MissingObjects);
    let marker = format!("state/{}.commitpartial", bare.commit);
    fs::write(bare.repository_path().join(marker), b"").unwrap();
    let found = look(&bare, &bare.store_path());
    assert_eq!(found.findings[0].code, FindingCode::PartialCommit);
    let error = bare.adopt(None).unwrap_err();
    let is_partial = matches!(error, AdoptError::Ostree(OstreeError::Partial { .. }));
    assert!(is_partial, "{error}");
}

#[test]
fn a_damaged_object_is_named_and_no_release_comes_of_it() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let right = Statement {
        commit: sysroot.commit,
        ..statement(&Sysroot::new("bare").unwrap())
    };
    let path = object(&sysroot, 300_000);
    let mut bytes = fs::read(&path).unwrap();
    bytes[150_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let unsigned = sysroot.adopt(None).unwrap_err();
    let inode = std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    assert!(!inodes(&sysroot.store_path()).contains_key(&inode));
    let signed = adopt_signed(&sysroot, &right).unwrap_err();
    for error in [unsigned, signed] {
        let text = error.to_string();
        assert!(text.contains("usr/sizes/300000"), "{text}");
    }
    let store = sysroot.store();
    let (commit, stream) = (right.commit, &right.stream);
    assert_eq!(store.read_statement(&commit, stream).unwrap(), None);
    assert!(store.open_pack(&right.pack_digest).is_err());
}

fn statement(sysroot: &Sysroot) -> Statement {
    let adopted = sysroot.adopt(None).unwrap();
    Statement {
        os: "exampleos".parse().unwrap(),
        variant: None,
        stream: "stable".parse().unwrap(),
        arch: "x86_64".parse().unwrap(),
        version: None,
        index: 1,
        epoch: 0,
        commit: sysroot.commit,
        tree_digest: adopted.tree_digest,
        pack_format: 1,
        pack_digest: adopted.pack.digest,
        pack_size_bytes: adopted.pack.size_bytes,
        entries: adopted.pack.entries,
        objects: adopted.pack.objects,
        object_bytes: adopted.pack.object_bytes,
        threshold_bytes: THRESHOLD_BYTES,
        kernel: None,
        created: 0,
    }
}

fn signed(statement: &Statement) -> (Unverified<Statement>, Verified<Statement>) {
    let key = SecretKey::from_seed(&[1; 32]).unwrap();
    let role = || RoleKeys::new(1, [key.public().id()]);
    let keyset = Keyset::new(1, [role(), role(), role()], [*key.public()]).unwrap();
    let mut document = Unverified::unsigned(&keyset).unwrap();
    let signature = key.sign(document.message());
    document.add(key.public(), signature).unwrap();
    let keyset = document.verify_first().unwrap();
    let mut document = Unverified::unsigned(statement).unwrap();
    let signature = key.sign(document.message());
    document.add(key.public(), signature).unwrap();
    let verified = document.verify(&keyset).unwrap();
    (document, verified)
}

fn adopt_signed(sysroot: &Sysroot, statement: &Statement) -> Result<(), AdoptError> {
    let (document, statement) = signed(statement);
    let found = FoundStatement {
        statement,
        document,
    };
    sysroot.adopt(Some(&found)).map(drop)
}

#[test]
fn a_statement_of_something_else_is_refused_and_the_right_one_is_kept() {
    let Some(sysroot) = Sysroot::new("bare") else {
        return;
    };
    let right = statement(&sysroot);
    let other_commit = Statement {
        commit: CommitId::from_bytes([1; 32]),
        ..right.clone()
    };
    let error = adopt_signed(&sysroot, &other_commit).unwrap_err();
    assert!(matches!(error, AdoptError::OtherCommit { .. }), "{error}");
    let other_pack = Statement {
        pack_digest: VerityDigest::from_bytes([1; 32]),
        ..right.clone()
    };
    let error = adopt_signed(&sysroot, &other_pack).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, AdoptError::OtherPack { .. }) && text.contains("pack-digest"),
        "{text}"
    );
    let other_tree = Statement {
        tree_digest: TreeDigest::from_bytes([1; 32]),
        ..right.clone()
    };
    let error = adopt_signed(&sysroot, &other_tree).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, AdoptError::OtherPack { .. }) && text.contains("tree-digest"),
        "{text}"
    );
    let store = sysroot.store();
    assert!(store.list_statements().unwrap().is_empty());
    adopt_signed(&sysroot, &right).unwrap();
    adopt_signed(&sysroot, &right).unwrap();
    assert_eq!(store.list_statements().unwrap().len(), 1);
    let changed = Statement { index: 2, ..right };
    let error = adopt_signed(&sysroot, &changed).unwrap_err();
    assert!(
        matches!(error, AdoptError::Import(ImportError::OtherRelease { .. })),
        "{error}"
    );
}
