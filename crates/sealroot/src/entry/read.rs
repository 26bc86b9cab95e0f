// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a boot partition: the entries, ours and others', in the order of the loader.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use sealroot_format::digest::Sha256Digest;
use sealroot_format::limits::{MAX_BOOT_ENTRIES, MAX_BOOT_ENTRY_BYTES, MAX_LOADER_CONFIG_BYTES};
use sealroot_format::policy::DeploymentName;

use super::name::{EntryId, Generation, SUFFIX, Tries, split_tries};
use super::order::{Loader, matches};
use super::search::{deployments_in, digests_in};
use super::text::{EntryText, Fields, KERNELS};
use super::{Boot, BootIo, EntryError};
use crate::boot_manager::Options;
use crate::store::{DirEntry, FileKind, StorePath, again};

/// The directory that the loader reads.
const LOADER: &str = "loader";
const ENTRIES: &str = "entries";

/// The configuration of systemd-boot, beside it.
const CONFIG: &str = "loader.conf";

/// One boot entry: a file that the loader shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in `loader/entries`.
    pub file_name: String,
    /// What the loader counts, where it counts.
    pub tries: Option<Tries>,
    /// For people.
    pub title: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it is sorted by first.
    pub sort_key: Option<String>,
    /// The installation it belongs to.
    pub machine_id: Option<String>,
    /// The kernel, as the loader resolves it.
    pub linux: Option<String>,
    /// The kernel's arguments.
    pub options: Option<String>,
    /// The deployments that its bytes name, whosever it is.
    pub names: BTreeSet<DeploymentName>,
    /// What of the firmware's boot manager starts it, where that does.
    pub option: Option<EntryOption>,
    /// Whose it is.
    pub owner: Owner,
}

/// A load option of the firmware that starts an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryOption {
    /// `####` of `Boot####`.
    pub number: u16,
    /// Whether it is started the next time, and only then.
    pub is_next: bool,
    /// Its place in `BootOrder`, from 0.
    pub position: Option<usize>,
}

/// Whose an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Ours, as we write it.
    Sealroot(OurEntry),
    /// Ours by its name, but changed: it is shown, and never touched unless it is removed by name.
    Changed {
        /// Its name.
        id: EntryId,
        /// What is not as it was.
        reason: String,
    },
    /// OSTree's.
    Ostree,
    /// Somebody else's.
    Other,
    /// No file, but a load option of the firmware that starts none of ours.
    Firmware,
}

/// An entry of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurEntry {
    /// Its name.
    pub id: EntryId,
    /// What it says.
    pub text: EntryText,
}

/// An entry that loaders may read and we cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

impl Entry {
    /// The name that loaders know it by: without tries, in lower case.
    pub(super) fn id(&self) -> String {
        let stem = self
            .file_name
            .strip_suffix(SUFFIX)
            .unwrap_or(&self.file_name);
        let stem = split_tries(stem).0;
        format!("{stem}{SUFFIX}").to_ascii_lowercase()
    }

    /// The entry, if it is one of ours and unchanged.
    pub fn ours(&self) -> Option<&OurEntry> {
        match &self.owner {
            Owner::Sealroot(ours) => Some(ours),
            _ => None,
        }
    }

    /// The deployment of ours that it boots.
    pub fn deployment(&self) -> Option<DeploymentName> {
        self.ours().map(|ours| ours.text.deployment)
    }
}

/// All that a boot partition has of entries and of our kernels.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// What the loader shows, in its order.
    pub(super) shown: Vec<Entry>,
    /// Files of ours that an interrupted run left: the loader passes over them.
    pub(super) leftovers: Vec<String>,
    /// Directories of our kernels.
    pub(super) kernels: BTreeSet<Sha256Digest>,
    /// Which of them each file in the directory of entries may name, whosever it is.
    pub(super) references: BTreeMap<String, BTreeSet<Sha256Digest>>,
    /// Deployments that files name in which no kernel was found, and which are none of ours; one such
    /// file of each.
    pub(super) named_besides: BTreeMap<DeploymentName, String>,
    /// An entry of which it is not known what it uses.
    pub(super) unreadable: Option<Unreadable>,
    /// What the configuration of systemd-boot says is the default: a pattern.
    pub(super) preferred: Option<String>,
    /// The highest generation in any name of ours.
    pub(super) newest: Option<EntryId>,
    /// Where the entries are, once there is a directory for them.
    pub(super) directory: Option<StorePath>,
    /// What the firmware's boot manager has, where it starts the entries.
    pub(super) options: Option<Options>,
}

