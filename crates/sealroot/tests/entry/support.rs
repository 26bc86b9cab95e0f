// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments, kernels and boot partitions of the tests.

use std::collections::BTreeMap;

use sealroot::boot_manager::BootManager;
use sealroot::entry::{Added, Boot, BootIo, Content, EntryError, Loader, NewEntry, OurEntry};
use sealroot::monitor::Silent;
use sealroot_format::digest::CommitId;
use sealroot_format::policy::DeploymentName;
use sealroot_testkit::boot_files;
pub(crate) use sealroot_testkit::boot_files::digest;
use sealroot_testkit::boot_manager::{self, PARTITION, Started};
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

/// The EFI system partition of a machine without a boot loader, with the firmware's variables.
pub(crate) fn without_loader(io: MemoryIo) -> Boot<MemoryIo> {
    let variables = Box::new(io.clone());
    Boot::without_loader(io, BootManager::new(variables, PARTITION))
}

/// The same to look at without trouble.
pub(crate) fn look_without_loader(disk: &MemoryDisk) -> Boot<MemoryIo> {
    without_loader(disk.process(Trouble::None))
}

/// An image of a number, which firmware takes for a program, started once or from now on.
pub(crate) fn image(number: u8, tries: Option<u32>) -> Wanted {
    let mut wanted = Wanted::of(number);
    wanted.kernel.0[..2].copy_from_slice(b"MZ");
    wanted.tries = tries;
    wanted
}

/// The name of a deployment's number in what [`start_of`] gives.
pub(crate) fn name(number: u8) -> String {
    deployment(number).to_string()
}

/// What firmware starts first and after that: the deployment that the newest entry with that image
/// names, or a boot option of somebody else's, or nothing.
pub(crate) fn starts_of(disk: &MemoryDisk) -> (String, String) {
    let (mut variables, files) = (disk.variables(), disk.files());
    let entries = bootable(&files);
    let mut once = || match boot_manager::start(&mut variables, &files) {
        Started::Nothing => "nothing".to_owned(),
        Started::Stranger(name) => name,
        Started::File {
            path,
            content,
            data,
        } => {
            assert!(data.is_empty(), "{path} is given {}", data.escape_ascii());
            let digest = boot_files::image_digest(&content);
            let place = format!("/sealroot/{digest}/uki.efi");
            assert!(
                path == place || path == boot_manager::FALLBACK,
                "{path} is torn"
            );
            let is_of = |entry: &&(String, String)| {
                let text = &files[&format!("/loader/entries/{}", entry.0)];
                String::from_utf8_lossy(text).contains(&place)
            };
            let entry = entries.iter().find(is_of);
            entry.map_or_else(
                || format!("{path}, which no entry names"),
                |entry| entry.1.clone(),
            )
        }
    };
    (once(), once())
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
