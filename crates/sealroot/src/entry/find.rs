// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which boot loader a machine has, and which partition it reads (docs/format/entries.md 1).

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use sealroot_format::limits::MAX_LOADER_CONFIG_BYTES;

use super::order::Loader;
use super::read::known;
use super::{Boot, BootIo, EntryError, KernelBootIo};
use crate::mountinfo::mount_of;
use crate::store::{FileKind, again};

mod detect;

/// Where the kernel shows the variables of the firmware.
const EFI_VARIABLES: &str = "/sys/firmware/efi/efivars";

/// The variable in which a boot loader says its name (systemd's Boot Loader Interface).
const LOADER_INFO: &str = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Most bytes of that variable that are read.
const MAX_LOADER_INFO_BYTES: u64 = 1024;

/// Where to look for a boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// For messages.
    pub sysroot: PathBuf,
    /// Directories that may be boot partitions.
    pub directories: Vec<PathBuf>,
    /// The variables of the firmware, if the sysroot is that of this machine.
    pub efi_variables: Option<PathBuf>,
}

impl Places {
    /// The usual places of a sysroot: for `/` and `/sysroot`, which are this machine's, the
    /// partitions mounted in `/` as well.
    pub fn of(sysroot: &Path) -> Self {
        let is_this_machine = [Path::new("/"), Path::new("/sysroot")].contains(&sysroot);
        let root = if is_this_machine {
            Path::new("/")
        } else {
            sysroot
        };
        let mut directories = vec![root.join("efi"), root.join("boot/efi"), root.join("boot")];
        if is_this_machine {
            directories.push("/sysroot/boot".into());
        }
        Self {
            sysroot: sysroot.to_owned(),
            directories,
            efi_variables: is_this_machine.then(|| EFI_VARIABLES.into()),
        }
    }
}

/// What was found in one place.
struct Candidate {
    io: KernelBootIo,
    prefix: String,
    systemd_boot: bool,
    /// GRUB's configuration, and whether it reads boot entries.
    grub: Option<(PathBuf, Option<Loader>)>,
}

impl Boot<KernelBootIo> {
    /// The boot partition at `directory`, which `loader` is known to read.
    pub fn open(directory: &Path, loader: Loader) -> Result<Self, EntryError> {
        let failed = |source| EntryError::Io {
            operation: "open",
            path: directory.to_owned(),
            source,
        };
        let io = KernelBootIo::open(directory).map_err(failed)?;
        if loader == Loader::Firmware {
            let manager = detect::manager_for(&io, Path::new(EFI_VARIABLES))?;
            return Ok(Self::without_loader(io, manager));
        }
        let prefix = if loader.is_grub() {
            path_on_filesystem(&io).map_err(failed)?
        } else {
            String::new()
        };
        Ok(Self::new(io, loader, prefix))
    }

    /// Finds the loader that starts a machine, and the partition it reads its entries from.
    pub fn find(places: &Places) -> Result<Self, EntryError> {
        let mut candidates = Vec::new();
        for directory in &places.directories {
            candidates.extend(look_into(directory)?);
        }
        if let Some((at, manager)) = detect::started_by_firmware(places, &candidates)? {
            return Ok(Self::without_loader(candidates.swap_remove(at).io, manager));
        }
        let has_systemd_boot = candidates.iter().any(|candidate| candidate.systemd_boot);
        let grub = candidates
            .iter()
            .position(|candidate| candidate.grub.is_some());
        let is_systemd_boot = match (has_systemd_boot, grub) {
            (false, None) => {
                return Err(EntryError::NoBootLoader {
                    sysroot: places.sysroot.clone(),
                });
            }
            (true, None) => true,
            (false, Some(_)) => false,
            (true, Some(_)) => says_it_is_systemd_boot(places, &candidates)?,
        };
        if is_systemd_boot {
            return Ok(systemd_boot_partition(candidates));
        }
        let candidate = candidates.swap_remove(grub.expect("one of the two"));
        match candidate.grub.expect("it was found here") {
            (_, Some(loader)) => Ok(Self::new(candidate.io, loader, candidate.prefix)),
            (config, None) => Err(EntryError::UnsupportedLoader {
                found: format!("GRUB as configured in {}", config.display()),
                advice: "use systemd-boot, or GRUB 2.14 or Fedora's with `blscfg` in grub.cfg",
            }),
        }
    }
}

/// Both loaders are there: the firmware's variable tells which one started the machine.
fn says_it_is_systemd_boot(places: &Places, found: &[Candidate]) -> Result<bool, EntryError> {
    match loader_info(places).as_deref() {
        Some(name) if name.starts_with("systemd-boot") => Ok(true),
        Some(name) if name.starts_with("GRUB") => Ok(false),
        _ => Err(EntryError::SeveralLoaders {
            found: names_of(found),
        }),
    }
}