impl Entries {
    /// All entries, the one that boots first.
    pub fn in_boot_order(&self) -> &[Entry] {
        &self.shown
    }

    /// The entry that boots unless somebody chooses another: the first that the configuration of
    /// systemd-boot names, else the first of all.
    pub fn default_entry(&self) -> Option<&Entry> {
        let is_named = |entry: &&Entry| {
            let pattern = self.preferred.as_deref();
            pattern.is_some_and(|pattern| matches(pattern.as_bytes(), entry.id().as_bytes()))
        };
        let named = self.shown.iter().find(is_named);
        named.or_else(|| self.shown.first())
    }

    /// Ours, in the order of the loader.
    pub fn ours(&self) -> impl Iterator<Item = (&Entry, &OurEntry)> {
        let with_text = |entry| Some((entry, Entry::ours(entry)?));
        self.shown.iter().filter_map(with_text)
    }

    /// The newest entry of a deployment.
    pub fn of(&self, deployment: &DeploymentName) -> Option<&Entry> {
        (self.ours())
            .filter(|(_, ours)| ours.text.deployment == *deployment)
            .max_by_key(|(_, ours)| ours.id.generation)
            .map(|(entry, _)| entry)
    }

    /// What boots if our newest entry in order is given up, also one that somebody changed: the next
    /// of ours that boots another deployment.
    pub fn rollback_entry(&self) -> Option<&Entry> {
        let newest = self.shown.iter().find_map(|entry| match &entry.owner {
            Owner::Sealroot(OurEntry { id, .. }) | Owner::Changed { id, .. } => Some(id),
            Owner::Ostree | Owner::Other | Owner::Firmware => None,
        })?;
        let is_other = |(_, ours): &(&Entry, &OurEntry)| !newest.is_of(&ours.text.deployment);
        self.ours().find(is_other).map(|(entry, _)| entry)
    }

    /// Deployments that are named by files that may be entries, though no kernel was found in them,
    /// with one such file of each.
    pub const fn named_besides(&self) -> &BTreeMap<DeploymentName, String> {
        &self.named_besides
    }

    /// An entry that cannot be read: as long as there is one, nothing is known to be unused.
    pub const fn unreadable(&self) -> Option<&Unreadable> {
        self.unreadable.as_ref()
    }

    /// Kernels that no entry, whosever it is, names: what an earlier run left.
    pub fn unused_kernels(&self) -> BTreeSet<Sha256Digest> {
        self.unused_without(&BTreeSet::new())
    }

    /// Kernels that no entry would name any more without the files of these names.
    pub(super) fn unused_without(&self, gone: &BTreeSet<&str>) -> BTreeSet<Sha256Digest> {
        if self.unreadable.is_some() {
            return BTreeSet::new();
        }
        let stays = (self.references.iter()).filter(|(name, _)| !gone.contains(name.as_str()));
        let used: BTreeSet<_> = stays.flat_map(|(_, files)| files).copied().collect();
        self.kernels.difference(&used).copied().collect()
    }

    /// What the next change is numbered.
    pub(super) fn next_generation(&self) -> Result<Generation, EntryError> {
        let Some(newest) = self.newest else {
            return Ok(Generation::FIRST);
        };
        (newest.generation.next()).ok_or_else(|| EntryError::NoGenerationLeft {
            name: newest.to_string(),
        })
    }
}

