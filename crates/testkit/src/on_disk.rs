// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees on a real filesystem: written, and read back with nothing but system calls.
//!
//! Simple and slow on purpose: this judges the library, so it shares nothing with it but the tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    lgetxattr, llistxattr, lsetxattr, major, makedev, minor, mknodat, utimensat,
};
use rustix::io::Errno;
use sealroot_format::digest::VerityHasher;
use sealroot_format::limits::MAX_THRESHOLD_BYTES;
use sealroot_format::tree::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Timestamp, Tree, Xattr, XattrSet,
};

/// Reads a directory. Files above [`MAX_THRESHOLD_BYTES`] are external, all others inline.
pub fn read(directory: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new(metadata(directory)?);
    let mut links = HashMap::new();
    let mut todo = vec![(directory.to_owned(), InodeId::ROOT)];
    while let Some((path, id)) = todo.pop() {
        for entry in fs::read_dir(&path)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().as_bytes();
            let found = fs::symlink_metadata(&path)?;
            let key = (found.dev(), found.ino());
            let is_shared = found.nlink() > 1 && !found.is_dir();
            if let Some(target) = links.get(&key).filter(|_| is_shared) {
                tree.link(id, name, *target).map_err(io::Error::other)?;
                continue;
            }
            let inode = Inode::new(metadata(&path)?, kind(&path, &found)?);
            let child = tree.insert(id, name, inode).map_err(io::Error::other)?;
            if found.is_dir() {
                todo.push((path, child));
            } else if is_shared {
                links.insert(key, child);
            }
        }
    }
    Ok(tree)
}

/// Makes `tree`, without external files, in an empty directory. Attributes that the filesystem
/// refuses are left out.
pub fn write(tree: &Tree, directory: &Path) -> io::Result<()> {
    let mut paths: HashMap<InodeId, PathBuf> = HashMap::new();
    let mut written = Vec::new();
    let mut walk = tree.walk();
    while let Some((name, id)) = walk.next() {
        let path = directory.join(OsStr::from_bytes(name.get(1..).unwrap_or_default()));
        if let Some(first) = paths.get(&id) {
            fs::hard_link(first, &path)?;
            continue;
        }
        create(&tree.inode(id).kind, &path)?;
        paths.insert(id, path.clone());
        written.push((path, id));
    }
    // What is in a directory changes its time, and its mode may forbid to change it.
    for (path, id) in written.iter().rev() {
        set_metadata(&tree.inode(*id).metadata, path);
    }
    Ok(())
}

/// The xattrs of a file, sorted by name. Those of a namespace that its type may not have are listed
/// by some filesystems and given out by none; they are left out.
pub fn xattrs(path: &Path) -> io::Result<XattrSet> {
    let mut names = vec![0; 1 << 16];
    let len = llistxattr(path, &mut names[..])?;
    let mut value = vec![0; 1 << 16];
    let mut xattrs = Vec::new();
    for name in names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let len = match lgetxattr(path, OsStr::from_bytes(name), &mut value[..]) {
            Err(Errno::PERM | Errno::NODATA | Errno::OPNOTSUPP) => continue,
            found => found?,
        };
        xattrs.push(Xattr {
            name: name.into(),
            value: value[..len].into(),
        });
    }
    XattrSet::from_unsorted(xattrs).map_err(io::Error::other)
}

fn metadata(path: &Path) -> io::Result<Metadata> {
    let found = fs::symlink_metadata(path)?;
    Ok(Metadata {
        permissions: u16::try_from(found.mode() & 0o7777).map_err(io::Error::other)?,
        uid: found.uid(),
        gid: found.gid(),
        mtime: Timestamp {
            seconds: found.mtime(),
            nanoseconds: u32::try_from(found.mtime_nsec()).map_err(io::Error::other)?,
        },
        xattrs: xattrs(path)?,
    })
}

fn kind(path: &Path, found: &fs::Metadata) -> io::Result<Kind> {
    let file_type = found.file_type();
    let device = DeviceNumber {
        major: major(found.rdev()),
        minor: minor(found.rdev()),
    };
    Ok(if file_type.is_dir() {
        Kind::directory()
    } else if file_type.is_symlink() {
        Kind::Symlink(fs::read_link(path)?.as_os_str().as_bytes().into())
    } else if file_type.is_char_device() {
        Kind::CharDevice(device)
    } else if file_type.is_block_device() {
        Kind::BlockDevice(device)
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_socket() {
        Kind::Socket
    } else {
        Kind::Regular(content(path, found.len())?)
    })
}

fn content(path: &Path, size_bytes: u64) -> io::Result<FileContent> {
    if size_bytes <= MAX_THRESHOLD_BYTES.into() {
        return Ok(FileContent::Inline(fs::read(path)?.into()));
    }
    let mut file = File::open(path)?;
    let mut hasher = VerityHasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            len => hasher.update(&buffer[..len]),
        }
    }
    let digest = hasher.finish();
    Ok(FileContent::External { digest, size_bytes })
}

fn create(kind: &Kind, path: &Path) -> io::Result<()> {
    let node = |file_type, device: Option<&DeviceNumber>| {
        let device = device.map_or(0, |device| makedev(device.major, device.minor));
        Ok(mknodat(CWD, path, file_type, Mode::empty(), device)?)
    };
    match kind {
        Kind::Directory(_) if path.is_dir() => Ok(()),
        Kind::Directory(_) => fs::create_dir(path),
        Kind::Regular(FileContent::Inline(content)) => fs::write(path, content.read()?),
        Kind::Regular(FileContent::External { size_bytes, .. }) => {
            File::create(path)?.set_len(*size_bytes)
        }
        Kind::Symlink(target) => symlink(OsStr::from_bytes(target), path),
        Kind::CharDevice(device) => node(FileType::CharacterDevice, Some(device)),
        Kind::BlockDevice(device) => node(FileType::BlockDevice, Some(device)),
        Kind::Fifo => node(FileType::Fifo, None),
        Kind::Socket => node(FileType::Socket, None),
    }
}

/// Refusals leave the attribute as it is.
fn set_metadata(metadata: &Metadata, path: &Path) {
    let owner = Uid::from_raw(metadata.uid.min(u32::MAX - 1));
    let group = Gid::from_raw(metadata.gid.min(u32::MAX - 1));
    let _ = chownat(
        CWD,
        path,
        Some(owner),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    for Xattr { name, value } in &metadata.xattrs {
        let _ = lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty());
    }
    if !path.is_symlink() {
        let mode = Mode::from_raw_mode(metadata.permissions.into());
        let _ = chmodat(CWD, path, mode, AtFlags::empty());
    }
    let time = Timespec {
        tv_sec: metadata.mtime.seconds,
        tv_nsec: metadata.mtime.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Gives everything below a path the time 0: the same files are the same tree whenever they are made.
pub fn set_times(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            set_times(&entry?.path())?;
        }
    }
    File::open(path)?.set_modified(SystemTime::UNIX_EPOCH)
}
