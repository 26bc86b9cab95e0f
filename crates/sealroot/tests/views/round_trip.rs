// SPDX-License-Identifier: MIT OR Apache-2.0
//! build, unpack, and the same again.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use proptest::prelude::*;
use sealroot::monitor::Silent;
use sealroot::unpack::unpack;
use sealroot_testkit::{need, on_disk, trees};

use crate::support::{Scratch, dump_of, text, with_content};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_was_built_is_unpacked(
        tree in trees::trees(60),
        threshold_bytes in prop_oneof![Just(0), Just(64), Just(4096), Just(65_536)],
        is_new in any::<bool>(),
    ) {
        if !need::root() {
            return Ok(());
        }
        let scratch = Scratch::new();
        let (source, out) = (scratch.path("source"), scratch.path("out"));
        fs::create_dir(&source).expect("a directory");
        on_disk::write(&with_content(tree), &source).expect("written");
        let built = scratch.build(&source, threshold_bytes);
        if !is_new {
            fs::create_dir(&out).expect("a directory");
        }
        let unpacked = unpack(&built, Some(&scratch.store()), &out, &Silent).expect("unpacked");
        prop_assert_eq!(dump_of(&out), text(&built));
        prop_assert_eq!(unpacked.entries, built.len() as u64);
        prop_assert_eq!(scratch.names(), ["out"]);
    }
}

#[test]
fn long_zeros_take_no_space() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let (source, out) = (scratch.path("source"), scratch.path("out"));
    fs::create_dir(&source).expect("a directory");
    let mut content = vec![0; 3_000_000];
    content[1_000_000] = 1;
    fs::write(source.join("hole-at-the-end"), &content).expect("written");
    content.push(1);
    fs::write(source.join("data-at-the-end"), &content).expect("written");
    let built = scratch.build(&source, 4096);
    unpack(&built, Some(&scratch.store()), &out, &Silent).expect("unpacked");
    assert_eq!(dump_of(&out), text(&built));
    for name in ["hole-at-the-end", "data-at-the-end"] {
        let stat = fs::metadata(out.join(name)).expect("there");
        assert!(stat.blocks() * 512 < 300_000, "{name}: {}", stat.blocks());
    }
}

#[test]
fn attributes_come_from_the_tree_alone() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    // Neither what the place has and hands on nor the umask's habit shows.
    let out = scratch.path("out");
    fs::create_dir(&out).expect("a directory");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o2777)).expect("chmod");
    std::os::unix::fs::chown(&out, Some(12), Some(34)).expect("chown");
    let acl = [
        &[2, 0, 0, 0][..],
        &entry(0x01),
        &entry(0x02),
        &entry(0x04),
        &entry(0x10),
        &entry(0x20),
    ];
    let name = c"system.posix_acl_default";
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&out, name, &acl.concat(), flags).expect("an ACL");
    unpack(&tree, Some(&scratch.store()), &out, &Silent).expect("unpacked");
    assert_eq!(dump_of(&out), text(&tree));
}

/// An entry of an ACL: a tag, all rights, and the user 7 where the tag wants one.
fn entry(tag: u8) -> [u8; 8] {
    match tag {
        0x02 => [tag, 0, 7, 0, 7, 0, 0, 0],
        _ => [tag, 0, 7, 0, 0xff, 0xff, 0xff, 0xff],
    }
}

#[test]
fn a_symlink_to_an_empty_directory_names_it() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    fs::create_dir(scratch.path("real")).expect("a directory");
    symlink("real", scratch.path("link")).expect("a symlink");
    unpack(
        &tree,
        Some(&scratch.store()),
        &scratch.path("link"),
        &Silent,
    )
    .expect("unpacked");
    assert_eq!(dump_of(&scratch.path("real")), text(&tree));
}

#[test]
fn an_unpacked_file_is_not_the_object() {
    if !need::root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = scratch.small_tree();
    let out = scratch.path("out");
    unpack(&tree, Some(&scratch.store()), &out, &Silent).expect("unpacked");
    assert_eq!(
        fs::metadata(out.join("usr/bin/one"))
            .expect("a file")
            .nlink(),
        1
    );
}
