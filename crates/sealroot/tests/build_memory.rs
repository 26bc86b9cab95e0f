// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory does not grow with what is inside a pack. In a process of its own, whose memory it looks
//! at.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use sealroot::build::{self, Origin, Release};
use sealroot::monitor::Silent;
use sealroot::release;
use sealroot::source::{Compressed, Devices};
use sealroot::store::Store;
use sealroot_format::pack;
use sealroot_format::tree::{FileContent, Kind};

/// What a build may hold, the metadata of a few thousand files included.
const MAX_MEMORY_BYTES: u64 = 64 * 1024 * 1024;

const FILES: u32 = 2000;
const FILE_BYTES: u64 = 60 * 1024;
const THRESHOLD_BYTES: u32 = 64 * 1024;

/// The most memory that this process ever had.
fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.expect("a line").parse::<u64>().expect("a number") * 1024
}

#[test]
fn files_inside_a_pack_do_not_pass_through_memory_all_at_once() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let source = scratch.path().join("source");
    fs::create_dir(&source).expect("a directory");
    for number in 0..FILES {
        let file = File::create(source.join(number.to_string())).expect("a file");
        file.set_len(FILE_BYTES).expect("its length");
        file.write_all_at(&number.to_be_bytes(), 5000)
            .expect("its content");
    }
    let name = |text: &str| text.parse().expect("a name");
    let release = Release {
        os: name("exampleos"),
        variant: None,
        stream: name("stable"),
        arch: name("x86_64"),
        version: None,
        index: 1,
        epoch: 0,
        kernel: None,
        created: 1_700_000_000,
        threshold_bytes: THRESHOLD_BYTES,
    };
    let origin = Origin::Directory {
        path: &source,
        devices: Devices::Refuse,
        compressed: Compressed::Keep,
    };
    let store = Store::open_or_create(&scratch.path().join("store")).expect("a store");
    let statement = build::build(&store, origin, &release, &Silent)
        .expect("built")
        .statement;
    let peak_bytes = peak_memory_bytes();
    let content_bytes = u64::from(FILES) * FILE_BYTES;
    assert!(statement.pack_size_bytes > content_bytes);
    assert!(
        peak_bytes < MAX_MEMORY_BYTES,
        "{peak_bytes} bytes of memory for a pack of {}",
        statement.pack_size_bytes
    );

    let pack = format!("{}.pack", statement.pack_digest.to_hex());
    let pack = File::open(scratch.path().join("store/pack").join(pack)).expect("the pack");
    let checked = pack::check(pack).expect("a pack");
    assert_eq!(checked.summary.digest, statement.pack_digest);
    let peak_bytes = peak_memory_bytes();
    assert!(
        peak_bytes < MAX_MEMORY_BYTES,
        "{peak_bytes} bytes of memory to check it"
    );

    // Each file got the content that was its own.
    let tree = release::check_pack(&store, &statement).expect("a pack");
    assert_eq!(tree.len(), 1 + FILES as usize);
    for number in [0, FILES / 2, FILES - 1] {
        let id = tree.lookup([number.to_string().as_bytes()]).expect("there");
        let mut expected = vec![0; usize::try_from(FILE_BYTES).expect("small")];
        expected[5000..5004].copy_from_slice(&number.to_be_bytes());
        let expected = FileContent::Inline(expected.into());
        assert!(tree.inode(id).kind == Kind::Regular(expected), "{number}");
    }
}
