// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pack mounted for a look, as the boot program would mount it: its names and small files joined
//! with the objects of a store, read-only, without devices and rights.
//!
//! What shows is the tree, but for whiteouts in it: they are empty files that overlayfs takes for
//! whiteouts, as it hides the usual ones.
//!
//! Where the store has fs-verity the kernel is told to require it, as at boot; where not, nothing
//! verifies what is read.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags};
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::DeploymentName;
use sealroot_sys::erofs;
use sealroot_sys::mount::{MountError as KernelError, attach, fd_path};
use sealroot_sys::overlay::{self, Layers, Verity};

use crate::deploy::LAYER_NAME;
use crate::machine::{self, MachineError, MountRecord, Runtime};
use crate::store::{
    LockKind, Store, StoreDir, StoreError, StoreIo as _, StorePath, VeritySupport, again,
    deployment_path, failed, full_path,
};

/// Why a pack could not be mounted. Nothing stays mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// Only root can mount.
    #[error(
        "cannot mount on {} as user {uid}: only root can mount; as another user, look at a pack \
         with ls, cat and dump",
        place.display()
    )]
    NotRoot {
        /// Where.
        place: PathBuf,
        /// Who asks.
        uid: u32,
    },
    /// The system refused something.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The store could not be locked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be written down, so that what it needs might be collected.
    #[error(transparent)]
    Record(#[from] Box<MachineError>),
    /// The kernel did not mount it.
    #[error("the kernel does not mount {what}; it takes Linux 6.6 with EROFS and overlayfs")]
    Kernel {
        /// Which part.
        what: &'static str,
        /// What the kernel said.
        source: KernelError,
    },
}

impl MountError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                ErrorClass::Usage
            }
            Self::NotRoot { .. } | Self::Io { .. } => ErrorClass::Io,
            Self::Store(error) => error.class(),
            Self::Record(error) => error.class(),
            Self::Kernel { .. } => ErrorClass::Unsupported,
        }
    }
}

/// What to mount.
#[derive(Clone, Copy, Debug)]
pub struct Source<'m> {
    /// The file of the pack. The kernel parses it: its grammar must have been checked, and its
    /// content be authentic or the user's own choice.
    pub pack: BorrowedFd<'m>,
    /// Its digest, if it is one of the store's.
    pub digest: Option<VerityDigest>,
    /// The deployment whose objects come first.
    pub deployment: Option<DeploymentName>,
}

/// Mounts a pack on the directory `place`, over the objects of `store`, and writes that down for
/// [`crate::machine::prune`]. One `umount` takes it away.
///
/// Nobody collects anything meanwhile: the store is locked.
pub fn mount(
    store: &Store,
    runtime: &Runtime,
    source: &Source<'_>,
    place: &Path,
) -> Result<(), MountError> {
    let _lock = store.lock(LockKind::Shared)?;
    let Source {
        pack, deployment, ..
    } = *source;
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return Err(MountError::NotRoot {
            place: place.into(),
            uid: uid.as_raw(),
        });
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory =
        rustix::fs::open(place, flags, Mode::empty()).map_err(io_error("open", place))?;
    let data = data_layers(store, deployment)?;
    let data: Vec<_> = data.iter().map(OwnedFd::as_fd).collect();
    let kernel = |what| move |source| MountError::Kernel { what, source };

    let metadata = erofs::mount(pack).map_err(kernel("the pack"))?;
    // Before Linux 6.15 overlayfs takes only what is mounted somewhere.
    attach(metadata.as_fd(), directory.as_fd()).map_err(io_error("mount on", place))?;
    let overlay = overlay::mount(
        &Layers {
            metadata: metadata.as_fd(),
            data: &data,
            verity: match store.verity() {
                VeritySupport::Kernel => Verity::Require,
                VeritySupport::None => Verity::Off,
            },
            upper: None,
        },
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOSUID,
    );
    let attached = fd_path(metadata.as_fd());
    rustix::mount::unmount(attached, UnmountFlags::DETACH)
        .map_err(io_error("unmount from", place))?;
    let overlay = overlay.map_err(kernel("the overlay of pack and objects"))?;
    let stat = rustix::fs::fstat(&overlay).map_err(io_error("look at", place))?;
    let identity = again(|| store.io().identity());
    let identity = identity.map_err(failed(store.io(), "look at", &StorePath::root()))?;
    let record = MountRecord {
        store: Some(identity),
        device: stat.st_dev,
        pack: source.digest,
        deployment,
        place: std::path::absolute(place).unwrap_or_else(|_| place.into()),
    };
    machine::record_mount(runtime, &record).map_err(Box::new)?;
    attach(overlay.as_fd(), directory.as_fd()).map_err(io_error("mount on", place))
}

/// The directories that objects are looked up in.
fn data_layers(
    store: &Store,
    deployment: Option<DeploymentName>,
) -> Result<Vec<OwnedFd>, MountError> {
    let own = deployment.and_then(|name| deployment_path(&name).join(LAYER_NAME));
    own.into_iter()
        .chain([StoreDir::Objects.path()])
        .map(|path| open_directory(store, &path))
        .collect()
}

fn open_directory(store: &Store, path: &StorePath) -> Result<OwnedFd, MountError> {
    let opened = store.io().open_directory(path);
    opened.map_err(|source| MountError::Io {
        operation: "open",
        path: full_path(store.io(), path),
        source,
    })
}

fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> MountError {
    move |errno| MountError::Io {
        operation,
        path: path.into(),
        source: errno.into(),
    }
}
