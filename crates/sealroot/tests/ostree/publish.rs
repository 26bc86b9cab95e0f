// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statements published in a repository: `ostree` finds and carries them, nothing else is touched,
//! and nothing is half done.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use sealroot::monitor::{Monitor, Silent, Unit};
use sealroot::ostree::{Dictionary, OstreeError, Repository, STATEMENT_KEY, StatementPlace};
use sealroot_format::ErrorClass;
use sealroot_format::digest::{CommitId, TreeDigest, VerityDigest};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Name, Statement, Unverified};
use tempfile::TempDir;

use crate::commits::{commit, repository, text};
use crate::repositories::{ostree, try_ostree};

pub(crate) fn stream() -> Name {
    "stable".parse().unwrap()
}

/// A statement of the commit, signed by the keys with these numbers.
pub(crate) fn signed(commit: CommitId, index: u64, keys: &[u8]) -> Unverified<Statement> {
    let statement = Statement {
        os: "exampleos".parse().unwrap(),
        variant: None,
        stream: stream(),
        arch: "x86_64".parse().unwrap(),
        version: None,
        index,
        epoch: 0,
        commit,
        tree_digest: TreeDigest::from_bytes([2; 32]),
        pack_format: 1,
        pack_digest: VerityDigest::from_bytes([3; 32]),
        pack_size_bytes: 4096,
        entries: 1,
        objects: 0,
        object_bytes: 0,
        threshold_bytes: 4096,
        kernel: None,
        created: 0,
    };
    let mut document = Unverified::unsigned(&statement).unwrap();
    for number in keys {
        let key = SecretKey::from_seed(&[*number; 32]).unwrap();
        let signature = key.sign(document.message());
        document.add(key.public(), signature).unwrap();
    }
    document
}

/// A repository with a commit that somebody else keeps detached metadata of.
struct Published {
    directory: TempDir,
    path: PathBuf,
    commit: CommitId,
}

impl Published {
    fn new() -> Option<Self> {
        let (directory, path) = repository("archive")?;
        let arguments = [
            "--branch=main",
            "--add-detached-metadata-string=example.first=one",
            "--add-detached-metadata-string=example.second=two",
        ];
        let commit = commit(&path, "1", &arguments);
        Some(Self {
            directory,
            commit: CommitId::from_hex(&*commit).unwrap(),
            path,
        })
    }

    fn open(&self) -> Repository {
        Repository::open(&self.path).unwrap()
    }

    fn publish(&self, document: &Unverified<Statement>) -> Result<bool, OstreeError> {
        let published = self
            .open()
            .publish(self.commit, &stream(), document, &Silent)?;
        Ok(published.is_new)
    }

    fn metadata_path(&self) -> PathBuf {
        let hex = self.commit.to_hex();
        let name = format!("objects/{}/{}.commitmeta", &hex[..2], &hex[2..]);
        self.path.join(name)
    }

    /// What `ostree show` says is under a key of the detached metadata.
    fn shown(&self, key: &str) -> String {
        let option = format!("--print-detached-metadata-key={key}");
        text(ostree(&self.path, &["show", &option, &self.commit.to_hex()]).stdout)
    }

    /// The same, where it is bytes.
    fn shown_bytes(&self) -> Vec<u8> {
        let shown = self.shown(STATEMENT_KEY);
        let numbers = shown.trim_start_matches("[byte ").trim_end_matches(']');
        let byte = |text: &str| u8::from_str_radix(text.trim_start_matches("0x"), 16);
        numbers
            .split(", ")
            .map(|text| byte(text).unwrap())
            .collect()
    }
}

