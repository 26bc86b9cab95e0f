// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and directories that change while they are being read.
//!
//! On one thread the files of a directory are read in order, after its names: the sink changes
//! `b` while it is told about `a`, which is too large to wait in memory.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, setxattr};
use sealroot::object::{ObjectContent, ObjectSink};
use sealroot::source::{BUFFER_BYTES, DirectoryOptions, SourceError};
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;

use crate::support::{message, read_in_order};

/// Lets the clock of the filesystem tick, so that the next change has a time of its own.
fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}

struct Meddle<F> {
    change: F,
    has: bool,
}

impl<F: Fn() + Sync> ObjectSink for Meddle<F> {
    fn has(&self, _: &VerityDigest, _: u64) -> io::Result<bool> {
        (self.change)();
        Ok(self.has)
    }

    fn add(&self, _: &VerityDigest, _: u64, content: ObjectContent<'_>) -> io::Result<()> {
        if let ObjectContent::Stream(reader) = content {
            io::copy(reader, &mut io::sink())?;
        }
        Err(io::Error::other("the digest is another"))
    }
}

/// Reads a directory with a large `a` and a `b` of `size` bytes, and changes it in between.
fn changed(size: usize, change: impl Fn(&Path) + Sync) -> String {
    let root = tempfile::tempdir().expect("a temporary directory");
    let a = File::create(root.path().join("a")).expect("create");
    a.set_len(BUFFER_BYTES as u64 + 1).expect("truncate");
    fs::write(root.path().join("b"), vec![b'b'; size]).expect("write");
    settle();
    let sink = Meddle {
        change: || change(&root.path().join("b")),
        has: true,
    };
    let error = read_in_order(root.path(), DirectoryOptions::default(), &sink)
        .expect_err("the change is noticed");
    assert!(matches!(error, SourceError::Changed { .. }), "{error}");
    assert_eq!(error.class(), ErrorClass::Busy);
    message(&error, root.path())
}

/// One of each way to be read: inline, in memory, streamed.
const SIZES: [usize; 3] = [100, 10_000, BUFFER_BYTES + 10];

#[test]
fn a_file_that_grows_or_shrinks_is_named() {
    for size in SIZES {
        let resize = |to: u64| {
            changed(size, move |path| {
                let file = File::options().write(true).open(path).expect("open");
                file.set_len(to).expect("truncate");
            })
        };
        assert_eq!(
            resize(size as u64 + 1),
            "ROOT/b changed while it was being read: its size is another"
        );
        assert_eq!(
            resize(size as u64 - 1),
            "ROOT/b changed while it was being read: it is shorter than it was"
        );
    }
}

#[test]
fn a_file_that_is_written_to_is_named_even_if_its_time_is_put_back() {
    for size in SIZES {
        let rewritten = changed(size, |path| {
            let before = fs::metadata(path).expect("stat");
            fs::write(path, vec![b'x'; size]).expect("write");
            let file = File::options().write(true).open(path).expect("open");
            file.set_modified(before.modified().expect("a time"))
                .expect("utimens");
        });
        assert_eq!(
            rewritten,
            "ROOT/b changed while it was being read: its time of change is another"
        );
    }
}

#[test]
fn a_file_whose_metadata_change_is_named() {
    let expected = "ROOT/b changed while it was being read: its time of change is another";
    let xattr = changed(10, |path| {
        setxattr(path, "user.new", b"", XattrFlags::empty()).expect("setxattr");
    });
    assert_eq!(xattr, expected);
    let linked = changed(10, |path| {
        // Once is enough.
        let _ = fs::hard_link(path, path.with_file_name("c"));
    });
    assert_eq!(linked, expected);
}

#[test]
fn a_file_that_is_replaced_is_named() {
    let replaced = "ROOT/b changed while it was being read: it was replaced";
    let other_file = changed(10, |path| {
        let other = path.with_file_name("other");
        fs::write(&other, "0123456789").expect("write");
        fs::rename(other, path).expect("rename");
    });
    assert_eq!(other_file, replaced);
    // Nobody writes to it: it must not be waited for.
    let fifo = changed(10, |path| {
        fs::remove_file(path).expect("unlink");
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
    });
    assert!(fifo.starts_with("ROOT/b changed"), "{fifo}");
    let gone = "ROOT/b changed while it was being read: it was replaced or removed";
    let symlink = changed(10, |path| {
        fs::remove_file(path).expect("unlink");
        std::os::unix::fs::symlink("a", path).expect("symlink");
    });
    assert_eq!(symlink, gone);
    let removed = changed(10, |path| fs::remove_file(path).expect("unlink"));
    assert_eq!(removed, gone);
}

#[test]
fn a_large_file_that_changes_before_it_is_stored_is_named_not_the_store() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("large");
    let size = BUFFER_BYTES + 1;
    fs::write(&path, vec![1; size]).expect("write");
    settle();
    let sink = Meddle {
        change: || fs::write(&path, vec![2; size]).expect("write"),
        has: false,
    };
    let error = read_in_order(root.path(), DirectoryOptions::default(), &sink);
    assert_eq!(
        message(&error.expect_err("it changed"), root.path()),
        "ROOT/large changed while it was being read: its time of change is another"
    );
}

#[test]
fn a_directory_that_is_replaced_or_changed_before_it_is_listed_is_named() {
    type Change = fn(&Path);
    let cases: [(Change, &str); 4] = [
        (
            |d| fs::write(d.join("new"), "").expect("write"),
            "its time of change is another",
        ),
        (
            |d| fs::remove_dir_all(d).expect("rm"),
            "it was replaced or removed",
        ),
        (
            |d| {
                fs::remove_dir_all(d).expect("rm");
                std::os::unix::fs::symlink("/usr", d).expect("symlink");
            },
            "it was replaced or removed",
        ),
        (
            |d| {
                fs::rename(d, d.with_file_name("old")).expect("rename");
                fs::create_dir(d).expect("mkdir");
            },
            "it was replaced",
        ),
    ];
    for (change, what) in cases {
        let root = tempfile::tempdir().expect("a temporary directory");
        let size = BUFFER_BYTES as u64 + 1;
        let a = File::create(root.path().join("a")).expect("create");
        a.set_len(size).expect("truncate");
        let below = root.path().join("directory");
        fs::create_dir(&below).expect("mkdir");
        fs::write(below.join("file"), "").expect("write");
        let time = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &below, &times, rustix::fs::AtFlags::empty()).expect("utimens");
        settle();
        let sink = Meddle {
            change: || change(&below),
            has: true,
        };
        let error = read_in_order(root.path(), DirectoryOptions::default(), &sink);
        assert_eq!(
            message(&error.expect_err("it changed"), root.path()),
            format!("ROOT/directory changed while it was being read: {what}")
        );
    }
}
