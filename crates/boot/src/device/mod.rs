// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one block device that is the root: found by what the policy names it by.
//!
//! What a disk says of itself is not authenticated. A wrong device leads to a refusal later or to
//! foreign state, never to foreign code; two devices that fit are refused here.

#[cfg(feature = "fuzz")]
pub mod fuzz;
mod partition;
mod superblock;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealroot_format::policy::RootDevice;

use crate::refusal::{Code, Refusal};
use partition::ReadAt;
use superblock::Superblock;

const BLOCK_DEVICES: &str = "/sys/class/block";
/// Slow disks appear seconds after their drivers.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A block device that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path, below `/dev`.
    pub path: String,
    /// The type of its filesystem, as the kernel calls it.
    pub filesystem: &'static str,
}

/// Waits for the root device and finds it.
pub(crate) fn find(root: &RootDevice) -> Result<Found, Refusal> {
    let started = Instant::now();
    loop {
        let devices = list();
        let fitting: Vec<_> = devices
            .iter()
            .filter_map(|device| device.fits(root))
            .collect();
        match fitting.as_slice() {
            [only] => return Ok(only.clone()),
            [] if started.elapsed() < PATIENCE => sleep(POLL_INTERVAL),
            [] => {
                let names = devices.iter().map(|device| device.name.as_str());
                let names = names.collect::<Vec<_>>().join(" ");
                return Err(Refusal::new(
                    Code::RootDevice,
                    root.to_string(),
                    "one device with an ext4, btrfs or f2fs filesystem",
                    format!("none among: {names}"),
                ));
            }
            several => {
                let paths: Vec<_> = several.iter().map(|found| found.path.as_str()).collect();
                return Err(Refusal::new(
                    Code::RootDevice,
                    root.to_string(),
                    "one device",
                    paths.join(" "),
                ));
            }
        }
    }
}

/// A block device with a size, as sysfs shows it.
struct Device {
    name: String,
    /// The disk it is a partition of, the disk's block size in bytes, and its number there.
    partition: Option<(String, u64, u32)>,
}

/// All block devices with a size, in the order of their names. One that goes away meanwhile is
/// none.
fn list() -> Vec<Device> {
    let entries = fs::read_dir(BLOCK_DEVICES).into_iter().flatten().flatten();
    let mut devices: Vec<_> = entries
        .filter_map(|entry| device(&entry.path(), entry.file_name().into_string().ok()?))
        .collect();
    devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    devices
}

fn device(directory: &Path, name: String) -> Option<Device> {
    if number(&directory.join("size"))? == 0 {
        return None;
    }
    let partition = number(&directory.join("partition")).and_then(|number| {
        // The directory of a partition lies in that of its disk.
        let disk = fs::canonicalize(directory).ok()?.parent()?.to_owned();
        let disk_name = disk.file_name()?.to_str()?.to_owned();
        let block_bytes = self::number(&disk.join("queue/logical_block_size"))?;
        Some((disk_name, block_bytes, u32::try_from(number).ok()?))
    });
    Some(Device { name, partition })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

impl Device {
    fn fits(&self, root: &RootDevice) -> Option<Found> {
        let superblock = self.superblock()?;
        let fits = match root {
            RootDevice::Uuid(uuid) => superblock.uuid.eq_ignore_ascii_case(uuid.as_str()),
            RootDevice::Label(label) => superblock.label == label.as_str().as_bytes(),
            RootDevice::PartUuid(uuid) => {
                self.partition_uuid()?.eq_ignore_ascii_case(uuid.as_str())
            }
        };
        fits.then(|| Found {
            path: device_path(&self.name),
            filesystem: superblock.filesystem,
        })
    }

    fn superblock(&self) -> Option<Superblock> {
        let device = File::open(device_path(&self.name)).ok()?;
        let start = ReadAt::read_at(&device, 0, superblock::PROBED_BYTES).ok()?;
        superblock::probe(&start)
    }

    fn partition_uuid(&self) -> Option<String> {
        let (disk, block_bytes, number) = self.partition.as_ref()?;
        let disk = File::open(device_path(disk)).ok()?;
        partition::partition_uuid(&disk, *block_bytes, *number).ok()?
    }
}

/// The node of a device. Sysfs has `!` for each slash.
fn device_path(name: &str) -> String {
    format!("/dev/{}", name.replace('!', "/"))
}

impl ReadAt for File {
    fn read_at(&self, offset_bytes: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len_bytes];
        self.read_exact_at(&mut bytes, offset_bytes)?;
        Ok(bytes)
    }
}
