// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree of a small test OS: a program as init, and every kind of entry a root can have.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};

use sealroot_format::hex;
use sha2::{Digest, Sha256};

use crate::content::{self, Numbers};
use crate::manifest::{Found, Manifest};

/// Large files that attacks are aimed at: two of the same size and mode, and one of another.
pub const TARGETS: [&str; 3] = [
    "usr/lib/target-a.so",
    "usr/lib/target-b.so",
    "usr/lib/target-c.so",
];

/// The size of the first two [`TARGETS`].
pub const TARGET_BYTES: usize = 300_000;

/// The value of an xattr of the payload that would steer our own overlay if it were not escaped.
pub const REDIRECT: &str = "/usr/bin";

/// Directories that every OS tree has.
const TOP: [&str; 16] = [
    "boot", "dev", "etc", "home", "opt", "proc", "root", "run", "srv", "sys", "sysroot", "tmp",
    "usr", "usr/bin", "usr/lib", "var",
];

/// Makes the tree in a new directory. Needs root: for owners, devices and labels.
pub fn create(root: &Path, init: &Path) -> Result<()> {
    let mut tree = Builder {
        root: root.to_owned(),
        clock: 1_600_000_000,
    };
    for directory in ["usr/sbin", "usr/share", "usr/share/odd"]
        .iter()
        .chain(&TOP)
    {
        fs::create_dir_all(root.join(directory))?;
    }
    tree.file("usr/sbin/init", 0o755, &fs::read(init)?)?;
    for (name, target) in [("sbin", "usr/sbin"), ("bin", "usr/bin"), ("lib", "usr/lib")] {
        tree.symlink(name, target)?;
    }
    tree.file(
        "etc/os-release",
        0o644,
        b"ID=sealroot-test\nNAME=\"sealroot test OS\"\n",
    )?;
    tree.file(
        "etc/machine-id",
        0o444,
        b"0123456789abcdef0123456789abcdef\n",
    )?;
    tree.ordinary_files()?;
    tree.odd_entries()?;
    tree.overlay_entries()?;
    tree.times()
}

