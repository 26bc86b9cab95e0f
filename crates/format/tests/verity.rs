// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity digests: ours, in one piece, streamed and batched, are those of the `fsverity` tool,
//! by every engine.

use std::fs;
use std::process::Command;

use sealroot_format::digest::{
    VERITY_BLOCK_BYTES, VerityBatch, VerityDigest, VerityHasher, compute_verity_digest,
};
use sealroot_sha::Engine;
use sealroot_testkit::content::{self, Numbers};
use sealroot_testkit::need;

/// Edges of blocks, of the batches of the streaming hasher, and of two levels of the tree.
const EDGES: [usize; 9] = [
    0,
    1,
    VERITY_BLOCK_BYTES,
    15 * VERITY_BLOCK_BYTES,
    16 * VERITY_BLOCK_BYTES,
    17 * VERITY_BLOCK_BYTES,
    128 * VERITY_BLOCK_BYTES,
    129 * VERITY_BLOCK_BYTES,
    // The second level fills a batch of its own.
    16 * 128 * VERITY_BLOCK_BYTES,
];

fn sizes_at_edges() -> impl Iterator<Item = usize> {
    let around = |edge: usize| [edge.saturating_sub(1), edge, edge + 1];
    EDGES.into_iter().flat_map(around)
}

fn contents() -> Vec<Vec<u8>> {
    (0..)
        .zip(sizes_at_edges())
        .map(|(seed, len_bytes)| content::bytes(seed, len_bytes))
        .collect()
}

#[test]
fn digests_are_those_of_the_fsverity_tool() {
    /// Keeps the command line below what the kernel takes.
    const FILES_PER_CALL: usize = 100;
    let Some(fsverity) = need::tool("fsverity") else {
        return;
    };
    let sizes = content::verity_sizes();
    assert!(sizes.len() >= 500, "only {} sizes", sizes.len());
    for sizes in sizes.chunks(FILES_PER_CALL) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut tool = Command::new(&fsverity);
        tool.args(["digest", "--compact"]).current_dir(&directory);
        let mut ours = Vec::new();
        let mut batch = VerityBatch::new();
        for &size_bytes in sizes {
            let content = content::bytes(size_bytes, usize::try_from(size_bytes).expect("small"));
            let name = size_bytes.to_string();
            fs::write(directory.path().join(&name), &content).expect("write");
            tool.arg(name);
            ours.push(compute_verity_digest(&content));
            batch.push(&content);
        }
        let output = tool.output().expect("fsverity runs");
        let theirs = String::from_utf8(output.stdout).expect("hex");
        let theirs: Vec<_> = theirs.lines().map(VerityDigest::from_hex).collect();
        assert_eq!(theirs.len(), sizes.len());
        let batched = batch.finish().map(|(digest, _)| digest);
        for (((size_bytes, theirs), ours), batched) in
            sizes.iter().zip(theirs).zip(ours).zip(batched)
        {
            assert_eq!(theirs, Some(ours), "{size_bytes} bytes in one piece");
            assert_eq!(theirs, Some(batched), "{size_bytes} bytes in a batch");
        }
    }
}

#[test]
fn streaming_in_pieces_of_any_size_changes_nothing() {
    for engine in Engine::available() {
        for content in contents() {
            let mut whole = VerityHasher::with_engine(engine);
            whole.update(&content);
            let whole = whole.finish();
            assert_eq!(whole, compute_verity_digest(&content));
            for piece_bytes in [1000, 4095, 4096, 65_537, 300_000] {
                let mut hasher = VerityHasher::with_engine(engine);
                for piece in content.chunks(piece_bytes) {
                    hasher.update(piece);
                }
                assert!(
                    hasher.finish() == whole,
                    "{engine}: {} bytes by {piece_bytes}",
                    content.len()
                );
            }
        }
    }
}

#[test]
fn streaming_in_random_pieces_with_empty_ones_changes_nothing() {
    let content = content::bytes(1, 3_000_000);
    let mut numbers = Numbers::new(2);
    for round in 0..20 {
        let mut hasher = VerityHasher::new();
        let mut rest = &content[..];
        while !rest.is_empty() {
            let limit = 1 << numbers.below(20);
            let len = usize::try_from(numbers.below(limit)).expect("small");
            let (piece, following) = rest.split_at(len.min(rest.len()));
            hasher.update(piece);
            rest = following;
        }
        assert_eq!(
            hasher.finish(),
            compute_verity_digest(&content),
            "round {round}"
        );
    }
}

#[test]
fn a_batch_gives_the_digests_of_its_files_in_order_and_can_be_used_again() {
    for engine in Engine::available() {
        let mut batch = VerityBatch::with_engine(engine);
        let mut contents = contents();
        // The second round finds the first one's bytes in the arena.
        for _ in 0..2 {
            for content in &contents {
                batch.push(content);
            }
            let mut results = batch.finish();
            assert_eq!(results.len(), contents.len());
            for content in &contents {
                let (digest, hashed) = results.next().expect("as many as were pushed");
                assert!(
                    hashed == content,
                    "{engine}: content of {} bytes",
                    content.len()
                );
                assert!(
                    digest == compute_verity_digest(content),
                    "{engine}: digest of {} bytes",
                    content.len()
                );
            }
            drop(results);
            assert!(batch.is_empty());
            assert_eq!(batch.used_bytes(), 0);
            contents.reverse();
        }
    }
}

#[test]
fn files_for_which_there_was_room_start_at_blocks_of_memory() {
    let mut batch = VerityBatch::new();
    for room_bytes in [100_000, 1_000_000] {
        batch.reserve(room_bytes);
        for len_bytes in [4097, 1, 90_000] {
            batch.push(&vec![1; len_bytes]);
        }
        for (digest, content) in batch.finish() {
            assert_eq!(digest, compute_verity_digest(content));
            let address = content.as_ptr().addr();
            assert!(address.is_multiple_of(VERITY_BLOCK_BYTES), "{address:x}");
        }
    }
}

#[test]
fn a_file_whose_reading_fails_is_not_in_the_batch() {
    let mut batch = VerityBatch::new();
    batch.push(b"before");
    let failed = batch.push_with(10_000, |place| {
        place.fill(0xff);
        Err("no")
    });
    assert_eq!(failed, Err("no"));
    batch.push(b"after");
    let results: Vec<_> = batch.finish().map(|(digest, _)| digest).collect();
    assert_eq!(
        results,
        [b"before".as_slice(), b"after"].map(compute_verity_digest)
    );
}
