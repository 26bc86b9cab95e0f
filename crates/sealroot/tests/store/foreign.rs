// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of others that become objects as they are.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::io::Errno;
use sealroot::check::{self, Depth, Severity};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreError, StoreIo, Taken, VeritySupport, object_path};
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::EnableVerityError;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble, WriteBack};
use tempfile::TempDir;

use crate::support::{Content, Scratch, content, files_of};

/// Files that no store made.
struct Files {
    directory: TempDir,
    all: Vec<(PathBuf, Content)>,
}

impl Files {
    fn new(count: u8) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |seed: u8| {
            let path = directory.path().join(seed.to_string());
            let content = content(seed, 5000);
            fs::write(&path, &content.0).expect("written");
            (path, content)
        };
        let all = (0..count).map(file).collect();
        Self { directory, all }
    }

    /// Offers them all to a store.
    fn offer<I: StoreIo>(&self, store: &Store<I>) -> Result<Vec<Taken>, StoreError> {
        let transaction = store.begin(&Silent)?;
        let offer = |(path, (bytes, digest)): &(PathBuf, Content)| {
            let file = File::open(path).expect("readable");
            transaction.take_object(digest, bytes.len() as u64, file.as_fd())
        };
        let taken = self.all.iter().map(offer).collect::<Result<_, _>>()?;
        transaction.finish()?;
        Ok(taken)
    }

    /// Offers them all to a store, which is to find out by itself what they are.
    fn offer_unread<I: StoreIo>(&self, store: &Store<I>) -> Result<Vec<Unread>, StoreError> {
        let transaction = store.begin(&Silent)?;
        let offer = |(path, _): &(PathBuf, Content)| {
            let file = File::open(path).expect("readable");
            transaction.take_unread(file.as_fd())
        };
        let taken = self.all.iter().map(offer).collect::<Result<_, _>>()?;
        transaction.finish()?;
        Ok(taken)
    }

    /// Offers them as a reader does: what the store does not know by itself, it is told.
    fn offer_both_ways<I: StoreIo>(&self, store: &Store<I>) -> Result<(), StoreError> {
        let transaction = store.begin(&Silent)?;
        for (path, (bytes, digest)) in &self.all {
            let file = File::open(path).expect("readable");
            if transaction.take_unread(file.as_fd())?.is_none() {
                transaction.take_object(digest, bytes.len() as u64, file.as_fd())?;
            }
        }
        transaction.finish().map(drop)
    }

    /// What [`Files::offer_unread`] finds out where the kernel tells.
    fn told(&self) -> Vec<Unread> {
        let told = |(_, (bytes, digest)): &(PathBuf, Content)| Some((*digest, bytes.len() as u64));
        self.all.iter().map(told).collect()
    }
}

/// What [`sealroot::store::Transaction::take_unread`] says.
type Unread = Option<(VerityDigest, u64)>;

// Rules: O7
#[test]
fn the_file_itself_becomes_the_object_and_stays_what_it_was() {
    let scratch = Scratch::new();
    let files = Files::new(12);
    let store = scratch.store();
    assert_eq!(files.offer(&store).expect("taken"), vec![Taken::Linked; 12]);
    for (path, (bytes, digest)) in &files.all {
        assert_eq!(&fs::read(path).expect("readable"), bytes);
        let (ours, theirs) = (scratch.object(digest).metadata(), path.metadata());
        let (ours, theirs) = (ours.expect("linked"), theirs.expect("there"));
        assert_eq!(ours.ino(), theirs.ino());
        assert_eq!(theirs.nlink(), 2);
        store.open_object(digest, 5000).expect("measured");
    }
    let report = check::check(&store, Depth::Full, &Silent).expect("checked");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // Again, from other files with the same content: the first ones stay.
    let others = Files::new(12);
    assert_eq!(
        others.offer(&store).expect("there"),
        vec![Taken::Linked; 12]
    );
    for (path, _) in &others.all {
        let links = path.metadata().expect("there").nlink();
        assert_eq!(links, 1, "{}", path.display());
    }
}

// Rules: O7
#[test]
fn the_kernel_tells_which_object_a_file_is() {
    let scratch = Scratch::new();
    let files = Files::new(12);
    let store = scratch.store();
    let taken = files.offer_unread(&store).expect("taken");
    if store.verity() == VeritySupport::None {
        assert_eq!(taken, vec![None; 12]);
        let links = |(path, _): &(PathBuf, Content)| path.metadata().expect("there").nlink();
        assert!(files.all.iter().map(links).all(|links| links == 1));
        return;
    }
    assert_eq!(taken, files.told());
    let linked = |(path, (_, digest)): &(PathBuf, Content)| {
        let (ours, theirs) = (scratch.object(digest).metadata(), path.metadata());
        ours.expect("linked").ino() == theirs.expect("there").ino()
    };
    assert!(files.all.iter().all(linked));
    let report = check::check(&store, Depth::Full, &Silent).expect("checked");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // The same files again, and others of the same content: one object each.
    assert_eq!(files.offer_unread(&store).expect("there"), files.told());
    let others = Files::new(12);
    assert_eq!(others.offer_unread(&store).expect("there"), files.told());
    assert!(files.all.iter().all(linked));
    // What has fs-verity already and is no object may have it of another kind: it is not believed.
    let elsewhere = Scratch::new();
    let unknown = files.offer_unread(&elsewhere.store()).expect("asked");
    assert_eq!(unknown, vec![None; 12]);
}

