// SPDX-License-Identifier: MIT OR Apache-2.0
//! What OSTree itself would boot: its boot entries, the deployments behind them, and whether these
//! are whole. Only read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sealroot_format::policy::DeploymentName;

use super::AdoptError;
use super::error::failed;

/// Most bytes of a boot entry that are read.
const MAX_ENTRY_BYTES: u64 = 64 * 1024;

/// A deployment of OSTree that has a boot entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// Whose `/var` it has.
    pub stateroot: String,
    /// Commit and serial.
    pub name: DeploymentName,
    /// What the boot menu shows.
    pub title: String,
    /// The boot entry.
    pub entry: PathBuf,
    /// What OSTree orders its entries by; the highest is its default.
    pub version: u64,
    /// Why it would not boot, if something of it is missing.
    pub fault: Option<String>,
}

/// The deployments that OSTree has boot entries for, its default first. `boots` are directories
/// that may be the boot partition.
pub fn deployments_of_ostree(sysroot: &Path, boots: &[PathBuf]) -> Result<Vec<Theirs>, AdoptError> {
    let mut found: Vec<Theirs> = Vec::new();
    for boot in boots {
        let entries = boot.join("loader/entries");
        let list = match fs::read_dir(&entries) {
            Ok(list) => list,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(failed("list", entries)(error)),
        };
        for entry in list {
            let path = entry.map_err(failed("list", &entries))?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            let is_entry = path
                .extension()
                .is_some_and(|extension| extension == "conf");
            if is_entry
                && name.is_some_and(|name| name.starts_with("ostree-"))
                && let Some(theirs) = read(sysroot, boot, &path)?
            {
                found.push(theirs);
            }
        }
    }
    found.sort_by_key(|theirs| std::cmp::Reverse(theirs.version));
    found.dedup_by(|one, other| one.name == other.name && one.stateroot == other.stateroot);
    Ok(found)
}

/// A deployment of OSTree that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Whose `/var` it has.
    pub stateroot: String,
    /// Commit and serial.
    pub name: DeploymentName,
}

/// The deployment of OSTree that is the root of this system; `None` if none is, or the sysroot is
/// not this machine's.
pub fn running_of_ostree(sysroot: &Path) -> Result<Option<Running>, AdoptError> {
    const CMDLINE: &str = "/proc/cmdline";
    if ![Path::new("/"), Path::new("/sysroot")].contains(&sysroot) {
        return Ok(None);
    }
    let cmdline = fs::read_to_string(CMDLINE).map_err(failed("read", CMDLINE))?;
    let Some(link) = argument(&cmdline) else {
        return Ok(None);
    };
    let (stateroot, name) = follow(sysroot, link).map_err(failed("follow", link))?;
    Ok(Some(Running { stateroot, name }))
}

/// OSTree's argument on a kernel command line: which deployment is to boot.
fn argument(options: &str) -> Option<&str> {
    let mut words = options.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix("ostree="))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The deployment that an entry boots; `None` if it is none of OSTree's.
fn read(sysroot: &Path, boot: &Path, path: &Path) -> Result<Option<Theirs>, AdoptError> {
    let file = fs::File::open(path).map_err(failed("open", path))?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_ENTRY_BYTES), &mut bytes)
        .map_err(failed("read", path))?;
    let text = String::from_utf8_lossy(&bytes);
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let rest = line.strip_prefix(key)?;
            rest.starts_with([' ', '\t']).then(|| rest.trim())
        })
    };
    let options = value("options").unwrap_or_default();
    let Some(link) = argument(options) else {
        return Ok(None);
    };
    let Ok((stateroot, name)) = follow(sysroot, link) else {
        return Ok(None);
    };
    let fault = fault_of(sysroot, boot, &stateroot, name, |key| value(key));
    Ok(Some(Theirs {
        stateroot,
        name,
        title: value("title").unwrap_or_default().to_owned(),
        entry: path.to_owned(),
        version: value("version").and_then(|v| v.parse().ok()).unwrap_or(0),
        fault,
    }))
}

/// Where OSTree's argument leads: a symbolic link that it makes for each deployment.
fn follow(sysroot: &Path, link: &str) -> Result<(String, DeploymentName), io::Error> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let target = fs::canonicalize(sysroot.join(link.trim_start_matches('/')))?;
    let top = fs::canonicalize(sysroot.join("ostree/deploy"))?;
    let inside = target.strip_prefix(top).map_err(|_| invalid())?;
    let mut names = inside.iter().map(|name| name.to_str());
    let mut next = || names.next().flatten().ok_or_else(invalid);
    let (stateroot, _, name) = (next()?.to_owned(), next()?, next()?);
    Ok((stateroot, name.parse().map_err(|_| invalid())?))
}

/// What is missing for it to boot.
fn fault_of<'t>(
    sysroot: &Path,
    boot: &Path,
    stateroot: &str,
    name: DeploymentName,
    value: impl Fn(&str) -> Option<&'t str>,
) -> Option<String> {
    let directory = sysroot
        .join("ostree/deploy")
        .join(stateroot)
        .join("deploy")
        .join(name.to_string());
    if !directory.join("usr").is_dir() || !directory.join("etc").is_dir() {
        return Some(format!("{} is not whole", directory.display()));
    }
    let hex = name.commit.to_hex();
    let (first, rest) = hex.split_at(2);
    let commit = sysroot.join(format!("ostree/repo/objects/{first}/{rest}.commit"));
    if !commit.is_file() {
        return Some(format!("{} is missing", commit.display()));
    }
    // The initramfs is optional, the kernel is not.
    let files = [("linux", true), ("initrd", false)];
    files.into_iter().find_map(|(key, is_needed)| {
        let Some(path) = value(key) else {
            return is_needed.then(|| format!("its boot entry has no line {key}"));
        };
        let path = path.trim_start_matches('/');
        let places = [path, path.strip_prefix("boot/").unwrap_or(path)];
        let is_there = places.iter().any(|place| boot.join(place).is_file());
        (!is_there).then(|| format!("{} is missing", boot.join(path).display()))
    })
}
