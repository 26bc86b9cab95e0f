// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random trees, made on disk and read back.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, lgetxattr,
    link, lremovexattr, lsetxattr, makedev, mknodat, symlink, utimensat,
};
use sealroot::monitor::Silent;
use sealroot::object::Discard;
use sealroot::source::{DirectoryOptions, read_directory};
use sealroot_format::tree::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Timestamp, Tree, Xattr, XattrSet, dump,
};
use sealroot_testkit::{need, trees};

use crate::support::KEEP_DEVICES;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_written_is_what_is_read(
        mut tree in trees::trees(60),
        threshold_bytes in prop_oneof![Just(0), Just(64), Just(4096), Just(65_536)],
        threads in 1..4usize,
    ) {
        if !need::root() {
            return Ok(());
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().join("root");
        Writer { tree: &mut tree, root: &root }.write();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let options = DirectoryOptions { threshold_bytes, ..KEEP_DEVICES };
        let read = pool
            .expect("threads")
            .install(|| read_directory(&root, &options, &Discard, &Silent))
            .expect("a readable tree");
        prop_assert_eq!(text(&read), text(&tree));
        prop_assert!(read == trees::split(&tree, threshold_bytes));
    }
}

fn text(tree: &Tree) -> String {
    let mut text = String::new();
    dump::write_dump(tree, &mut text).expect("writing to memory");
    text
}

/// Makes a tree on disk, and takes from it what the filesystem cannot hold.
struct Writer<'a> {
    tree: &'a mut Tree,
    root: &'a Path,
}

impl Writer<'_> {
    fn write(&mut self) {
        let mut names: Vec<(PathBuf, InodeId)> = Vec::new();
        let copy = self.tree.clone();
        let mut walk = copy.walk();
        while let Some((path, id)) = walk.next() {
            let relative = OsStr::from_bytes(path.strip_prefix(b"/").expect("absolute"));
            names.push((self.root.join(relative), id));
        }
        let mut first_names: Vec<Option<&Path>> = vec![None; self.tree.len()];
        for (path, id) in &names {
            match first_names[id.index()] {
                Some(first) => link(first, path).expect("link"),
                None => self.create(path, *id),
            }
            first_names[id.index()].get_or_insert(path);
        }
        // From the bottom up: what is made in a directory changes its time.
        for (path, id) in names.iter().rev() {
            self.set_metadata(path, *id);
        }
    }

    fn create(&mut self, path: &Path, id: InodeId) {
        let inode = self.tree.inode_mut(id);
        let special = |kind, device: DeviceNumber| {
            let device = makedev(device.major, device.minor);
            mknodat(CWD, path, kind, Mode::empty(), device).expect("mknod");
        };
        let none = DeviceNumber::WHITEOUT;
        match &mut inode.kind {
            Kind::Directory(_) => fs::create_dir(path).expect("mkdir"),
            Kind::Regular(content) => {
                if let FileContent::External { size_bytes, .. } = content {
                    let len = usize::try_from(*size_bytes % 70_000).expect("small");
                    *content = FileContent::Inline(vec![7; len].into());
                }
                if let FileContent::Inline(bytes) = content {
                    fs::write(path, bytes).expect("write");
                }
            }
            Kind::Symlink(target) => {
                symlink(OsStr::from_bytes(target), path).expect("symlink");
            }
            Kind::CharDevice(device) => special(FileType::CharacterDevice, *device),
            Kind::BlockDevice(device) => special(FileType::BlockDevice, *device),
            Kind::Fifo => special(FileType::Fifo, none),
            Kind::Socket => special(FileType::Socket, none),
        }
    }

    fn set_metadata(&mut self, path: &Path, id: InodeId) {
        let Inode { metadata, kind, .. } = self.tree.inode_mut(id);
        let is_symlink = matches!(kind, Kind::Symlink(_));
        // -1 means "leave it" to chown.
        for owner in [&mut metadata.uid, &mut metadata.gid] {
            if *owner == u32::MAX {
                *owner = 0;
            }
        }
        let (uid, gid) = (Uid::from_raw(metadata.uid), Gid::from_raw(metadata.gid));
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        chownat(CWD, path, Some(uid), Some(gid), nofollow).expect("chown");
        if is_symlink {
            metadata.permissions = 0o777;
        } else {
            let mode = Mode::from_raw_mode(metadata.permissions.into());
            rustix::fs::chmod(path, mode).expect("chmod");
        }
        let kept = metadata.xattrs.iter().filter(|xattr| keeps(path, xattr));
        let kept = kept.cloned().collect();
        metadata.xattrs = XattrSet::from_unsorted(kept).expect("fewer than there were");
        // What ext4 can hold.
        if !(-(1i64 << 31)..1 << 33).contains(&metadata.mtime.seconds) {
            metadata.mtime = Timestamp::default();
        }
        let time = Timespec {
            tv_sec: metadata.mtime.seconds,
            tv_nsec: metadata.mtime.nanoseconds.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, path, &times, nofollow).expect("utimens");
    }
}

/// Sets an extended attribute; whether the filesystem has it afterwards. A capability or ACL may
/// be refused, or be accepted and no longer readable.
fn keeps(path: &Path, xattr: &Xattr) -> bool {
    let name = OsStr::from_bytes(&xattr.name);
    let mut value = vec![0; xattr.value.len() + 1];
    let set = lsetxattr(path, name, &xattr.value, XattrFlags::empty());
    let found = set.and_then(|()| lgetxattr(path, name, &mut value));
    let is_kept = found.is_ok_and(|len| value[..len] == *xattr.value);
    if !is_kept {
        let _ = lremovexattr(path, name);
    }
    is_kept
}
