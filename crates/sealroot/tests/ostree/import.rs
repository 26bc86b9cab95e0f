// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way of a vendor that has an OSTree remote and nothing else, and of its client: built,
//! signed and published on one side, pulled by `ostree` and rebuilt on the other.

use std::fs;
use std::path::{Path, PathBuf};

use sealroot::build::{self, Origin};
use sealroot::import::{ImportError, Imported, Outcome, RefusedStatement, import};
use sealroot::monitor::Silent;
use sealroot::ostree::{ObjectError, OstreeError, Repository, StatementPlace};
use sealroot::release;
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, RoleKeys, Statement, Unverified, Verified};
use tempfile::TempDir;

use crate::repositories::{make_everything, ostree};

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32]).unwrap()
}

/// A keyset in which these keys sign releases, as many of them as said.
fn keyset(threshold: usize, keys: &[u8]) -> Verified<Keyset> {
    let ids: Vec<_> = keys
        .iter()
        .map(|number| key(*number).public().id())
        .collect();
    let roles = [1, threshold, 1].map(|threshold| RoleKeys::new(threshold, ids.clone()));
    let publics = keys.iter().map(|number| *key(*number).public());
    let keyset = Keyset::new(1, roles, publics).unwrap();
    let mut document = Unverified::unsigned(&keyset).unwrap();
    let signature = key(keys[0]).sign(document.message());
    document.add(key(keys[0]).public(), signature).unwrap();
    document.verify_first().unwrap()
}

fn sign(statement: &Statement, keys: &[u8]) -> Unverified<Statement> {
    let mut document = Unverified::unsigned(statement).unwrap();
    for number in keys {
        let key = key(*number);
        document
            .add(key.public(), key.sign(document.message()))
            .unwrap();
    }
    document
}

/// A vendor's archive with a commit that was built, and what the client has.
struct Way {
    directory: TempDir,
    statement: Statement,
}

impl Way {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn new() -> Option<Self> {
        if sealroot_testkit::need::tool("ostree").is_none() || !sealroot_testkit::need::root() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        fs::create_dir(&source).unwrap();
        make_everything(&source);
        let vendor = directory.path().join("vendor");
        ostree(&vendor, &["init", "--mode=archive"]);
        ostree(&vendor, &["config", "set", "core.fsync", "false"]);
        let tree = format!("--tree=dir={}", source.display());
        ostree(&vendor, &["commit", "--branch=main", &tree]);
        let store = Store::open_or_create(&directory.path().join("vendor-store")).unwrap();
        let origin = Origin::Ostree {
            repository: &vendor,
            rev: "main",
        };
        let name = |text: &str| text.parse().unwrap();
        let release = build::Release {
            os: name("exampleos"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            version: None,
            index: 1,
            epoch: 0,
            kernel: None,
            created: 1_700_000_000,
            threshold_bytes: 4096,
        };
        let built = build::build(&store, origin, &release, &Silent).unwrap();
        Some(Self {
            directory,
            statement: built.statement,
        })
    }

    fn commit(&self) -> CommitId {
        self.statement.commit
    }

    fn publish(&self, document: &Unverified<Statement>) {
        let repository = Repository::open(&self.path("vendor")).unwrap();
        let stream = &Statement::parse(document.body()).unwrap().stream;
        repository
            .publish(self.commit(), stream, document, &Silent)
            .unwrap();
    }

    /// Pulls into a repository of this mode.
    fn pull(&self, mode: &str) -> PathBuf {
        let path = self.path(mode);
        if !path.exists() {
            ostree(&path, &["init", "--mode", mode]);
            ostree(&path, &["config", "set", "core.fsync", "false"]);
            let url = format!("file://{}", self.path("vendor").display());
            ostree(&path, &["remote", "add", "--no-gpg-verify", "vendor", &url]);
        }
        ostree(&path, &["pull", "vendor", "main"]);
        path
    }

    fn store(&self) -> Store {
        Store::open_or_create(&self.path("store")).unwrap()
    }

    fn import(
        &self,
        repository: &Path,
        keyset: &Verified<Keyset>,
    ) -> Result<Imported, ImportError> {
        let repository = Repository::open(repository).unwrap();
        let rev = if repository.path().ends_with("vendor") {
            "main"
        } else {
            "vendor:main"
        };
        import(&self.store(), &repository, rev, None, keyset, &Silent)
    }

