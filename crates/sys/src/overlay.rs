// SPDX-License-Identifier: MIT OR Apache-2.0
//! The overlay that joins one layer of names and small files with data-only layers, where its
//! redirects lead.
//!
//! There is one set of options, and no weaker one is tried.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::mount::{FsContext, MountError, fd_path};

/// What the kernel does with the digests that redirects carry: the option `verity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verity {
    /// It opens only files that have fs-verity and that digest.
    Require,
    /// Nothing: whatever is there is opened.
    Off,
}

impl Verity {
    /// The option's value.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Off => "off",
        }
    }
}

/// What an overlay is made of.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The only layer whose names show. Before Linux 6.15 it must be mounted somewhere.
    pub metadata: BorrowedFd<'a>,
    /// Where redirects are looked up, in this order; at least one.
    pub data: &'a [BorrowedFd<'a>],
    /// What is demanded of the data.
    pub verity: Verity,
    /// The upper and work directory of a writable overlay.
    pub upper: Option<[BorrowedFd<'a>; 2]>,
}

/// A detached mount of the overlay. The layers' own mounts are not needed any more.
pub fn mount(layers: &Layers<'_>, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    let mut context = FsContext::open("overlay")?;
    if let Err(error) = context.set_fd_path("lowerdir+", layers.metadata) {
        if error.errno != Errno::INVAL {
            return Err(error);
        }
        // Linux 6.6 has only the older spelling, which means the same.
        context = FsContext::open("overlay")?;
        context.set_string("lowerdir", &lowerdir(layers))?;
    } else {
        for data in layers.data {
            context.set_fd_path("datadir+", *data)?;
        }
    }
    set_options(&context, layers.verity)?;
    if let Some([upper, work]) = layers.upper {
        context.set_fd_path("upperdir", upper)?;
        context.set_fd_path("workdir", work)?;
    }
    context.set_string("source", "sealroot")?;
    context.create_mount(attributes)
}

/// Sets what [`mount`] asks for beside the layers.
pub fn set_options(context: &FsContext, verity: Verity) -> Result<(), MountError> {
    context.set_string("metacopy", "on")?;
    context.set_string("redirect_dir", "on")?;
    context.set_string("verity", verity.option())
}

/// `metadata::data::data`: what follows a double colon is data-only.
fn lowerdir(layers: &Layers<'_>) -> String {
    let mut text = fd_path(layers.metadata);
    for data in layers.data {
        text.push_str("::");
        text.push_str(&fd_path(*data));
    }
    text
}
