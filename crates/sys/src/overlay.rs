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
    match add_layers(&context, layers) {
        Err(error) if error.errno == Errno::INVAL => {
            // Linux 6.6 and 6.7 have only the older spelling, which means the same.
            context = FsContext::open("overlay")?;
            context.set_string("lowerdir", &lowerdir(layers))?;
        }
        other => other?,
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

fn add_layers(context: &FsContext, layers: &Layers<'_>) -> Result<(), MountError> {
    context.set_fd_path("lowerdir+", layers.metadata)?;
    layers
        .data
        .iter()
        .try_for_each(|data| context.set_fd_path("datadir+", *data))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;

    use rustix::fs::{Mode, OFlags, XattrFlags};

    use super::*;

    type Spelling = fn(&FsContext, &Layers<'_>) -> Result<(), MountError>;

    /// Reads `f` of an overlay whose metadata layer redirects it to `/object`, and `name`.
    fn read(spelling: Spelling, name: &str) -> Option<Vec<u8>> {
        let layer = FsContext::open("tmpfs")
            .and_then(|context| context.create_mount(MountAttrFlags::empty()))
            .expect("a tmpfs");
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = rustix::fs::openat(&layer, "f", flags, Mode::RUSR).expect("a file");
        rustix::fs::ftruncate(&file, 7).expect("a length");
        for (name, value) in [("metacopy", &b""[..]), ("redirect", b"/object")] {
            let name = format!("trusted.overlay.{name}");
            rustix::fs::fsetxattr(&file, name, value, XattrFlags::CREATE).expect("a xattr");
        }
        let empty = tempfile::tempdir().expect("a directory");
        let full = tempfile::tempdir().expect("a directory");
        fs::write(full.path().join("object"), "content").expect("a file");
        let data = [&empty, &full].map(|one| fs::File::open(one.path()).expect("a directory"));
        let place = tempfile::tempdir().expect("a directory");
        let directory = fs::File::open(place.path()).expect("a directory");
        crate::mount::attach(layer.as_fd(), directory.as_fd()).expect("a place");
        let layers = Layers {
            metadata: layer.as_fd(),
            data: &[data[0].as_fd(), data[1].as_fd()],
            verity: Verity::Off,
            upper: None,
        };
        let context = FsContext::open("overlay").expect("overlayfs");
        spelling(&context, &layers).expect("layers");
        set_options(&context, layers.verity).expect("options");
        let overlay = context.create_mount(MountAttrFlags::MOUNT_ATTR_RDONLY);
        let gone = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(place.path(), gone).expect("it was mounted");
        let overlay = overlay.expect("it mounts");
        fs::read(format!("{}/{name}", fd_path(overlay.as_fd()))).ok()
    }

    #[test]
    fn both_spellings_give_data_only_layers() {
        if !rustix::process::geteuid().is_root() {
            return skip("root rights");
        }
        let older: Spelling = |context, layers| context.set_string("lowerdir", &lowerdir(layers));
        for spelling in [add_layers, older] {
            assert_eq!(read(spelling, "f").as_deref(), Some(&b"content"[..]));
            assert_eq!(read(spelling, "object"), None);
        }
    }

    /// As the test kit does it, which uses this crate.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn skip(what: &str) {
        let required = std::env::var_os("SEALROOT_REQUIRE").is_some_and(|value| !value.is_empty());
        assert!(!required, "{what} is missing and SEALROOT_REQUIRE is set");
        eprintln!("SKIP: {what} is missing");
    }
}
