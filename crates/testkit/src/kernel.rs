// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest kernels that `cargo xtask setup` fetches, and their modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::need;

/// A series of kernels the tests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// The kernel that everything boots on.
    V6_12,
    /// A kernel without data-only layers and `verity=require`, to be refused.
    V6_1,
}

impl Series {
    const fn name(self) -> &'static str {
        match self {
            Self::V6_12 => "6.12",
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

    /// The bootable image.
    pub fn image(&self) -> PathBuf {
        self.directory
            .join(format!("boot/vmlinuz-{}", self.release))
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

/// `kernel/fs/erofs/erofs.ko.xz` is `erofs`; dashes and underscores are the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}