impl<I: BootIo> Boot<I> {
    /// Reads what there is.
    pub fn entries(&self) -> Result<Entries, EntryError> {
        let mut found = Entries {
            kernels: self.kernels()?,
            ..Entries::default()
        };
        if let Some(directory) = self.entries_directory()? {
            for DirEntry { name, kind } in self.list(&directory)? {
                let is_entry = name.to_ascii_lowercase().ends_with(SUFFIX.as_bytes());
                if is_entry && kind != FileKind::Directory && !name.starts_with(b".") {
                    self.read_entry(&directory, &name, &mut found)?;
                }
            }
            if let (Loader::SystemdBoot, Some((parent, _))) = (self.loader, directory.split()) {
                found.preferred = self.preferred(&parent)?;
            }
            found.directory = Some(directory);
        }
        self.find_options(&mut found)?;
        let loader = self.loader;
        found.shown.sort_by(|a, b| loader.compare(a, b));
        Ok(found)
    }

    fn read_entry(
        &self,
        directory: &StorePath,
        name: &[u8],
        found: &mut Entries,
    ) -> Result<(), EntryError> {
        let path = directory.join(name).expect("a name that was listed");
        let file_name = String::from_utf8_lossy(name).into_owned();
        let ours = EntryId::parse(name);
        if let Some((id, _)) = ours {
            found.newest = found.newest.max(Some(id));
        }
        let bytes = match self.read_small(&path, MAX_BOOT_ENTRY_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_no_small_file() => {
                found.unreadable.get_or_insert(Unreadable {
                    path: self.full(&path),
                    reason: match error {
                        EntryError::Io { .. } => "it is a symlink".to_owned(),
                        _ => error.to_string(),
                    },
                });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let fields = Fields::parse(&text);
        let references = found.references.entry(file_name.clone());
        references.or_default().extend(digests_in(&bytes));
        let names = deployments_in(&bytes);
        let boots = ["linux", "efi", "uki", "uki-url"]
            .iter()
            .any(|key| fields.get(key).is_some());
        if !boots {
            if ours.is_some() {
                found.leftovers.push(file_name);
            } else {
                let with_file = names.into_iter().map(|name| (name, file_name.clone()));
                found.named_besides.extend(with_file);
            }
            return Ok(());
        }
        let owner = match ours {
            Some((id, _)) if std::str::from_utf8(&bytes).is_err() => Owner::Changed {
                id,
                reason: "it is not UTF-8".to_owned(),
            },
            Some((id, _)) => match EntryText::parse(&text, &id, &self.prefix) {
                Ok(text) => Owner::Sealroot(OurEntry { id, text }),
                Err(reason) => Owner::Changed { id, reason },
            },
            None if file_name.starts_with("ostree-") => Owner::Ostree,
            None => Owner::Other,
        };
        let stem = file_name.strip_suffix(SUFFIX).unwrap_or(&file_name);
        let field = |key| fields.get(key).map(str::to_owned);
        found.shown.push(Entry {
            tries: split_tries(stem).1.filter(|_| self.loader.counts_tries()),
            title: field("title"),
            version: field("version"),
            sort_key: field("sort-key"),
            machine_id: field("machine-id"),
            linux: field("linux"),
            options: field("options"),
            names,
            file_name,
            option: None,
            owner,
        });
        Ok(())
    }

    /// What `loader.conf` names as the default; what it remembers by itself (`@saved`) is not known.
    fn preferred(&self, directory: &StorePath) -> Result<Option<String>, EntryError> {
        let path = directory.join(CONFIG).expect("a constant");
        let bytes = match self.read_small(&path, MAX_LOADER_CONFIG_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() || error.is_no_small_file() => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let pattern = Fields::parse(&text).get("default").map(str::to_owned);
        Ok(pattern.filter(|pattern| !pattern.starts_with('@')))
    }

    /// The directories of kernels.
    fn kernels(&self) -> Result<BTreeSet<Sha256Digest>, EntryError> {
        let names = match self.list(&known(KERNELS)) {
            Ok(names) => names,
            Err(error) if error.is_not_found() => return Ok(BTreeSet::new()),
            Err(error) => return Err(error),
        };
        let digest = |entry: DirEntry| Sha256Digest::from_hex(&entry.name);
        Ok(names.into_iter().filter_map(digest).collect())
    }

    /// Where the loader finds its entries; `None` if there is no such directory yet. OSTree has a
    /// symbolic link `loader` to one of `loader.0` and `loader.1`; no other link is followed.
    pub(super) fn entries_directory(&self) -> Result<Option<StorePath>, EntryError> {
        let mut loader = known(LOADER);
        match again(|| self.io.open(&loader)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                let target = again(|| self.io.read_link(&loader));
                let target = target.map_err(self.failed("read", &loader))?;
                if !matches!(&target[..], b"loader.0" | b"loader.1") {
                    return Err(EntryError::NotRegular {
                        path: self.full(&loader),
                        found: FileKind::Symlink,
                    });
                }
                loader = StorePath::new(target).expect("one of two names");
            }
            Err(error) => return Err(self.failed("open", &loader)(error)),
        }
        let entries = loader.join(ENTRIES).expect("a constant");
        match again(|| self.io.open(&entries)) {
            Ok(_) => Ok(Some(entries)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("open", &entries)(error)),
        }
    }

    /// The directory of entries, made if it is missing.
    pub(super) fn make_entries_directory(&self) -> Result<StorePath, EntryError> {
        if let Some(directory) = self.entries_directory()? {
            return Ok(directory);
        }
        let loader = known(LOADER);
        let entries = loader.join(ENTRIES).expect("a constant");
        for (path, parent) in [(&loader, &StorePath::root()), (&entries, &loader)] {
            self.make_directory(path)?;
            again(|| self.io.sync_directory(parent)).map_err(self.failed("sync", parent))?;
        }
        Ok(entries)
    }

    /// The names in a directory, few enough to look at.
    pub(super) fn list(&self, directory: &StorePath) -> Result<Vec<DirEntry>, EntryError> {
        let names = again(|| self.io.list(directory)).map_err(self.failed("list", directory))?;
        if names.len() > MAX_BOOT_ENTRIES {
            return Err(EntryError::TooMany {
                path: self.full(directory),
                found: names.len(),
                max: MAX_BOOT_ENTRIES,
            });
        }
        Ok(names)
    }

    /// Reads a small regular file whole.
    pub(super) fn read_small(
        &self,
        path: &StorePath,
        max_bytes: u64,
    ) -> Result<Vec<u8>, EntryError> {
        let (file, stat) = again(|| self.io.open(path)).map_err(self.failed("open", path))?;
        if stat.kind != FileKind::Regular {
            return Err(EntryError::NotRegular {
                path: self.full(path),
                found: stat.kind,
            });
        }
        if stat.size_bytes > max_bytes {
            return Err(EntryError::TooLarge {
                path: self.full(path),
                found_bytes: stat.size_bytes,
                max_bytes,
            });
        }
        let mut bytes = vec![0; usize::try_from(stat.size_bytes).expect("bounded by max_bytes")];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = again(|| self.io.read_at(&file, &mut bytes[filled..], filled as u64));
            match read.map_err(self.failed("read", path))? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Makes a directory unless it is there.
    pub(super) fn make_directory(&self, path: &StorePath) -> Result<(), EntryError> {
        match again(|| self.io.create_directory(path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(self.failed("create", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Gives an [`io::Error`] its context.
    pub(super) fn failed(
        &self,
        operation: &'static str,
        path: &StorePath,
    ) -> impl FnOnce(io::Error) -> EntryError {
        move |source| EntryError::Io {
            operation,
            path: self.full(path),
            source,
        }
    }

    /// A path as a person finds it.
    pub(super) fn full(&self, path: &StorePath) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let relative = std::ffi::OsStr::from_bytes(path.as_bytes());
        self.io.location().join(relative)
    }
}

/// A path whose validity is plain from the source.
pub(super) fn known(text: &str) -> StorePath {
    StorePath::new(text).expect("made of constants and digits")
}
