// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity digests computed in user space, without the kernel.
//!
//! The kernel's `Documentation/filesystems/fsverity.rst` defines them. The file is cut into blocks
//! of 4096 bytes, the last one filled with zeros. The SHA-256 digests of the blocks, one after the
//! other, are cut and filled in the same way, and so on until one digest is left: the root hash.
//! The *fs-verity digest* is the SHA-256 of a descriptor that holds the root hash and the size.
//!
//! The root hash of a file of one block is the digest of that block; an empty file's is all zeros.

use std::convert::Infallible;

use sealroot_sha::{Digest, Engine};

use super::{DIGEST_BYTES, VerityDigest};

/// Bytes of a block, of data and of the Merkle tree.
pub const VERITY_BLOCK_BYTES: usize = 4096;

/// Digests in one block of the Merkle tree.
const DIGESTS_PER_BLOCK: usize = VERITY_BLOCK_BYTES / DIGEST_BYTES;

/// Levels of hashing up to the root of the largest file: each divides the number of blocks, below
/// 2^52 for a size in 64 bits, by 2^7.
const MAX_LEVELS: usize = 9;

/// Blocks that a level of [`VerityHasher`] gathers before it hashes them: the lanes of the widest
/// engine.
const BATCH_BLOCKS: usize = 16;
const BATCH_BYTES: usize = BATCH_BLOCKS * VERITY_BLOCK_BYTES;

/// Bytes of the descriptor, `struct fsverity_descriptor` of the kernel's `include/uapi/linux/fsverity.h`:
///
/// | offset | bytes | field | value here |
/// |---|---|---|---|
/// | 0 | 1 | `version` | 1 |
/// | 1 | 1 | `hash_algorithm` | 1, `FS_VERITY_HASH_ALG_SHA256` |
/// | 2 | 1 | `log_blocksize` | 12 |
/// | 3 | 1 | `salt_size` | 0 |
/// | 4 | 4 | `__reserved_0x04` | 0 |
/// | 8 | 8 | `data_size` | size of the file, little-endian |
/// | 16 | 64 | `root_hash` | root hash, then zeros |
/// | 80 | 32 | `salt` | 0 |
/// | 112 | 144 | `__reserved` | 0 |
const DESCRIPTOR_BYTES: usize = 256;
const DESCRIPTOR_VERSION: u8 = 1;
const HASH_ALGORITHM_SHA256: u8 = 1;
const LOG_BLOCK_SIZE: u8 = 12;
const NO_SALT: u8 = 0;

const _: () = assert!(1 << LOG_BLOCK_SIZE == VERITY_BLOCK_BYTES);

fn descriptor(size_bytes: u64, root_hash: &Digest) -> [u8; DESCRIPTOR_BYTES] {
    let mut descriptor = [0; DESCRIPTOR_BYTES];
    descriptor[..4].copy_from_slice(&[
        DESCRIPTOR_VERSION,
        HASH_ALGORITHM_SHA256,
        LOG_BLOCK_SIZE,
        NO_SALT,
    ]);
    descriptor[8..16].copy_from_slice(&size_bytes.to_le_bytes());
    descriptor[16..][..DIGEST_BYTES].copy_from_slice(root_hash);
    descriptor
}

/// The fs-verity digest of a file with this content.
pub fn compute_verity_digest(content: &[u8]) -> VerityDigest {
    let mut hasher = VerityHasher::new();
    hasher.update(content);
    hasher.finish()
}

/// Computes the fs-verity digest of a file of any size from its content in pieces of any size, in
/// constant memory: 64 KiB for each level of the Merkle tree.
#[derive(Clone, Debug)]
pub struct VerityHasher {
    engine: Engine,
    size_bytes: u64,
    /// The first takes the data, each other one the digests of the one before.
    levels: [Level; MAX_LEVELS],
}

#[derive(Clone, Debug, Default)]
struct Level {
    /// What is not hashed yet, less than [`BATCH_BYTES`].
    pending: Vec<u8>,
    hashed_blocks: u64,
}

impl VerityHasher {
    /// A hasher that has seen nothing yet.
    pub fn new() -> Self {
        Self::with_engine(Engine::best())
    }

