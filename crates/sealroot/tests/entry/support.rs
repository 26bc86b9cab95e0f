// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments, kernels and boot partitions of the tests.

use std::collections::BTreeMap;

use sealroot::entry::{Added, Boot, BootIo, Content, EntryError, Loader, NewEntry, OurEntry};
use sealroot::monitor::Silent;
use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;
use sealroot_testkit::boot_files;
pub(crate) use sealroot_testkit::boot_files::digest;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble};

/// The deployment that is called by a number.
pub(crate) fn deployment(number: u8) -> DeploymentName {
    DeploymentName {
        commit: CommitId::from_bytes([number; 32]),
        serial: 0,
    }
}

/// A kernel and an initramfs, several writes long, and not the same length.
pub(crate) fn kernel(number: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![number; 5000], vec![number ^ 0xff; 7001])
}

pub(crate) fn boot(io: MemoryIo) -> Boot<MemoryIo> {
    Boot::new(io, Loader::SystemdBoot, "")
}

/// A boot partition to look at without trouble.
pub(crate) fn look(disk: &MemoryDisk) -> Boot<MemoryIo> {
    boot(disk.process(Trouble::None))
}

/// What a new entry is made of in most tests.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) deployment: DeploymentName,
    pub(crate) kernel: (Vec<u8>, Vec<u8>),
    pub(crate) arguments: &'static str,
    pub(crate) tries: Option<u32>,
}

impl Wanted {
    pub(crate) fn of(number: u8) -> Self {
        Self {
            deployment: deployment(number),
            kernel: kernel(number),
            arguments: "quiet rw",
            tries: None,
        }
    }

    pub(crate) fn add<I: BootIo>(
        &self,
        boot: &Boot<I>,
        keep: &dyn Fn(&OurEntry) -> bool,
    ) -> Result<Added, EntryError> {
        let new = NewEntry {
            deployment: self.deployment,
            title: format!("Test OS {}", self.deployment.commit.as_bytes()[0]),
            content: Content::Kernel {
                arguments: self.arguments.parse().expect("arguments"),
                linux: &self.kernel.0,
                initrd: &self.kernel.1,
            },
            tries: self.tries,
        };
        boot.add(&new, keep, &Silent)
    }

    /// The same with the kernel as an image.
    pub(crate) fn add_image<I: BootIo>(
        &self,
        boot: &Boot<I>,
        keep: &dyn Fn(&OurEntry) -> bool,
    ) -> Result<Added, EntryError> {
        let new = NewEntry {
            deployment: self.deployment,
            title: format!("Test OS {}", self.deployment.commit.as_bytes()[0]),
            content: Content::Image(&self.kernel.0),
            tries: self.tries,
        };
        boot.add(&new, keep, &Silent)
    }
}

/// Keeps everything.
pub(crate) fn all(_: &OurEntry) -> bool {
    true
}

/// The entries that a loader would boot from these files, in its order: name and deployment of
/// each. Fails where one is shown that is not whole.
pub(crate) fn bootable(files: &BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    boot_files::bootable(files).unwrap_or_else(|error| panic!("{error}"))
}
