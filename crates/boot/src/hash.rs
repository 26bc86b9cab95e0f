// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity digests computed here, where no kernel does it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sealroot_format::digest::{VerityDigest, VerityHasher};

const BUFFER_BYTES: usize = 256 * 1024;

/// The fs-verity digest of a file of that many bytes. It reads no further; a file that ends
/// earlier gives the digest of what there is.
pub(crate) fn digest_of(file: &File, size_bytes: u64) -> io::Result<VerityDigest> {
    let mut hasher = VerityHasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut offset_bytes = 0u64;
    while offset_bytes < size_bytes {
        let left = usize::try_from(size_bytes.saturating_sub(offset_bytes)).unwrap_or(usize::MAX);
        let wanted = buffer.get_mut(..left.min(BUFFER_BYTES)).unwrap_or_default();
        let read = file.read_at(wanted, offset_bytes)?;
        if read == 0 {
            break;
        }
        hasher.update(wanted.get(..read).unwrap_or_default());
        offset_bytes = offset_bytes.saturating_add(read as u64);
    }
    Ok(hasher.finish())
}