    /// Like [`VerityHasher::new`], with a given engine.
    pub fn with_engine(engine: Engine) -> Self {
        Self {
            engine,
            size_bytes: 0,
            levels: Default::default(),
        }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        feed(self.engine, &mut self.levels, bytes);
    }

    /// The digest of what was taken.
    pub fn finish(mut self) -> VerityDigest {
        let root_hash = self.root_hash();
        let descriptor = descriptor(self.size_bytes, &root_hash);
        let mut digest = Digest::default();
        self.engine.hash_each(
            &descriptor,
            DESCRIPTOR_BYTES,
            std::slice::from_mut(&mut digest),
        );
        VerityDigest::from_bytes(digest)
    }

    fn root_hash(&mut self) -> Digest {
        let mut levels = &mut self.levels[..];
        while let [level, upper @ ..] = levels {
            let mut pending = std::mem::take(&mut level.pending);
            pending.resize(pending.len().next_multiple_of(VERITY_BLOCK_BYTES), 0);
            hash_blocks(self.engine, level, upper, &pending);
            if let (1, Some(top)) = (level.hashed_blocks, upper.first()) {
                return *top.pending.first_chunk().expect("it was given one digest");
            }
            levels = upper;
        }
        // Only where there was not a single block does no level end in one.
        Digest::default()
    }
}

impl Default for VerityHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives bytes to the first level.
fn feed(engine: Engine, levels: &mut [Level], mut bytes: &[u8]) {
    let [level, upper @ ..] = levels else {
        unreachable!("MAX_LEVELS are enough for a size in 64 bits")
    };
    if !level.pending.is_empty() {
        let room_bytes = BATCH_BYTES - level.pending.len();
        let (taken, rest) = bytes.split_at(room_bytes.min(bytes.len()));
        level.pending.extend_from_slice(taken);
        bytes = rest;
        if level.pending.len() < BATCH_BYTES {
            return;
        }
        let mut pending = std::mem::take(&mut level.pending);
        hash_blocks(engine, level, upper, &pending);
        pending.clear();
        level.pending = pending;
    }
    // Straight from where the caller has them.
    let (batches, rest) = bytes.split_at(bytes.len() - bytes.len() % BATCH_BYTES);
    hash_blocks(engine, level, upper, batches);
    level.pending.extend_from_slice(rest);
}

/// Hashes whole blocks of a level into the next one.
fn hash_blocks(engine: Engine, level: &mut Level, upper: &mut [Level], blocks: &[u8]) {
    let mut digests = [Digest::default(); DIGESTS_PER_BLOCK];
    for blocks in blocks.chunks(DIGESTS_PER_BLOCK * VERITY_BLOCK_BYTES) {
        let digests = &mut digests[..blocks.len() / VERITY_BLOCK_BYTES];
        engine.hash_each(blocks, VERITY_BLOCK_BYTES, digests);
        level.hashed_blocks += digests.len() as u64;
        feed(engine, upper, digests.as_flattened());
    }
}

/// Computes the fs-verity digests of many small files together: their blocks lie in one arena, so
/// that the lanes stay full from one file to the next, on all levels.
#[derive(Clone, Debug)]
pub struct VerityBatch {
    engine: Engine,
    /// From `start` on the files, each from the start of a block and filled up with zeros. May be
    /// longer than what is used, with anything after it.
    arena: Vec<u8>,
    start: usize,
    used_bytes: usize,
    files: Vec<Span>,
    digests: Vec<Digest>,
    scratch: Vec<u8>,
}

/// Where a file lies in the arena.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len_bytes: usize,
}

impl VerityBatch {
    /// A batch without a file.
    pub fn new() -> Self {
        Self::with_engine(Engine::best())
    }

