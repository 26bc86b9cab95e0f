// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks, and what becomes of what a guest writes to them.

use std::path::PathBuf;

use anyhow::Result;

use super::escaped;

/// The unit of the logs of [`super::Vm::logged_disk`].
pub const LOG_SECTOR_BYTES: u64 = 512;

/// A disk of a machine.
#[derive(Clone, Debug)]
pub(super) struct DiskUse {
    pub(super) serial: String,
    pub(super) path: PathBuf,
    pub(super) use_of_writes: Writes,
}

/// What becomes of what the guest writes to a disk.
#[derive(Clone, Debug)]
pub(super) enum Writes {
    /// It is in the image, all of it and at once.
    Kept,
    /// That, and in a log of this name too.
    Logged(PathBuf),
    /// It is gone with the machine.
    Dropped,
    /// It goes to a server of network block devices, whose socket this disk is.
    Served,
}

impl DiskUse {
    /// The value of QEMU's option for this disk, the one with this number.
    pub(super) fn drive(&self, index: usize) -> Result<String> {
        let id = format!("if=none,id=disk{index}");
        let file = escaped(&self.path)?;
        Ok(match &self.use_of_writes {
            Writes::Kept => format!("{id},format=raw,cache=unsafe,snapshot=off,file={file}"),
            Writes::Served => {
                format!("{id},driver=nbd,server.type=unix,server.path={file}")
            }
            Writes::Dropped => format!("{id},format=raw,cache=unsafe,snapshot=on,file={file}"),
            // Flushes are to reach the log; what they would cost the host's disk is saved.
            Writes::Logged(log) => format!(
                "{id},driver=blklogwrites,cache=writeback,log-sector-size={LOG_SECTOR_BYTES},\
                 file.driver=file,file.cache.no-flush=on,file.filename={file},\
                 log.driver=file,log.cache.no-flush=on,log.filename={}",
                escaped(log)?
            ),
        })
    }
}
