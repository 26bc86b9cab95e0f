// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest kernels that `cargo xtask setup` fetches, and their modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::disk::succeed;
use crate::need;

/// Where unpacked kernels are kept, in the repository.
const UNPACKED: &str = "target/kernels";

/// A series of kernels the tests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// The kernel that everything boots on.
    V6_12,
    /// Of the same series the one before it, for what is updated from one to the other.
    V6_12Before,
    /// Kernels of later Debians.
    Later(Later),
    /// A kernel without data-only layers and `verity=require`, to be refused.
    V6_1,
}

/// The newest kernel of a series in a later Debian than the one that everything boots on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later(&'static str);

impl Later {
    /// All that are fetched for the tests of the night.
    pub const ALL: [Self; 5] = [
        Self("6.12-later"),
        Self("6.16-later"),
        Self("6.17-later"),
        Self("6.18-later"),
        Self("7-later"),
    ];
}

impl Series {
    /// The name of its directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V6_12 => "6.12",
            Self::V6_12Before => "6.12-before",
            Self::Later(Later(name)) => name,
            Self::V6_1 => "6.1",
        }
    }
}

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub struct GuestKernel {
    directory: PathBuf,
    release: String,
}

/// A module as a guest loads it.
#[derive(Clone, Debug)]
pub struct Module {
    /// The name without extension.
    pub name: String,
    /// The uncompressed object.
    pub bytes: Vec<u8>,
}

impl GuestKernel {
    /// The fetched kernel of a series; `None` after [`need::missing`] has been told.
    pub fn find(series: Series) -> Option<Self> {
        let directory = need::cache().join("kernels").join(series.name());
        let found = Self::in_directory(&directory);
        if found.is_none() {
            need::missing(&format!("the guest kernel {}", series.name()));
        }
        found
    }

    fn in_directory(directory: &Path) -> Option<Self> {
        let release = fs::read_dir(directory.join("lib/modules"))
            .ok()?
            .next()?
            .ok()?;
        Some(Self {
            directory: directory.to_owned(),
            release: release.file_name().into_string().ok()?,
        })
    }

    /// What `uname -r` says.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The boot image as the package has it.
    pub fn packed(&self) -> PathBuf {
        let name = format!("boot/vmlinuz-{}", self.release);
        self.directory.join(name)
    }

    /// What QEMU starts. Where the kernel is packed with zstd that is the kernel itself, unpacked
    /// once: a machine under emulation takes a second for that at each boot.
    pub fn image(&self) -> Result<PathBuf> {
        let packed = self.packed();
        let directory = need::repository().join(UNPACKED);
        let unpacked = directory.join(format!("vmlinux-{}", self.release));
        if unpacked.exists() {
            return Ok(unpacked);
        }
        let image = fs::read(&packed).with_context(|| format!("reading {}", packed.display()))?;
        let Some(payload) = zstd_payload(&image) else {
            return Ok(packed);
        };
        fs::create_dir_all(&directory)?;
        // Others may do the same at the same time.
        let work = tempfile::tempdir_in(&directory)?;
        let (from, to) = (work.path().join("payload"), work.path().join("vmlinux"));
        fs::write(&from, payload)?;
        let mut unpack = Command::new("zstd");
        unpack.args(["--decompress", "--quiet", "-o"]);
        succeed(unpack.arg(&to).arg(&from)).context("unpacking the kernel")?;
        fs::rename(&to, &unpacked).context("putting the unpacked kernel in place")?;
        Ok(unpacked)
    }

    /// The directory `lib/modules/<release>`.
    pub fn modules_directory(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.release)
    }

    /// The named modules and those they need, in an order in which they can be loaded. What is
    /// built into the kernel is left out; what exists in no form is an error.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        let index = fs::read_to_string(self.modules_directory().join("modules.dep"))
            .context("reading modules.dep")?;
        let builtin = fs::read_to_string(self.modules_directory().join("modules.builtin"))
            .context("reading modules.builtin")?;
        let mut paths: Vec<&str> = Vec::new();
        for name in names {
            let line = index
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(path, _)| module_name(path) == *name);
            match line {
                // The last needed is to be loaded first.
                Some((path, needed)) => {
                    let order = needed.split_whitespace().rev().chain([path]);
                    for path in order {
                        if !paths.contains(&path) {
                            paths.push(path);
                        }
                    }
                }
                None if builtin.lines().any(|path| module_name(path) == *name) => {}
                None => bail!("kernel {} has no module {name}", self.release),
            }
        }
        paths.into_iter().map(|path| self.load(path)).collect()
    }

    fn load(&self, path: &str) -> Result<Module> {
        let full = self.modules_directory().join(path);
        let bytes = if Path::new(path)
            .extension()
            .is_some_and(|extension| extension == "xz")
        {
            let output = Command::new("xz")
                .arg("-dc")
                .arg(&full)
                .output()
                .context("starting xz")?;
            if !output.status.success() {
                bail!("xz cannot read {}", full.display());
            }
            output.stdout
        } else {
            fs::read(&full).with_context(|| format!("reading {}", full.display()))?
        };
        Ok(Module {
            name: module_name(path),
            bytes,
        })
    }
}

/// The packed kernel in an x86 boot image, if it is packed with zstd.
fn zstd_payload(image: &[u8]) -> Option<&[u8]> {
    // boot.rst of Linux: the real-mode header, its fields and what they count from.
    const HEADER: (usize, &[u8]) = (0x202, b"HdrS");
    const SETUP_SECTORS_AT: usize = 0x1f1;
    const PAYLOAD_OFFSET_AT: usize = 0x248;
    const PAYLOAD_LENGTH_AT: usize = 0x24c;
    const SECTOR_BYTES: usize = 512;
    /// The build puts the unpacked size behind what the compressor made.
    const SIZE_BYTES: usize = 4;
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

    let number = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if !image.get(HEADER.0..)?.starts_with(HEADER.1) {
        return None;
    }
    let setup_bytes = (usize::from(*image.get(SETUP_SECTORS_AT)?) + 1) * SECTOR_BYTES;
    let payload = image
        .get(setup_bytes..)?
        .get(number(PAYLOAD_OFFSET_AT)?..)?;
    let packed_bytes = number(PAYLOAD_LENGTH_AT)?.checked_sub(SIZE_BYTES)?;
    payload
        .get(..packed_bytes)
        .filter(|packed| packed.starts_with(ZSTD))
}

/// `kernel/fs/erofs/erofs.ko.xz` is `erofs`; dashes and underscores are the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_found_where_the_header_says_and_only_if_it_is_zstd() {
        let mut image = vec![0; 0x600];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&12_u32.to_le_bytes());
        assert_eq!(zstd_payload(&image), None);
        image[0x410..0x414].copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(zstd_payload(&image), Some(&image[0x410..0x418]));
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(zstd_payload(&image), None);
        assert_eq!(zstd_payload(&image[..0x210]), None);
    }
}