// Rules: R1, R2
#[test]
fn ostree_finds_what_is_published_and_keeps_what_others_have() {
    let Some(published) = Published::new() else {
        return;
    };
    let document = signed(published.commit, 1, &[1]);
    assert!(published.publish(&document).unwrap());
    let bytes = document.to_string().into_bytes();
    assert_eq!(published.shown_bytes(), bytes);
    assert_eq!(published.shown("example.first"), "'one'");
    assert_eq!(published.shown("example.second"), "'two'");
    let file = published
        .open()
        .statement_file(&published.commit, &stream());
    let name = format!("sealroot/{}.stable.sign", published.commit);
    assert_eq!(file, published.path.join(name));
    assert_eq!(fs::read(&file).unwrap(), bytes);
    ostree(&published.path, &["fsck", "--quiet"]);
    assert_eq!(
        fs::read_dir(published.path.join("tmp"))
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().contains("sealroot")
            })
            .count(),
        0
    );

    // Again: nothing happens.
    let before = fs::metadata(published.metadata_path())
        .unwrap()
        .modified()
        .unwrap();
    assert!(!published.publish(&document).unwrap());
    let after = fs::metadata(published.metadata_path())
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);

    // What ostree writes later keeps the statement.
    let hex = published.commit.to_hex();
    ostree(
        &published.path,
        &["sign", "--sign-type=dummy", &hex, "somebody"],
    );
    assert_eq!(published.shown_bytes(), bytes);
    let signatures = published.shown("ostree.sign.dummy");
    assert!(
        published
            .publish(&signed(published.commit, 1, &[2]))
            .unwrap()
    );
    assert_eq!(published.shown("ostree.sign.dummy"), signatures);
    ostree(
        &published.path,
        &["sign", "--verify", "--sign-type=dummy", &hex, "somebody"],
    );
    assert_eq!(published.shown("example.second"), "'two'");
}

#[test]
fn a_pull_carries_the_statement() {
    let Some(published) = Published::new() else {
        return;
    };
    let document = signed(published.commit, 1, &[1]);
    published.publish(&document).unwrap();
    let clone = published.directory.path().join("clone");
    ostree(&clone, &["init", "--mode=bare-user"]);
    let url = format!("file://{}", published.path.display());
    ostree(
        &clone,
        &["remote", "add", "--no-gpg-verify", "origin", &url],
    );
    ostree(&clone, &["pull", "origin", "main"]);
    let found = |path: &Path| {
        let repository = Repository::open(path).unwrap();
        let found = repository
            .published_statements(published.commit)
            .into_iter();
        let found = found.map(|(place, bytes)| (place, bytes.unwrap()));
        found.collect::<Vec<_>>()
    };
    let bytes = document.to_string().into_bytes();
    assert_eq!(found(&clone), [(StatementPlace::Detached, bytes.clone())]);
    let both = [
        (StatementPlace::Detached, bytes.clone()),
        (StatementPlace::File(stream()), bytes),
    ];
    assert_eq!(found(&published.path), both);

    // A second signer, and another pull: detached metadata is always fetched again.
    published
        .publish(&signed(published.commit, 1, &[2]))
        .unwrap();
    ostree(&clone, &["pull", "origin", "main"]);
    let both = signed(published.commit, 1, &[1, 2])
        .to_string()
        .into_bytes();
    assert_eq!(found(&clone), [(StatementPlace::Detached, both)]);
    ostree(&clone, &["fsck", "--quiet"]);
}

// Rules: R3
#[test]
fn a_statement_that_says_something_else_is_replaced_and_told() {
    let Some(published) = Published::new() else {
        return;
    };
    published
        .publish(&signed(published.commit, 1, &[1]))
        .unwrap();
    let second = signed(published.commit, 2, &[2]);
    let repository = published.open();
    let replaced = repository
        .publish(published.commit, &stream(), &second, &Silent)
        .unwrap();
    assert!(replaced.is_new && replaced.has_replaced);
    assert_eq!(replaced.document, second);
    assert_eq!(published.shown_bytes(), second.to_string().into_bytes());
    // Another stream has a file of its own.
    let other = "testing".parse().unwrap();
    repository
        .publish(published.commit, &other, &second, &Silent)
        .unwrap();
    let found = repository.published_statements(published.commit);
    assert_eq!(found.len(), 3);
}