/// What of the tree's manifest shows in a booted root. All is as in the tree but for whiteouts: a
/// root on overlayfs can only show them in overlayfs's other form, which a nested overlay takes
/// for the same.
pub fn as_booted(mut tree: Manifest) -> Manifest {
    const EMPTY: [u8; 0] = [];
    let mut parents = BTreeSet::new();
    for (path, found) in &mut tree.entries {
        let Found::Entry {
            attributes,
            xattrs,
            content,
        } = found
        else {
            continue;
        };
        if let Some(rest) = attributes.strip_prefix("mode=20") {
            *attributes = format!("mode=100{rest}");
            *content = hex::encode(&Sha256::digest(EMPTY));
            xattrs.extend(WHITEOUT_XATTRS.map(|name| (name.to_owned(), String::new())));
            parents.extend(path.rsplit_once('/').map(|(parent, _)| parent.to_owned()));
        }
    }
    for parent in parents {
        if let Some(Found::Entry { xattrs, .. }) = tree.entries.get_mut(&parent) {
            for (name, value) in WHITEOUT_PARENT_XATTRS {
                xattrs.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    tree
}

/// What makes an empty file a whiteout to overlayfs, if its directory has the others.
pub const WHITEOUT_XATTRS: [&str; 2] = ["trusted.overlay.whiteout", "user.overlay.whiteout"];

/// What says of a directory that there are such files in it.
pub const WHITEOUT_PARENT_XATTRS: [(&str, &str); 4] = [
    ("trusted.overlay.opaque", "x"),
    ("trusted.overlay.whiteouts", ""),
    ("user.overlay.opaque", "x"),
    ("user.overlay.whiteouts", ""),
];

struct Builder {
    root: PathBuf,
    clock: i64,
}

impl Builder {
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn file(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let path = self.at(path);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
    }

    fn symlink(&self, path: &str, target: &str) -> Result<()> {
        symlink(target, self.at(path)).with_context(|| format!("linking {path}"))
    }

    fn xattr(&self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        lsetxattr(self.at(path), name, value, XattrFlags::empty())
            .with_context(|| format!("setting {name} of {path}"))
    }

    fn node(&self, path: &str, kind: FileType, device: u64) -> Result<()> {
        mknodat(CWD, self.at(path), kind, Mode::from_raw_mode(0o644), device)
            .with_context(|| format!("making {path}"))
    }

    /// Programs and libraries, small and large, around every edge of blocks and thresholds.
    fn ordinary_files(&self) -> Result<()> {
        for (index, target) in TARGETS.iter().enumerate() {
            let size = TARGET_BYTES + if index == 2 { 12_345 } else { 0 };
            self.file(target, 0o755, &content::bytes(100 + index as u64, size))?;
        }
        for size in [
            0, 1, 63, 64, 65, 4094, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65537, 200_000,
        ] {
            let bytes = content::bytes(size as u64, size);
            self.file(&format!("usr/share/size-{size}"), 0o644, &bytes)?;
        }
        fs::create_dir(self.at("usr/share/many"))?;
        let mut numbers = Numbers::new(1);
        for index in 0..300 {
            let size = usize::try_from(numbers.below(600))?;
            let bytes = content::bytes(1000 + index, size);
            self.file(&format!("usr/share/many/file-{index}"), 0o644, &bytes)?;
        }
        for index in 0..40 {
            let size = 4097 + usize::try_from(numbers.below(30_000))?;
            self.file(
                &format!("usr/bin/program-{index}"),
                0o755,
                &content::bytes(2000 + index, size),
            )?;
        }
        // The same content twice is one object.
        let again = content::bytes(100, TARGET_BYTES);
        self.file("usr/share/copy-of-target-a", 0o600, &again)
    }

    /// Kinds, owners, modes, names and xattrs that tools tend to lose.
    fn odd_entries(&self) -> Result<()> {
        let odd = "usr/share/odd";
        self.file(&format!("{odd}/setuid"), 0o4755, &content::bytes(3, 9000))?;
        self.file(&format!("{odd}/setgid-small"), 0o2755, b"#!/bin/true\n")?;
        self.file(&format!("{odd}/unreadable"), 0o000, b"root only\n")?;
        chown(
            self.at(&format!("{odd}/unreadable")),
            Some(70_000),
            Some(4_000_000_000),
        )?;
        self.file(&format!("{odd}/capable"), 0o755, &content::bytes(4, 5000))?;
        // cap_net_raw=ep, version 2 of `struct vfs_cap_data`.
        let capability = [
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        self.xattr(
            &format!("{odd}/capable"),
            "security.capability",
            &capability,
        )?;
        self.file(&format!("{odd}/labelled"), 0o644, b"label\n")?;
        self.xattr(
            &format!("{odd}/labelled"),
            "security.selinux",
            b"system_u:object_r:bin_t:s0\0",
        )?;
        self.xattr(&format!("{odd}/labelled"), "user.empty", b"")?;
        self.xattr(
            &format!("{odd}/labelled"),
            "user.long",
            &content::bytes(5, 2000),
        )?;
        self.xattr(odd, "user.directory", b"also has one")?;
        // user::rw-,user:1:r--,group::r--,mask::r--,other::r-- as the kernel stores it.
        let mut acl = vec![2, 0, 0, 0];
        for (tag, permissions, id) in [
            (1_u16, 6_u16, u32::MAX),
            (2, 4, 1),
            (4, 4, u32::MAX),
            (16, 4, u32::MAX),
            (32, 4, u32::MAX),
        ] {
            acl.extend_from_slice(&tag.to_le_bytes());
            acl.extend_from_slice(&permissions.to_le_bytes());
            acl.extend_from_slice(&id.to_le_bytes());
        }
        self.file(&format!("{odd}/acl"), 0o644, b"acl\n")?;
        self.xattr(&format!("{odd}/acl"), "system.posix_acl_access", &acl)?;
        for linked in ["hard-small", "hard-large"] {
            let size = if linked == "hard-small" { 100 } else { 50_000 };
            self.file(&format!("{odd}/{linked}"), 0o644, &content::bytes(6, size))?;
            fs::hard_link(
                self.at(&format!("{odd}/{linked}")),
                self.at(&format!("usr/share/{linked}")),
            )?;
        }
        self.symlink(&format!("{odd}/dangling"), "/nowhere/at/all")?;
        self.symlink(&format!("{odd}/long"), &"x/".repeat(2000))?;
        lchown(self.at(&format!("{odd}/dangling")), Some(12), Some(34))?;
        self.node(&format!("{odd}/fifo"), FileType::Fifo, 0)?;
        drop(UnixListener::bind(self.at(&format!("{odd}/socket")))?);
        let directory = self.at(odd);
        for name in [
            vec![b'n'; 255],
            b"\xff\xfe not utf-8".to_vec(),
            b" new\nline ".to_vec(),
        ] {
            fs::write(
                directory.join(std::ffi::OsStr::from_bytes(&name)),
                b"name\n",
            )?;
        }
        let sticky = Permissions::from_mode(0o1777);
        fs::set_permissions(self.at("tmp"), sticky)?;
        Ok(fs::set_permissions(
            self.at("root"),
            Permissions::from_mode(0o700),
        )?)
    }

    /// What an image with container storage in it has: overlayfs' own xattrs and whiteouts (A05).
    fn overlay_entries(&self) -> Result<()> {
        let storage = "usr/share/containers";
        for directory in ["", "/opaque", "/redirected", "/escaped"] {
            fs::create_dir(self.at(&format!("{storage}{directory}")))?;
            self.file(
                &format!("{storage}{directory}/file"),
                0o644,
                b"of a container\n",
            )?;
        }
        self.xattr(&format!("{storage}/opaque"), "trusted.overlay.opaque", b"y")?;
        self.xattr(&format!("{storage}/opaque"), "user.overlay.opaque", b"y")?;
        self.xattr(
            &format!("{storage}/redirected"),
            "trusted.overlay.redirect",
            REDIRECT.as_bytes(),
        )?;
        self.xattr(
            &format!("{storage}/escaped"),
            "trusted.overlay.overlay.opaque",
            b"y",
        )?;
        self.file(
            &format!("{storage}/metacopy"),
            0o644,
            &content::bytes(7, 6000),
        )?;
        self.xattr(
            &format!("{storage}/metacopy"),
            "trusted.overlay.metacopy",
            b"",
        )?;
        self.xattr(
            &format!("{storage}/metacopy"),
            "trusted.overlay.redirect",
            b"/../../etc/shadow",
        )?;
        self.node(
            &format!("{storage}/whiteout"),
            FileType::CharacterDevice,
            makedev(0, 0),
        )
    }

    /// Gives every entry its own time, some before 1970.
    fn times(&mut self) -> Result<()> {
        let root = self.root.clone();
        self.times_below(&root)
    }

    fn times_below(&mut self, path: &Path) -> Result<()> {
        if fs::symlink_metadata(path)?.is_dir() {
            let mut children = fs::read_dir(path)?
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<Vec<_>>>()?;
            children.sort();
            for child in children {
                self.times_below(&child)?;
            }
        }
        self.clock += 1;
        let seconds = if self.clock % 50 == 0 {
            -self.clock / 2
        } else {
            self.clock
        };
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}
