// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that has the old release makes the new one of it.

use std::fs;
use std::process::Command;

use sealroot_testkit::kernel::{GuestKernel, Series};

use crate::support::{Files, Place, bytes};

fn first() -> Files {
    Files::from([
        ("usr/bin/one", bytes(1, 300_000)),
        ("usr/bin/same", bytes(2, 50_000)),
        ("usr/bin/gone", bytes(3, 20_000)),
        ("usr/bin/shrinks", bytes(4, 9000)),
        ("usr/lib/modules/6.1.0-50/kernel/a.ko", bytes(5, 60_000)),
        ("usr/lib/modules/6.1.0-50/kernel/b.ko", bytes(6, 70_000)),
        ("usr/share/doc/small", b"a small file\n".repeat(20)),
        ("usr/share/doc/other", b"another\n".to_vec()),
        ("usr/share/doc/linked@", b"usr/bin/one".to_vec()),
    ])
}

fn second() -> Files {
    let mut files = first();
    let mut moved = |from: &str, to: &'static str| {
        let mut content = files.remove(from).expect("there");
        for at in (0..content.len()).step_by(500) {
            content[at] = content[at].wrapping_add(16);
        }
        files.insert(to, content);
    };
    moved(
        "usr/lib/modules/6.1.0-50/kernel/a.ko",
        "usr/lib/modules/6.1.0-56/kernel/a.ko",
    );
    moved(
        "usr/lib/modules/6.1.0-50/kernel/b.ko",
        "usr/lib/modules/6.1.0-56/kernel/b.ko",
    );
    files.remove("usr/bin/gone");
    let one = files.get_mut("usr/bin/one").expect("there");
    one.splice(100_000..100_050, bytes(7, 90));
    files
        .get_mut("usr/bin/shrinks")
        .expect("there")
        .truncate(100);
    files.insert("usr/bin/new", bytes(8, 5000));
    files.insert("usr/bin/new-too", bytes(8, 5000));
    files.insert("usr/bin/grown", bytes(9, 4097));
    files.insert("usr/share/doc/other", b"quite another\n".to_vec());
    files
}

// Rules: D4, D5, D6, D7
#[test]
fn the_new_release_is_made_of_the_old_one() {
    let (vendor, device) = (Place::new(), Place::new());
    let (old, new) = (vendor.build(&first()), vendor.build(&second()));
    let (delta, made) = vendor.delta(&old, &new);
    // One, two modules, and the two that are new.
    assert_eq!(made.objects, 5);
    let content = 300_040 + 60_000 + 70_000 + 5000 + 4097;
    assert_eq!(made.object_bytes, content);
    assert!(delta.len() < 14_000, "{} bytes", delta.len());

    let installed = device.build(&first());
    assert_eq!(installed.statement.pack_digest, old.statement.pack_digest);
    let tree = device
        .apply(&installed, &new.statement, &delta)
        .expect("applied");
    assert!(tree == new.tree);
    device.assert_has(&new.statement);
    device.assert_has(&installed.statement);
}

#[test]
fn a_release_is_made_of_itself_and_of_nothing() {
    let (vendor, device) = (Place::new(), Place::new());
    let (nothing, first) = (vendor.build(&Files::new()), vendor.build(&first()));
    device.build(&Files::new());
    for (from, to) in [(&nothing, &first), (&first, &first), (&first, &nothing)] {
        let (delta, _) = vendor.delta(from, to);
        let tree = device.apply(from, &to.statement, &delta).expect("applied");
        assert!(tree == to.tree);
        device.assert_has(&to.statement);
    }
}

#[test]
fn the_same_delta_is_made_again() {
    let vendor = Place::new();
    let (old, new) = (vendor.build(&first()), vendor.build(&second()));
    let (one, other) = (vendor.delta(&old, &new), vendor.delta(&old, &new));
    assert!(one == other);
}

#[test]
fn an_object_of_several_parts_is_one() {
    let (vendor, device) = (Place::new(), Place::new());
    let mut large = bytes(1, 3 << 20).repeat(5);
    let files = |large: &[u8]| Files::from([("usr/large", large.to_vec())]);
    let old = vendor.build(&files(&large));
    large.drain(5_000_000..5_000_123);
    large.truncate(13_000_000);
    large.extend(bytes(2, 6 << 20));
    let new = vendor.build(&files(&large));
    let (delta, _) = vendor.delta(&old, &new);
    let expected = 6 << 20..(6 << 20) + 50_000;
    assert!(expected.contains(&delta.len()), "{} bytes", delta.len());
    let installed = device.build(&files(&bytes(1, 3 << 20).repeat(5)));
    device
        .apply(&installed, &new.statement, &delta)
        .expect("applied");
    device.assert_has(&new.statement);
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("text");
    fs::write(&path, text).expect("written");
    let ran = Command::new("gzip").arg("-9nc").arg(&path).output();
    ran.expect("gzip starts").stdout
}

// Rules: D10
#[test]
fn what_is_compressed_is_opened_to_be_patched() {
    let (vendor, device) = (Place::new(), Place::new());
    let words = bytes(1, 400_000);
    let lines = words.chunks(7).map(|word| format!("{word:?}\n"));
    let old_text = lines.collect::<String>().into_bytes();
    let new_text = [b"the newest entry\n", &old_text[..]].concat();
    let files = |text: &[u8], other: u64| {
        Files::from([
            ("usr/share/doc/changelog.gz", gzip(text)),
            ("usr/share/doc/other.gz", gzip(&bytes(other, 50_000))),
        ])
    };
    let (old, new) = (
        vendor.build(&files(&old_text, 2)),
        vendor.build(&files(&new_text, 3)),
    );
    let (delta, made) = vendor.delta(&old, &new);
    assert_eq!(made.objects, 2);
    // What is quite another is fetched whole.
    let expected = 50_000..53_000;
    assert!(expected.contains(&delta.len()), "{} bytes", delta.len());
    let installed = device.build(&files(&old_text, 2));
    device
        .apply(&installed, &new.statement, &delta)
        .expect("applied");
    device.assert_has(&new.statement);
}

#[test]
fn kernels_are_opened_to_be_patched() {
    let kernel = |series| {
        let kernel = GuestKernel::find(series)?;
        Some(fs::read(kernel.packed()).expect("a kernel"))
    };
    let (Some(old_kernel), Some(new_kernel)) = (kernel(Series::V6_12Before), kernel(Series::V6_12))
    else {
        return;
    };
    let (vendor, device) = (Place::new(), Place::new());
    let files = |kernel: &[u8]| Files::from([("boot/vmlinuz", kernel.to_vec())]);
    let (old, new) = (
        vendor.build(&files(&old_kernel)),
        vendor.build(&files(&new_kernel)),
    );
    let (delta, made) = vendor.delta(&old, &new);
    assert_eq!(made.object_bytes, new_kernel.len() as u64);
    assert!(
        delta.len() * 10 < new_kernel.len() * 3,
        "{} of {} bytes",
        delta.len(),
        new_kernel.len()
    );
    let installed = device.build(&files(&old_kernel));
    device
        .apply(&installed, &new.statement, &delta)
        .expect("applied");
    device.assert_has(&new.statement);
}