#[test]
fn what_was_taken_and_what_was_there_is_counted() {
    let scratch = Scratch::new();
    let files = Files::new(2);
    let store = scratch.store();
    let transaction = store.begin(&Silent).expect("begun");
    for (path, (_, digest)) in files.all.iter().chain(&files.all) {
        let file = File::open(path).expect("readable");
        if !transaction.has_object(digest, 5000).expect("looked at") {
            let taken = transaction.take_object(digest, 5000, file.as_fd());
            assert_eq!(taken.expect("taken"), Taken::Linked);
        }
    }
    let summary = transaction.finish().expect("finished");
    assert_eq!((summary.linked_objects, summary.linked_bytes), (2, 10_000));
    assert_eq!((summary.added_objects, summary.present_objects), (0, 0));
}

// Rules: O2, O7
#[test]
fn a_file_of_another_size_or_content_gets_no_name() {
    let scratch = Scratch::new();
    let files = Files::new(1);
    let store = scratch.store();
    let (path, (_, digest)) = &files.all[0];
    let file = File::open(path).expect("readable");
    let transaction = store.begin(&Silent).expect("begun");
    let error = transaction.take_object(digest, 4999, file.as_fd());
    let error = error.expect_err("another size");
    assert!(matches!(error, StoreError::SizeMismatch { .. }), "{error}");
    drop(transaction);
    if store.verity() == VeritySupport::Kernel {
        let (_, other) = content(77, 5000);
        let transaction = store.begin(&Silent).expect("begun");
        let error = transaction.take_object(&other, 5000, file.as_fd());
        let error = error.expect_err("another content");
        assert!(
            matches!(error, StoreError::DigestMismatch { .. }),
            "{error}"
        );
        assert!(!scratch.object(&other).exists());
    }
    assert!(!scratch.object(digest).exists());
}

#[test]
fn a_file_that_stays_open_for_writing_is_named_with_its_reason() {
    let scratch = Scratch::new();
    let files = Files::new(1);
    let store = scratch.store();
    let writer = OpenOptions::new().append(true).open(&files.all[0].0);
    let result = files.offer(&store);
    match store.verity() {
        VeritySupport::None => assert_eq!(result.expect("linked"), [Taken::Linked]),
        VeritySupport::Kernel => {
            let error = result.expect_err("busy");
            let source = match &error {
                StoreError::EnableVerity { source, .. } => *source,
                other => panic!("{other}"),
            };
            assert_eq!(source, EnableVerityError::OpenForWriting);
            drop(writer);
            assert_eq!(files.offer(&store).expect("free now"), [Taken::Linked]);
        }
    }
}

/// One way of offering files.
type Offer = fn(&Files, &Store<MemoryIo>) -> Result<(), StoreError>;

// Rules: O7, L2, L3
#[test]
fn a_power_cut_or_an_error_at_any_operation_leaves_no_name_for_anything_half() {
    let files = Files::new(12);
    let hashed: Offer = |files, store| files.offer(store).map(drop);
    let both_ways: Offer = |files, store| files.offer_both_ways(store);
    for (has_verity, offer) in [(true, hashed), (false, hashed), (true, both_ways)] {
        let before = MemoryDisk::new(has_verity);
        let store = Store::open_or_create_on(before.process(Trouble::None)).expect("a store");
        drop(store);
        let disk = before.copy();
        let io = disk.process(Trouble::None);
        let calls = io.calls();
        offer(&files, &Store::open_on(io).expect("opened")).expect("taken");
        let (calls, after) = (calls.get(), files_of(&disk));
        let killed = (0..=calls.changes).map(|at| Trouble::KilledAtChange { at });
        let errno = Errno::NOSPC;
        let failing = (0..=calls.all).map(|at| Trouble::FailsOnce { at, errno });
        for trouble in killed.chain(failing) {
            let disk = before.copy();
            let result =
                Store::open_on(disk.process(trouble)).and_then(|store| offer(&files, &store));
            for order in WriteBack::orders(12) {
                let when = format!("{trouble:?}, {order:?}: {result:?}");
                let found = disk.crash(order);
                let store = Store::open_on(found.process(Trouble::None)).expect("opened");
                let report = check::check(&store, Depth::Full, &Silent).expect("checked");
                let damage = report
                    .findings
                    .iter()
                    .find(|finding| finding.code.severity() != Severity::Leftover);
                assert!(damage.is_none(), "{when}: {damage:?}");
                if result.is_ok() {
                    for (_, (_, digest)) in &files.all {
                        store.open_object(digest, 5000).expect(&when);
                    }
                }
                offer(&files, &store).expect(&when);
                drop(store);
                assert!(files_of(&found) == after, "{when}: it does not converge");
            }
        }
        let path = object_path(&files.all[0].1.1);
        assert!(after.contains_key(&format!("/{path}")));
    }
    drop(files.directory);
}
