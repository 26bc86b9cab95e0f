// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel of a vendor who packs it with zstd (`CONFIG_KERNEL_ZSTD`), made of one that is packed with xz:
//! its length and all that a delta looks at are as the vendor's would be. It does not boot, as what
//! unpacks it is the other's still.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::measure::output;

/// What x86's setup header says (Documentation/arch/x86/boot.rst): how many sectors come before the program,
/// where in that the payload is, and its length.
const SECTORS: usize = 0x1f1;
const PAYLOAD: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

const SECTOR_BYTES: usize = 512;

const XZ: &[u8] = b"\xfd7zXZ\0";

/// The level at which the kernel's own build packs.
const LEVEL: i32 = 22;

/// A copy of a tree, all of it hard links but for its kernels that are packed with xz.
pub(super) fn copy(tree: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    output(copy.args(["--archive", "--link"]).arg(tree).arg(to))?;
    for entry in fs::read_dir(to.join("boot"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with("vmlinuz-")) {
            let image = fs::read(&path)?;
            let repacked = repack(&image).with_context(|| format!("packing {}", path.display()))?;
            fs::remove_file(&path)?;
            fs::write(&path, repacked)?;
        }
    }
    Ok(())
}

fn repack(image: &[u8]) -> Result<Vec<u8>> {
    let field = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("no setup header")?;
        Ok(u32::from_le_bytes(bytes.try_into()?).try_into()?)
    };
    let sectors = usize::from(*image.get(SECTORS).context("no setup header")?);
    let start = (sectors + 1) * SECTOR_BYTES + field(PAYLOAD)?;
    let end = start + field(PAYLOAD_LENGTH)?;
    let payload = image.get(start..end).context("no payload")?;
    ensure!(payload.starts_with(XZ), "it is not packed with xz");
    let content = unpack(payload)?;
    let mut frame = zstd::bulk::compress(&content, LEVEL)?;
    frame.extend(u32::try_from(content.len())?.to_le_bytes());
    let mut repacked = image[..start].to_vec();
    let length = u32::try_from(frame.len())?.to_le_bytes();
    repacked[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length);
    Ok([&repacked, &*frame, &image[end..]].concat())
}

/// The content of the first stream; what follows it is the kernel's own.
fn unpack(payload: &[u8]) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("payload");
    fs::write(&path, payload)?;
    let mut xz = Command::new("xz");
    xz.args(["--decompress", "--single-stream", "--stdout"]);
    let done = xz.stdin(Stdio::from(File::open(path)?)).output()?;
    ensure!(done.status.success(), "xz: {done:?}");
    Ok(done.stdout)
}