    /// Nothing of a release is in the client's store.
    #[track_caller]
    fn assert_nothing(&self) {
        let store = self.store();
        assert!(store.list_packs().unwrap().is_empty());
        assert!(store.list_statements().unwrap().is_empty());
        assert!(
            fs::read_dir(self.path("store/tmp"))
                .unwrap()
                .next()
                .is_none()
        );
    }
}

#[test]
fn a_pulled_commit_and_its_statement_are_a_release() {
    let Some(way) = Way::new() else {
        return;
    };
    let trusted = keyset(1, &[1, 2]);
    way.publish(&sign(&way.statement, &[1]));
    for mode in ["bare", "bare-user", "archive"] {
        let repository = way.pull(mode);
        let imported = way.import(&repository, &trusted).unwrap();
        let expected = mode == "bare";
        assert!(matches!(imported.outcome, Outcome::Complete { is_new } if is_new == expected));
        assert_eq!(*imported.statement, way.statement);
        assert_eq!(imported.objects.added_objects > 0, expected);
    }
    let store = way.store();
    let verified = release::verify_statement(&store, &trusted, way.commit(), None).unwrap();
    let tree = release::check_pack(&store, &verified).unwrap();
    let check = release::ObjectCheck::Hashed;
    let verdict = release::verify_objects(&store, &tree, check, &Silent).unwrap();
    assert!(verdict.findings.is_empty());

    // Another signer: the statement in the store gets the signature too.
    way.publish(&sign(&way.statement, &[2]));
    let repository = way.pull("bare");
    let imported = way.import(&repository, &trusted).unwrap();
    assert!(matches!(
        imported.outcome,
        Outcome::Complete { is_new: true }
    ));
    let (_, document) = release::read_statement(&store, way.commit(), None).unwrap();
    assert_eq!(document, sign(&way.statement, &[1, 2]));
}

#[test]
fn a_pack_that_differs_is_a_finding_and_not_half_done() {
    let Some(way) = Way::new() else {
        return;
    };
    let repository = way.path("vendor");
    let trusted = keyset(1, &[1]);
    let differs = |statement: Statement, expected: &[&str]| {
        way.publish(&sign(&statement, &[1]));
        match way.import(&repository, &trusted).unwrap().outcome {
            Outcome::Differs(found) => {
                let found: Vec<&str> = found.iter().map(|found| found.what).collect();
                assert_eq!(found, expected);
            }
            other @ Outcome::Complete { .. } => panic!("{other:?}"),
        }
        way.assert_nothing();
    };
    let base = || way.statement.clone();
    differs(
        Statement {
            pack_format: 2,
            ..base()
        },
        &["pack-format"],
    );
    differs(
        Statement {
            threshold_bytes: u32::MAX,
            ..base()
        },
        &["threshold"],
    );
    differs(
        Statement {
            threshold_bytes: 64,
            ..base()
        },
        &["pack-digest", "pack-size", "objects", "object-bytes"],
    );
    differs(
        Statement {
            entries: 1,
            ..base()
        },
        &["entries"],
    );
    // The objects that were rebuilt are there, and need not come again.
    way.publish(&sign(&way.statement, &[1]));
    let imported = way.import(&repository, &trusted).unwrap();
    assert!(matches!(
        imported.outcome,
        Outcome::Complete { is_new: true }
    ));
    assert_eq!(imported.objects.added_objects, 0);
}

#[test]
fn without_a_statement_or_enough_signatures_nothing_is_imported() {
    let Some(way) = Way::new() else {
        return;
    };
    let repository = way.pull("bare-user");
    let error = way.import(&repository, &keyset(1, &[1])).unwrap_err();
    assert!(
        matches!(error, ImportError::NoStatement { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.to_string().contains("`ostree pull`"), "{error}");
    way.publish(&sign(&way.statement, &[1]));
    way.pull("bare-user");
    for trusted in [keyset(1, &[2]), keyset(2, &[1, 2])] {
        let error = way.import(&repository, &trusted).unwrap_err();
        assert!(matches!(error, ImportError::Refused { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
    way.assert_nothing();
}

// Rules: R4
#[test]
fn a_bad_statement_in_one_place_does_not_hide_a_good_one_in_another() {
    let Some(way) = Way::new() else {
        return;
    };
    let trusted = keyset(1, &[1]);
    way.publish(&sign(&way.statement, &[1]));
    let vendor = way.path("vendor");
    let hex = way.commit().to_hex();
    let metadata = vendor.join(format!("objects/{}/{}.commitmeta", &hex[..2], &hex[2..]));
    let file = vendor.join(format!("sealroot/{hex}.stable.sign"));
    let (good_metadata, good_file) = (fs::read(&metadata).unwrap(), fs::read(&file).unwrap());
    let imports = || {
        let imported = way.import(&vendor, &trusted).unwrap();
        assert!(matches!(imported.outcome, Outcome::Complete { .. }));
    };
    fs::write(&metadata, b"no variant").unwrap();
    imports();
    fs::write(&metadata, &good_metadata).unwrap();
    for bad in [
        b"nothing".to_vec(),
        sign(&way.statement, &[2]).to_string().into_bytes(),
        vec![b'\n'; 1 << 20],
    ] {
        fs::write(&file, bad).unwrap();
        imports();
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    imports();
    fs::remove_dir(&file).unwrap();

    // About another commit, or under another stream's name, however well signed.
    fs::remove_file(&metadata).unwrap();
    let other = Statement {
        commit: CommitId::from_bytes([9; 32]),
        ..way.statement.clone()
    };
    fs::write(&file, sign(&other, &[1]).to_string()).unwrap();
    let error = way.import(&vendor, &trusted).unwrap_err();
    let is_told = matches!(&error, ImportError::Refused { place: StatementPlace::File(_), why, .. }
        if matches!(**why, RefusedStatement::OtherCommit { .. }));
    assert!(is_told, "{error:?}");
    assert_eq!(error.class(), ErrorClass::Untrusted);
    fs::remove_file(&file).unwrap();
    fs::write(
        file.with_file_name(format!("{hex}.testing.sign")),
        &good_file,
    )
    .unwrap();
    let error = way.import(&vendor, &trusted).unwrap_err();
    let is_told = matches!(&error, ImportError::Refused { why, .. }
        if matches!(**why, RefusedStatement::OtherStream { .. }));
    assert!(is_told, "{error:?}");
}

#[test]
fn a_commit_in_several_streams_needs_one_to_be_named() {
    let Some(way) = Way::new() else {
        return;
    };
    let trusted = keyset(1, &[1]);
    way.publish(&sign(&way.statement, &[1]));
    let testing = Statement {
        stream: "testing".parse().unwrap(),
        ..way.statement.clone()
    };
    way.publish(&sign(&testing, &[1]));
    let vendor = way.path("vendor");
    let error = way.import(&vendor, &trusted).unwrap_err();
    assert!(
        matches!(error, ImportError::SeveralStreams { .. }),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::Usage);
    let repository = Repository::open(&vendor).unwrap();
    for stream in ["stable", "testing"] {
        let stream = stream.parse().unwrap();
        let imported = import(
            &way.store(),
            &repository,
            "main",
            Some(&stream),
            &trusted,
            &Silent,
        )
        .unwrap();
        assert_eq!(imported.statement.stream, stream);
        assert!(matches!(imported.outcome, Outcome::Complete { .. }));
    }
    // A stream has one signed statement of a commit in a store.
    let newer = Statement {
        index: 2,
        ..way.statement.clone()
    };
    way.publish(&sign(&newer, &[1]));
    let stream = "stable".parse().unwrap();
    let error = import(
        &way.store(),
        &repository,
        "main",
        Some(&stream),
        &trusted,
        &Silent,
    );
    let error = error.unwrap_err();
    assert!(
        matches!(error, ImportError::OtherRelease { .. }),
        "{error:?}"
    );
}

#[test]
fn a_damaged_or_partial_commit_is_not_imported() {
    let Some(way) = Way::new() else {
        return;
    };
    let trusted = keyset(1, &[1]);
    way.publish(&sign(&way.statement, &[1]));
    let repository = way.pull("bare-user");
    let marker = repository.join(format!("state/{}.commitpartial", way.commit()));
    fs::write(&marker, b"").unwrap();
    let error = way.import(&repository, &trusted).unwrap_err();
    let is_told = matches!(error, ImportError::Ostree(OstreeError::Partial { .. }));
    assert!(is_told, "{error:?}");
    fs::remove_file(&marker).unwrap();
    let objects = repository.join("objects").read_dir().unwrap();
    let objects = objects.flat_map(|directory| directory.unwrap().path().read_dir().unwrap());
    let largest = objects
        .map(|object| object.unwrap().path())
        .max_by_key(|path| {
            let is_file = path
                .extension()
                .is_some_and(|extension| extension == "file");
            (is_file, path.metadata().unwrap().len())
        });
    let largest = largest.unwrap();
    let good = fs::read(&largest).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&largest, bad).unwrap();
    let error = way.import(&repository, &trusted).unwrap_err();
    let is_told = matches!(&error, ImportError::Ostree(OstreeError::Object { source, .. })
        if matches!(**source, ObjectError::Checksum { .. }));
    assert!(is_told, "{error:?}");
    assert_eq!(error.class(), ErrorClass::Untrusted);
    let store = way.store();
    assert!(store.list_packs().unwrap().is_empty());
    assert!(store.list_statements().unwrap().is_empty());
    fs::write(&largest, good).unwrap();
    let imported = way.import(&repository, &trusted).unwrap();
    assert!(matches!(
        imported.outcome,
        Outcome::Complete { is_new: true }
    ));
}