#[test]
fn detached_metadata_that_is_no_good_is_refused_and_stays() {
    let Some(published) = Published::new() else {
        return;
    };
    let document = signed(published.commit, 1, &[1]);
    let path = published.metadata_path();
    let good = fs::read(&path).unwrap();
    let mut hostile: Vec<(&str, Vec<u8>)> = vec![
        ("truncated", good[..good.len() - 1].to_vec()),
        ("extended", [&good, &b"\0"[..]].concat()),
        ("garbage", vec![0xff; 100]),
    ];
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x80;
        hostile.push(("changed", changed));
    }
    for (what, bytes) in hostile {
        fs::write(&path, &bytes).unwrap();
        match published.publish(&document) {
            Err(error @ OstreeError::Detached { .. }) => {
                assert_eq!(error.class(), ErrorClass::Corrupt, "{what}");
                assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
                let found = published.open().published_statements(published.commit);
                assert!(matches!(&*found, [(StatementPlace::Detached, Err(_)), ..]));
            }
            // A changed value may be another value.
            Ok(_) if what == "changed" => {
                let found = Dictionary::parse(fs::read(&path).unwrap()).unwrap();
                let stated = document.to_string();
                assert_eq!(found.bytes(STATEMENT_KEY), Some(stated.as_bytes()));
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // A huge one is not read.
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        published.publish(&document).unwrap_err().class(),
        ErrorClass::Corrupt
    );
    let error = published.open().detached(published.commit).unwrap_err();
    assert!(error.to_string().contains(".commitmeta"), "{error}");
    // Nor is a symlink followed.
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(published.publish(&document).is_err());
    assert!(published.open().detached(published.commit).is_err());
    assert!(path.is_symlink());
    fs::remove_file(&path).unwrap();
    let sealroot = published.path.join("sealroot");
    let _ = fs::remove_dir_all(&sealroot);
    let elsewhere = published.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &sealroot).unwrap();
    assert!(published.publish(&document).is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    fs::remove_file(&sealroot).unwrap();
    // An empty file says that there is none, as does no file.
    fs::write(&path, b"").unwrap();
    assert!(published.publish(&document).unwrap());
    assert_eq!(published.shown_bytes(), document.to_string().into_bytes());
}

#[test]
fn nothing_is_published_of_a_commit_that_is_not_there() {
    let Some(published) = Published::new() else {
        return;
    };
    let other = CommitId::from_bytes([9; 32]);
    let error = published
        .open()
        .publish(other, &stream(), &signed(other, 1, &[1]), &Silent);
    assert_eq!(error.unwrap_err().class(), ErrorClass::NotFound);
    assert!(!published.path.join("sealroot").exists());
}

#[test]
fn the_lock_is_the_one_that_ostree_takes() {
    let Some(published) = Published::new() else {
        return;
    };
    let document = signed(published.commit, 1, &[1]);
    ostree(
        &published.path,
        &["config", "set", "core.lock-timeout-secs", "1"],
    );
    let held = published.open().lock_exclusively(&Silent).unwrap();
    let error = published.publish(&document).unwrap_err();
    assert!(
        matches!(
            error,
            OstreeError::Busy {
                waited_seconds: 1,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.class(), ErrorClass::Busy);
    let prune = try_ostree(&published.path, &["prune", "--refs-only"]);
    let message = String::from_utf8_lossy(&prune.stderr).into_owned();
    assert!(
        !prune.status.success() && message.contains("Locking repo"),
        "{message}"
    );
    drop(held);
    ostree(&published.path, &["prune", "--refs-only"]);
    assert!(published.publish(&document).unwrap());
    let _held = published.open().lock_exclusively(&Silent).unwrap();
    ostree(&published.path, &["config", "set", "core.locking", "false"]);
    assert!(!published.publish(&document).unwrap());
}

/// Keeps what was waited for.
#[derive(Default)]
struct Waits(Mutex<Vec<String>>);

impl Monitor for Waits {
    fn start(&self, _phase: &'static str, _unit: Unit, _total: Option<u64>) {}
    fn advance(&self, _units: u64) {}
    fn warn(&self, _message: String) {}
    fn note(&self, _message: String) {}
    fn wait(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

#[test]
fn who_waits_long_for_the_lock_says_so() {
    let Some(published) = Published::new() else {
        return;
    };
    let repository = published.open();
    for (held_ms, expected) in [(100, 0), (1500, 1)] {
        let held = published.open().lock_exclusively(&Silent).unwrap();
        let waits = Waits::default();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| repository.lock_shared(&waits).map(drop));
            thread::sleep(Duration::from_millis(held_ms));
            assert!(!waiting.is_finished());
            drop(held);
            waiting.join().unwrap().unwrap();
        });
        let said = waits.0.into_inner().unwrap();
        assert_eq!(said.len(), expected, "{said:?}");
        let lock = published.path.join(".lock").display().to_string();
        assert!(said.iter().all(|said| said.contains(&lock)), "{said:?}");
    }
}
