// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each file is read once where the sink has everything, and the second time only where it is
//! too large for memory and missing. In a process of its own: it counts all that is read.

use std::fs;
use std::path::Path;

use sealroot::monitor::Silent;
use sealroot::object::{Discard, ObjectContent, ObjectSink};
use sealroot::source::{BUFFER_BYTES, DirectoryOptions, read_directory};
use sealroot::spool::Spool;
use sealroot_format::digest::VerityDigest;

/// Bytes that this process read so far, from the page cache or not.
fn read_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("the kernel counts");
    let line = io
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("rchar: "));
    line.expect("the first line").parse().expect("a number")
}

/// Bytes read by `work`, other than by the counting.
fn count(work: impl FnOnce()) -> u64 {
    let counting = {
        let start = read_bytes();
        read_bytes() - start
    };
    let start = read_bytes();
    work();
    read_bytes() - start - counting
}

struct Wants;

impl ObjectSink for Wants {
    fn has(&self, _: &VerityDigest, _: u64) -> std::io::Result<bool> {
        Ok(false)
    }

    fn add(&self, _: &VerityDigest, size: u64, content: ObjectContent<'_>) -> std::io::Result<()> {
        if let ObjectContent::Stream(reader) = content {
            assert_eq!(std::io::copy(reader, &mut std::io::sink())?, size);
        }
        Ok(())
    }
}

#[test]
fn each_file_is_read_once() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let streamed_bytes = 2 * BUFFER_BYTES + 1;
    let sizes = [0, 1, 4096, 4097, 70_000, BUFFER_BYTES, streamed_bytes];
    let mut total_bytes = 0;
    for size in sizes {
        let path = root.path().join(size.to_string());
        fs::write(&path, vec![1; size]).expect("write");
        fs::hard_link(&path, root.path().join(format!("{size}.link"))).expect("link");
        total_bytes += size as u64;
    }
    let read = |root: &Path, sink: &dyn ObjectSink| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let options = DirectoryOptions::default();
        let tree = pool.expect("a thread").install(|| {
            read_directory(
                root,
                &options,
                &Spool::in_temporary_directory(),
                sink,
                &Silent,
            )
        });
        assert_eq!(tree.expect("a readable tree").len(), 1 + sizes.len());
    };
    // What is only read once in a process.
    read(root.path(), &Discard);
    assert_eq!(count(|| read(root.path(), &Discard)), total_bytes);
    let with_second_reading = total_bytes + streamed_bytes as u64;
    assert_eq!(count(|| read(root.path(), &Wants)), with_second_reading);
}
