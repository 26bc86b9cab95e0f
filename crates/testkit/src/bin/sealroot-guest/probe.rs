// SPDX-License-Identifier: MIT OR Apache-2.0
//! The init of the test OS: looks at the root it was booted on, and reports.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::io::Errno;
use sealroot::monitor::Silent;
use sealroot::object::Discard;
use sealroot::source::{DirectoryOptions, read_directory};
use sealroot::spool::Spool;
use sealroot_format::tree::{DeviceNumber, Directory, InodeId, Kind, Tree, XattrSet, dump};
use sealroot_sys::keyring;
use sealroot_testkit::etc_files;
use sealroot_testkit::guest::{
    EtcChange, PROBE_CLOCK, PROBE_JOB_DISK, PROBE_MARKER, ProbeJob, ProbeReport,
    REQUIRE_SIGNATURES, VerityKeyring,
};
use sealroot_testkit::manifest::{BareRoot, Manifest};
use sealroot_testkit::os_tree::{WHITEOUT_PARENT_XATTRS, WHITEOUT_XATTRS};

use crate::machine;

pub(crate) fn run() -> Result<()> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    println!("{PROBE_CLOCK}{}", now.tv_sec * 1_000_000_000 + now.tv_nsec);
    println!("{PROBE_MARKER}");
    machine::mount_basics()?;
    let root = BareRoot::of(Path::new("/"))?;
    let mut report = ProbeReport {
        manifest: Manifest::read(&root.path()),
        tree_digest: tree_digest(&root.path()).map_err(|error| format!("{error:#}")),
        mountinfo: fs::read_to_string("/proc/self/mountinfo")?,
        etc: read_etc()?,
        etc_files: etc_files::read(Path::new("/etc"))?,
        booted: fs::read_to_string("/run/sealroot/booted.json").ok(),
        pcr_15: fs::read_to_string("/sys/class/tpm/tpm0/pcr-sha256/15").ok(),
        verity_keyring: try_verity_keyring()?,
        requires_signatures: fs::read_to_string(REQUIRE_SIGNATURES).ok(),
        manifest_after_job: None,
    };
    if let Some(disk) = machine::find_disk(PROBE_JOB_DISK) {
        let job = fs::read(&disk).with_context(|| format!("reading {}", disk.display()))?;
        do_job(&serde_json::from_slice(&job).context("parsing the job")?)?;
        report.manifest_after_job = Some(Manifest::read(&root.path()));
    }
    machine::report(&serde_json::to_vec(&report)?)
}

/// Adds a key, of a kind that needs no certificate, to the kernel's keyring for fs-verity; `None` if the
/// kernel has none.
fn try_verity_keyring() -> Result<Option<VerityKeyring>> {
    let keys = fs::read_to_string("/proc/keys")?;
    let Some(keyring) = keyring::find_keyring(&keys, keyring::FS_VERITY) else {
        return Ok(None);
    };
    match keyring::add_key(c"keyring", c"sealroot-test", &[], keyring) {
        Ok(_) => Ok(Some(VerityKeyring::Open)),
        Err(Errno::PERM) => Ok(Some(VerityKeyring::Closed)),
        Err(errno) => Err(errno).context("adding a key"),
    }
}

/// All that is directly in `/etc`.
fn read_etc() -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/etc")? {
        let path = entry?.path();
        let mode = fs::symlink_metadata(&path)?.permissions().mode() & 0o7777;
        let mut label = [0; 256];
        let label = match rustix::fs::lgetxattr(&path, LABEL, &mut label[..]) {
            Ok(len) => String::from_utf8_lossy(&label[..len]).into_owned(),
            Err(_) => "-".to_owned(),
        };
        let content = fs::read_to_string(&path).unwrap_or_else(|_| "-".to_owned());
        let name = path.file_name().context("an entry has a name")?;
        let name = name.to_string_lossy().into_owned();
        found.insert(name, format!("{mode:o} {label} {content}"));
    }
    Ok(found)
}

const LABEL: &str = "security.selinux";

fn change_etc(name: &str, change: &EtcChange) -> Result<()> {
    let path = Path::new("/etc").join(name);
    match change {
        EtcChange::Write(content) => fs::write(&path, content)?,
        EtcChange::Remove => fs::remove_file(&path)?,
        EtcChange::Label(label) => {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::lsetxattr(&path, LABEL, label.as_bytes(), flags)?;
        }
        EtcChange::Mode(mode) => fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?,
    }
    Ok(())
}

fn do_job(job: &ProbeJob) -> Result<()> {
    for (name, change) in &job.etc {
        change_etc(name, change).with_context(|| format!("changing /etc/{name}"))?;
    }
    if job.disk.is_empty() {
        rustix::fs::sync();
        return Ok(());
    }
    let path = machine::find_disk(&job.disk).with_context(|| format!("no disk {}", job.disk))?;
    let disk = File::options().read(true).write(true).open(&path)?;
    for position in &job.invert_bytes_at {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, *position)?;
        disk.write_all_at(&[!byte[0]], *position)?;
    }
    disk.sync_all()?;
    machine::drop_caches()
}

/// The digest of the canonical dump of a booted root, in hex.
pub(crate) fn tree_digest(root: &Path) -> Result<String> {
    let options = DirectoryOptions::default();
    let mut tree = read_directory(
        root,
        &options,
        &Spool::in_temporary_directory(),
        &Discard,
        &Silent,
    )?;
    restore_whiteouts(&mut tree)?;
    Ok(dump::digest(&tree)?.to_hex())
}

/// Undoes what makes whiteouts of the payload show: an overlay has another form for them.
fn restore_whiteouts(tree: &mut Tree) -> Result<()> {
    let is_whiteout = |id| {
        tree.inode(id)
            .metadata
            .xattrs
            .get(WHITEOUT_XATTRS[0].as_bytes())
            .is_some()
    };
    let whiteouts: Vec<_> = tree
        .inodes()
        .map(|(id, _)| id)
        .filter(|id| is_whiteout(*id))
        .collect();
    let parents: Vec<_> = tree
        .inodes()
        .filter(|(_, inode)| {
            let children = inode.as_directory().into_iter().flat_map(Directory::iter);
            children
                .map(|(_, child)| child)
                .any(|child| whiteouts.contains(&child))
        })
        .map(|(id, _)| id)
        .collect();
    for id in &whiteouts {
        tree.inode_mut(*id).kind = Kind::CharDevice(DeviceNumber::WHITEOUT);
    }
    for id in whiteouts {
        remove_xattrs(tree, id, &WHITEOUT_XATTRS)?;
    }
    for id in parents {
        remove_xattrs(tree, id, &WHITEOUT_PARENT_XATTRS.map(|(name, _)| name))?;
    }
    Ok(())
}

fn remove_xattrs(tree: &mut Tree, id: InodeId, names: &[&str]) -> Result<()> {
    let metadata = &mut tree.inode_mut(id).metadata;
    let kept = metadata
        .xattrs
        .iter()
        .filter(|xattr| !names.iter().any(|name| *name.as_bytes() == *xattr.name));
    metadata.xattrs = XattrSet::from_unsorted(kept.cloned().collect())?;
    Ok(())
}