    /// Like [`VerityBatch::new`], with a given engine.
    pub fn with_engine(engine: Engine) -> Self {
        Self {
            engine,
            arena: Vec::new(),
            start: 0,
            used_bytes: 0,
            files: Vec::new(),
            digests: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Makes room for files of `len_bytes` bytes together, in whole blocks, so that what is in the
    /// batch need not be moved when more comes. The memory is only used once files are there. All
    /// files in it lie at addresses that are multiples of a block, as direct I/O wants them.
    pub fn reserve(&mut self, len_bytes: usize) {
        if self.is_empty() && self.arena.len() < self.start + len_bytes {
            // Straight from the operating system: nothing has to be cleared.
            self.arena = vec![0; len_bytes + VERITY_BLOCK_BYTES];
            let start = self.arena.as_ptr().align_offset(VERITY_BLOCK_BYTES);
            self.start = start.min(VERITY_BLOCK_BYTES);
        }
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of memory that the files take, whole blocks.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Adds a file of `len_bytes` bytes, which `fill` writes where they are to be hashed; what is
    /// there before is arbitrary. Where `fill` fails, there is no new file.
    pub fn push_with<E>(
        &mut self,
        len_bytes: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.start + self.used_bytes;
        let end = start + len_bytes;
        let padded_end = start + len_bytes.next_multiple_of(VERITY_BLOCK_BYTES);
        if self.arena.len() < padded_end {
            self.arena.resize(padded_end, 0);
        }
        fill(&mut self.arena[start..end])?;
        self.arena[end..padded_end].fill(0);
        self.used_bytes = padded_end - self.start;
        self.files.push(Span { start, len_bytes });
        Ok(())
    }

    /// Adds a file with this content.
    pub fn push(&mut self, content: &[u8]) {
        let Ok(()) = self.push_with(content.len(), |place| {
            place.copy_from_slice(content);
            Ok::<_, Infallible>(())
        });
    }

    /// The digest and content of each file, in the order in which they came. The batch is empty
    /// afterwards, and keeps its memory.
    pub fn finish(&mut self) -> impl ExactSizeIterator<Item = (VerityDigest, &[u8])> {
        self.hash_files();
        self.used_bytes = 0;
        let (arena, digests) = (&self.arena, &self.digests);
        self.files
            .drain(..)
            .zip(digests)
            .map(|(Span { start, len_bytes }, digest)| {
                let content = &arena[start..start + len_bytes];
                (VerityDigest::from_bytes(*digest), content)
            })
    }

    /// Leaves the fs-verity digests of all files in `digests`.
    fn hash_files(&mut self) {
        let Self {
            engine,
            arena,
            start,
            used_bytes,
            files,
            digests,
            scratch,
        } = self;
        let blocks = &arena[*start..][..*used_bytes];
        hash_all(*engine, blocks, VERITY_BLOCK_BYTES, digests);
        let mut roots = vec![Digest::default(); files.len()];
        let block_counts = files
            .iter()
            .map(|file| file.len_bytes.div_ceil(VERITY_BLOCK_BYTES));
        let mut open: Vec<(usize, usize)> = block_counts.enumerate().collect();
        while !open.is_empty() {
            scratch.clear();
            let mut rest = &digests[..];
            open.retain_mut(|(file, count)| {
                let (own, following) = rest.split_at(*count);
                rest = following;
                match own {
                    [] => return false,
                    [root] => {
                        roots[*file] = *root;
                        return false;
                    }
                    many => scratch.extend_from_slice(many.as_flattened()),
                }
                let padded = scratch.len().next_multiple_of(VERITY_BLOCK_BYTES);
                scratch.resize(padded, 0);
                *count = count.div_ceil(DIGESTS_PER_BLOCK);
                true
            });
            hash_all(*engine, scratch, VERITY_BLOCK_BYTES, digests);
        }
        scratch.clear();
        for (file, root) in files.iter().zip(&roots) {
            let descriptor = descriptor(file.len_bytes as u64, root);
            scratch.extend_from_slice(&descriptor);
        }
        hash_all(*engine, scratch, DESCRIPTOR_BYTES, digests);
    }
}

impl Default for VerityBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// The digests of messages that lie one after the other.
fn hash_all(engine: Engine, messages: &[u8], message_bytes: usize, digests: &mut Vec<Digest>) {
    digests.resize(messages.len() / message_bytes, Digest::default());
    engine.hash_each(messages, message_bytes, digests);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `fsverity digest` of an empty file, one zero byte, and 4097 zero bytes.
    const KNOWN: [(usize, &str); 3] = [
        (
            0,
            "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95",
        ),
        (
            1,
            "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551",
        ),
        (
            4097,
            "093756e4ea9683329106d4a16982682ed182c14bf076463a9e7f97305cbac743",
        ),
    ];

    #[test]
    fn known_digests() {
        for (len_bytes, hex) in KNOWN {
            assert_eq!(compute_verity_digest(&vec![0; len_bytes]).to_hex(), hex);
        }
    }
}
