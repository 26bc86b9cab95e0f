// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's fs-verity digests of files of many sizes.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use sealroot_format::hex;
use sealroot_sys::verity::{enable_verity, measure_verity};
use sealroot_testkit::content;

/// Prints a line `<size> <digest>` per size, as the kernel measures it.
pub(crate) fn measure_sizes(directory: &str) -> Result<()> {
    for size_bytes in content::verity_sizes() {
        let path = Path::new(directory).join(format!("size-{size_bytes}"));
        let digest = measure(&path, size_bytes).with_context(|| path.display().to_string())?;
        println!("{size_bytes} {}", hex::encode(&digest));
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn measure(path: &Path, size_bytes: u64) -> Result<[u8; 32]> {
    fs::write(
        path,
        content::bytes(size_bytes, usize::try_from(size_bytes)?),
    )?;
    let file = File::open(path)?;
    enable_verity(&file)?;
    measure_verity(&file)?
        .sha256()
        .context("the digest is no SHA-256")
}
