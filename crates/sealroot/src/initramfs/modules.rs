// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel modules an initramfs carries, and in which order they load.
//!
//! Reads `modules.dep` and `modules.builtin` of a kernel's module directory, as `depmod` and the
//! kernel's build write them. Part of the vendor's build, so these files are trusted input.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use super::Error;

/// The files of a kernel's module directory, `lib/modules/<release>` of some tree.
pub trait ModuleFiles {
    /// Where it is, for messages.
    fn location(&self) -> PathBuf;

    /// Reads a file below it; [`std::io::ErrorKind::NotFound`] if there is none.
    fn read(&self, path: &str) -> std::io::Result<Vec<u8>>;
}

impl ModuleFiles for PathBuf {
    fn location(&self) -> PathBuf {
        self.clone()
    }

    fn read(&self, path: &str) -> std::io::Result<Vec<u8>> {
        fs::read(self.join(path))
    }
}

/// A kernel module to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleRequest {
    /// Its name, such as `virtio_blk`; `-` and `_` are the same.
    pub name: String,
    /// Whether the build fails where the kernel neither has it built in nor as a module.
    pub required: bool,
}

impl ModuleRequest {
    /// A module without which the initramfs is of no use.
    pub fn required(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            required: true,
        }
    }

    /// A module to carry where the kernel has it.
    pub fn where_present(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            required: false,
        }
    }
}

/// What boot needs of a kernel: the usual disks, ext4, EROFS, overlayfs and loop devices.
pub fn default_modules() -> Vec<ModuleRequest> {
    let where_present = [
        "crc32c_generic",
        "efivarfs",
        "tpm_crb",
        "tpm_tis",
        "virtio_pci",
        "virtio_blk",
        "virtio_scsi",
        "xen_blkfront",
        "nvme",
        "ahci",
        "sd_mod",
        "sdhci_pci",
        "sdhci_acpi",
        "mmc_block",
    ];
    let required = ["ext4", "erofs", "overlay", "loop"];
    (where_present.into_iter().map(ModuleRequest::where_present))
        .chain(required.into_iter().map(ModuleRequest::required))
        .collect()
}

/// The modules of one kernel.
pub(super) struct KernelModules<'f> {
    directory: &'f dyn ModuleFiles,
    /// Per module: its file below the directory and the files it needs, the most basic last.
    files: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
}

impl<'f> KernelModules<'f> {
    /// Reads the lists in a module directory.
    pub(super) fn open(directory: &'f dyn ModuleFiles) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        for line in read_list(directory, "modules.dep")?.lines() {
            let Some((file, needs)) = line.split_once(':') else {
                return Err(Error::BadList {
                    path: directory.location().join("modules.dep"),
                    line: line.to_owned(),
                });
            };
            let needs = needs.split_ascii_whitespace().map(str::to_owned).collect();
            files.insert(module_name(file), (file.to_owned(), needs));
        }
        let builtin = read_list(directory, "modules.builtin")?
            .lines()
            .map(module_name)
            .collect();
        Ok(Self {
            directory,
            files,
            builtin,
        })
    }

    /// The files to load for `requests`, below the module directory: what others need comes
    /// before them, otherwise the order of the requests holds.
    pub(super) fn load_order(&self, requests: &[ModuleRequest]) -> Result<Vec<&str>, Error> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for request in requests {
            let name = module_name(&request.name);
            match self.files.get(&name) {
                Some(_) => self.visit(&name, &mut seen, &mut order)?,
                None if self.builtin.contains(&name) || !request.required => {}
                None => {
                    return Err(Error::MissingModule {
                        name,
                        directory: self.directory.location(),
                    });
                }
            }
        }
        Ok(order)
    }

    fn visit<'s>(
        &'s self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<&'s str>,
    ) -> Result<(), Error> {
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some((file, needs)) = self.files.get(name) else {
            return Err(Error::MissingModule {
                name: name.to_owned(),
                directory: self.directory.location(),
            });
        };
        for needed in needs.iter().rev() {
            self.visit(&module_name(needed), seen, order)?;
        }
        order.push(file);
        Ok(())
    }

    /// The content of a file that [`KernelModules::load_order`] named, as it is, and the name it
    /// gets in the initramfs: `<position>-<name>.ko` and the ending of its compression.
    pub(super) fn read(&self, position: usize, file: &str) -> Result<(String, Vec<u8>), Error> {
        let ending = file.rsplit_once(".ko").map_or("", |(_, ending)| ending);
        if !matches!(ending, "" | ".xz" | ".zst" | ".gz") {
            return Err(Error::BadList {
                path: self.directory.location().join("modules.dep"),
                line: file.to_owned(),
            });
        }
        let content = self.directory.read(file).map_err(|source| Error::Read {
            path: self.directory.location().join(file),
            source,
        })?;
        let name = format!("{position:03}-{}.ko{ending}", module_name(file));
        Ok((name, content))
    }
}

fn read_list(directory: &dyn ModuleFiles, name: &str) -> Result<String, Error> {
    let path = directory.location().join(name);
    let text = directory.read(name).and_then(|bytes| {
        let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        String::from_utf8(bytes).map_err(invalid)
    });
    text.map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            Error::NoModuleList { path }
        } else {
            Error::Read { path, source }
        }
    })
}

/// `kernel/drivers/block/virtio-blk.ko.xz` as the kernel calls it: `virtio_blk`.
fn module_name(file: &str) -> String {
    let base = file.rsplit_once('/').map_or(file, |(_, base)| base);
    let name = base.split_once(".ko").map_or(base, |(name, _)| name);
    name.trim().replace('-', "_")
}
