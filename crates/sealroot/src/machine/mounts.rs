// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records of the packs that are mounted for a look, and whether they still are.
//!
//! The kernel says nothing of the pack behind an overlay, so whoever mounts one writes it down. A
//! record counts until the kernel says that the filesystem it names is gone from every namespace.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sealroot_format::digest::VerityDigest;
use sealroot_format::limits::{MAX_MOUNT_RECORD_BYTES, MAX_MOUNT_RECORDS};
use sealroot_format::policy::DeploymentName;
use sealroot_sys::mount::is_filesystem_gone;
use serde::{Deserialize, Serialize};

use super::MachineError;
use super::runtime::{Runtime, read_bounded, replace};
use crate::store::StoreIdentity;

/// The version of the record this code reads and writes.
const MOUNT_RECORD_VERSION: u32 = 1;

/// A pack that was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRecord {
    /// The store with the objects; `None` where older versions did not say.
    pub store: Option<StoreIdentity>,
    /// The number of the overlay filesystem, as `stat` gives it for a directory of it.
    pub device: u64,
    /// The pack; `None` for a file that is not in the store.
    pub pack: Option<VerityDigest>,
    /// The deployment whose objects are used first.
    pub deployment: Option<DeploymentName>,
    /// Where it was mounted, for people: it may have been moved.
    pub place: PathBuf,
}

/// A pack that is mounted as far as can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveMount {
    /// The pack; `None` if it is not known.
    pub pack: Option<VerityDigest>,
    /// The deployment whose objects are used first.
    pub deployment: Option<DeploymentName>,
    /// Where it was mounted, or the record that says nothing we understand.
    pub place: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    version: u32,
    /// Device and inode of its directory, with a colon between them.
    store: Option<String>,
    device: u64,
    pack: Option<String>,
    deployment: Option<String>,
    place: String,
}

/// Writes down that a pack is mounted. Before the store's lock is given up, so that nobody collects
/// in between.
pub fn record_mount(runtime: &Runtime, record: &MountRecord) -> Result<(), MachineError> {
    let raw = Raw {
        version: MOUNT_RECORD_VERSION,
        store: record
            .store
            .map(|store| format!("{}:{}", store.device, store.inode)),
        device: record.device,
        pack: record.pack.map(VerityDigest::to_hex),
        deployment: record.deployment.map(|name| name.to_string()),
        place: record.place.to_string_lossy().into_owned(),
    };
    let text = toml::to_string(&raw).expect("numbers and texts are TOML");
    let directory = runtime.mounts_path();
    let name = format!("{}.toml", record.device);
    replace(&directory, &name, &text).map_err(|source| MachineError::Runtime {
        operation: "write",
        path: directory.join(&name),
        source,
    })
}

/// What the records say that is not known to be gone or of another store, and the records of what is gone.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) live: Vec<LiveMount>,
    pub(super) gone: Vec<PathBuf>,
}

impl Mounts {
    /// Looks at all records for what uses this store.
    pub(super) fn read(runtime: &Runtime, store: StoreIdentity) -> Result<Self, MachineError> {
        let directory = runtime.mounts_path();
        let failed = |source| MachineError::Runtime {
            operation: "list",
            path: directory.clone(),
            source,
        };
        let mut mounts = Self::default();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(mounts),
            entries => entries.map_err(failed)?,
        };
        for (count, entry) in entries.enumerate() {
            if count == MAX_MOUNT_RECORDS {
                return Err(failed(io::Error::other("there are too many records in it")));
            }
            let path = entry.map_err(failed)?.path();
            let is_record = path
                .extension()
                .is_some_and(|extension| extension == "toml");
            if is_record {
                mounts.add(path, store);
            }
        }
        mounts.live.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(mounts)
    }

    fn add(&mut self, path: PathBuf, store: StoreIdentity) {
        let record = match read_record(&path) {
            Ok(Some(record)) => record,
            Ok(None) => return,
            // What cannot be read may be of something that is in use.
            Err(_) => {
                self.live.push(LiveMount {
                    pack: None,
                    deployment: None,
                    place: path,
                });
                return;
            }
        };
        if is_filesystem_gone(record.device) {
            self.gone.push(path);
        } else if record.store.is_none_or(|of| of == store) {
            self.live.push(LiveMount {
                pack: record.pack,
                deployment: record.deployment,
                place: record.place,
            });
        }
    }

    /// Removes the records of what is gone. One that stays is looked at again the next time.
    pub(super) fn forget_gone(&self) {
        for path in &self.gone {
            drop(fs::remove_file(path));
        }
    }
}

/// A record; `None` if it vanished, a reason if it says nothing we understand.
fn read_record(path: &Path) -> Result<Option<MountRecord>, String> {
    let text = |error: &dyn std::error::Error| {
        let mut text = String::new();
        let _ = write!(text, "{error}");
        text
    };
    let bytes = read_bounded(path, MAX_MOUNT_RECORD_BYTES).map_err(|error| text(&error))?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let raw: Raw = toml::from_slice(&bytes).map_err(|error| text(&error))?;
    if raw.version != MOUNT_RECORD_VERSION {
        return Err(format!("version {}", raw.version));
    }
    let store = raw.store.map(|text| parse_store(&text).ok_or("store"));
    let pack = raw
        .pack
        .map(|hex| VerityDigest::from_hex(&hex).ok_or("pack"));
    let deployment = raw
        .deployment
        .map(|name| name.parse().map_err(|_| "deployment"));
    Ok(Some(MountRecord {
        store: store.transpose()?,
        device: raw.device,
        pack: pack.transpose()?,
        deployment: deployment.transpose()?,
        place: raw.place.into(),
    }))
}

fn parse_store(text: &str) -> Option<StoreIdentity> {
    let (device, inode) = text.split_once(':')?;
    Some(StoreIdentity {
        device: device.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}
