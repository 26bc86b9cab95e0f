// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries: which deployment boots, with which kernel, initramfs and arguments.
//!
//! Entries of the Boot Loader Specification (type 1) on whatever the boot loader reads: an EFI
//! system partition, an extended boot partition, `/boot`. docs/format/entries.md has the names,
//! the order and the commit protocol. What this module promises:
//!
//! * every change of what boots is one byte of one new file: before it, everything boots as it
//!   did; after it, the new entry with its kernel is durable and whole;
//! * nothing that an entry names, whosever it is, is removed before that entry is gone for good, and
//!   no kernel at all while there is one that cannot be read;
//! * entries of others are read, never changed;
//! * where the firmware starts images without a loader, the change is one write of one of its
//!   variables instead, after all that;
//! * what an interrupted run left is cleared by the next one, and doing the same again ends in
//!   the same state.
//!
//! All it does to the partition goes through [`BootIo`]. Callers hold the store's lock: two who
//! change entries at once are not kept apart here.

mod arguments;
mod change;
mod clear_out;
mod error;
mod fallback;
mod files;
mod find;
mod firmware;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod image;
mod initrd;
mod inspect;
mod io;
mod kernel;
mod name;
mod order;
mod program;
mod read;
mod repair_image;
mod search;
mod text;
mod version;

pub use arguments::KernelArguments;
pub use change::{Added, Content, NewEntry, Removed};
pub use error::EntryError;
pub use fallback::{Fallback, FallbackState};
pub use find::Places;
pub use initrd::{
    Initrd, InitrdError, MachinePolicy, Making, Origin, carried_initrd, make_initrd, root_device,
};
pub use inspect::{Leftovers, Room, StartedFile};
pub use io::{BootIo, BootSpace};
pub use kernel::{KernelBootFile, KernelBootIo};
pub use name::{EntryId, Generation, Tries};
pub use order::Loader;
pub use read::{Entries, Entry, EntryOption, OurEntry, Owner, Unreadable};
pub use repair_image::RepairImage;
pub use text::{EntryText, Starts};

use crate::boot_manager::BootManager;

/// A boot partition and the loader that reads it.
#[derive(Debug)]
pub struct Boot<I: BootIo = KernelBootIo> {
    io: I,
    loader: Loader,
    prefix: String,
    /// What starts images where no loader does.
    manager: Option<BootManager>,
}

impl<I: BootIo> Boot<I> {
    /// The partition behind `io`, which `loader` reads. `prefix` is the path of its directory as
    /// the loader sees it: empty where it is a filesystem of its own, `/boot` where it is a
    /// directory of the root filesystem.
    pub fn new(io: I, loader: Loader, prefix: impl Into<String>) -> Self {
        Self {
            io,
            loader,
            prefix: prefix.into(),
            manager: None,
        }
    }

    /// The EFI system partition behind `io`, from which the firmware starts images by itself.
    pub const fn without_loader(io: I, manager: BootManager) -> Self {
        Self {
            io,
            loader: Loader::Firmware,
            prefix: String::new(),
            manager: Some(manager),
        }
    }

    /// The loader.
    pub const fn loader(&self) -> Loader {
        self.loader
    }

    /// Where the partition is.
    pub fn location(&self) -> &std::path::Path {
        self.io.location()
    }

    /// The filesystem under it.
    pub const fn io(&self) -> &I {
        &self.io
    }
}
