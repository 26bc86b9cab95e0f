// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments, kernels and boot partitions of the tests.

use std::collections::BTreeMap;

use sealroot::entry::{Added, Boot, BootIo, EntryError, Files, Loader, NewEntry, OurEntry};
use sealroot::monitor::Silent;
use sealroot_format::digest::{CommitId, Sha256Digest};
use sealroot_format::policy::DeploymentName;
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, Trouble};
use sha2::{Digest as _, Sha256};

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

/// What names them, computed from the words of the document.
pub(crate) fn digest(linux: &[u8], initrd: &[u8]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update((linux.len() as u64).to_le_bytes());
    hasher.update(linux);
    hasher.update(initrd);
    Sha256Digest::from_bytes(hasher.finalize().into())
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
            arguments: self.arguments.parse().expect("arguments"),
            files: Files::Content {
                linux: &self.kernel.0,
                initrd: &self.kernel.1,
            },
            tries: self.tries,
        };
        boot.add(&new, keep, &Silent)
    }
}

/// Keeps everything.
pub(crate) fn all(_: &OurEntry) -> bool {
    true
}

/// The entries that a loader would boot from these files, in its order: the deployment of each.
/// An entry counts if its kernel and initramfs are whole.
///
/// Reads the files on its own, as a loader does: no code of the library but the order.
pub(crate) fn bootable(files: &BTreeMap<String, Vec<u8>>) -> Vec<(String, String)> {
    let entries = files.iter().filter_map(|(path, content)| {
        let name = path.strip_prefix("/loader/entries/")?;
        let text = std::str::from_utf8(content).ok()?;
        let field = |key: &str| {
            let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(' ')?.to_owned());
            text.lines().find_map(value)
        };
        let linux = field("linux")?;
        // What a loader does not find, it passes over or fails to boot; neither may happen.
        let kernel = files.get(&linux);
        let initrd = field("initrd").and_then(|path| files.get(&path));
        let named = linux.split('/').nth(2).expect("a directory").to_owned();
        let is_whole = matches!((kernel, initrd), (Some(kernel), Some(initrd))
            if digest(kernel, initrd).to_hex() == named);
        assert!(is_whole, "{path} is shown and does not boot: {text}");
        let options = field("options").unwrap_or_else(|| panic!("{path} has no options: {text}"));
        let deployment = options.rsplit_once("sealroot=").expect("a deployment").1;
        Some((name.to_owned(), deployment.to_owned()))
    });
    let mut entries: Vec<_> = entries.collect();
    // Generations have eight digits: the newest is the last name.
    entries.sort();
    entries.reverse();
    entries
}