/// The loaders that were found, for messages.
fn names_of(found: &[Candidate]) -> Vec<String> {
    let names = found.iter().flat_map(|candidate| {
        let place = candidate.io.location().display();
        let systemd_boot = candidate.systemd_boot.then_some("systemd-boot");
        let grub = candidate.grub.as_ref().map(|_| "GRUB");
        let names = systemd_boot.into_iter().chain(grub);
        names.map(move |name| format!("{name} in {place}"))
    });
    names.collect()
}

/// The extended boot partition that `bootctl` has prepared, else the one with the loader.
fn systemd_boot_partition(mut candidates: Vec<Candidate>) -> Boot {
    let is_extended = |candidate: &Candidate| {
        !candidate.systemd_boot
            && candidate.prefix.is_empty()
            && is_regular(&candidate.io, "loader/entries.srel")
    };
    let extended = candidates.iter().position(is_extended);
    let at = extended.or_else(|| {
        candidates
            .iter()
            .position(|candidate| candidate.systemd_boot)
    });
    let candidate = candidates.swap_remove(at.expect("it was found"));
    Boot::new(candidate.io, Loader::SystemdBoot, "")
}

fn look_into(directory: &Path) -> Result<Option<Candidate>, EntryError> {
    let failed = |source| EntryError::Io {
        operation: "open",
        path: directory.to_owned(),
        source,
    };
    let io = match KernelBootIo::open(directory) {
        Ok(io) => io,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let systemd_boot = has_systemd_boot(&io);
    let grub = find_grub(&io);
    let prefix = path_on_filesystem(&io).map_err(failed)?;
    Ok(Some(Candidate {
        io,
        prefix,
        systemd_boot,
        grub,
    }))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn is_regular(io: &KernelBootIo, path: &str) -> bool {
    again(|| io.open(&known(path))).is_ok_and(|(_, stat)| stat.kind == FileKind::Regular)
}

fn has_systemd_boot(io: &KernelBootIo) -> bool {
    let is_program = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        name.starts_with(b"systemd-boot") && name.ends_with(b".efi")
    };
    let names = again(|| io.list(&known("EFI/systemd"))).unwrap_or_default();
    names.iter().any(|entry| is_program(&entry.name)) || is_regular(io, "loader/loader.conf")
}

/// GRUB's configuration in a directory, and what it reads boot entries with, if it does.
fn find_grub(io: &KernelBootIo) -> Option<(PathBuf, Option<Loader>)> {
    for directory in ["grub2", "grub"] {
        let path = known(directory).join("grub.cfg").expect("a constant");
        let Ok((file, stat)) = again(|| io.open(&path)) else {
            continue;
        };
        if stat.kind != FileKind::Regular {
            continue;
        }
        let len = stat.size_bytes.min(MAX_LOADER_CONFIG_BYTES);
        let mut text = vec![0; usize::try_from(len).unwrap_or_default()];
        let mut filled = 0;
        while let Ok(read @ 1..) = again(|| io.read_at(&file, &mut text[filled..], filled as u64)) {
            filled += read;
        }
        let config = io.location().join(directory).join("grub.cfg");
        let loader = runs_blscfg(&text).then(|| {
            if has_blsuki(io, directory) {
                Loader::Grub
            } else {
                Loader::GrubFedora
            }
        });
        return Some((config, loader));
    }
    None
}

/// Whether a script of GRUB has the command that makes its menu of boot entries.
fn runs_blscfg(script: &[u8]) -> bool {
    let first_word = |line: &[u8]| {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        words.next().is_some_and(|word| word == b"blscfg")
    };
    script
        .split(|byte| matches!(byte, b'\n' | b';'))
        .any(first_word)
}

/// Whether GRUB's module of 2.14 is there; Fedora's has another name.
fn has_blsuki(io: &KernelBootIo, directory: &str) -> bool {
    let names = again(|| io.list(&known(directory))).unwrap_or_default();
    names.iter().any(|platform| {
        let directory = known(directory).join(&platform.name);
        let module = directory.and_then(|directory| directory.join("blsuki.mod"));
        module.is_some_and(|module| again(|| io.open(&module)).is_ok())
    })
}

/// What the loader that started this machine calls itself.
fn loader_info(places: &Places) -> Option<String> {
    let file = fs::File::open(places.efi_variables.as_ref()?.join(LOADER_INFO)).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_LOADER_INFO_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    // Four bytes of attributes, then UTF-16.
    let (units, _) = bytes.get(4..)?.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    Some(String::from_utf16_lossy(&units))
}

/// The path of a directory on its filesystem, as GRUB has it: empty for the filesystem's root.
/// Where it is a bind mount or a subvolume, that is part of the path.
fn path_on_filesystem(io: &KernelBootIo) -> io::Result<String> {
    let fd = io.as_fd();
    let mount = mount_of(fd)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let below = path.strip_prefix(&mount.point).map_err(io::Error::other)?;
    let whole = mount.root.join(below);
    let whole = whole.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(whole.trim_end_matches('/').to_owned())
}
