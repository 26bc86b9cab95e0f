// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vendor of the OS: releases as commits in an archive repository, which a machine has as a
//! disk, with signed statements beside them and in their detached metadata.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::steps::VERSION_PATH;
use super::{GUEST_PROGRAM, VENDOR_DISK};
use crate::binaries::Program;
use crate::disk::{Disk, Filesystem, succeed};
use crate::need;
use crate::release::write_keys;

/// What runs the steps once all services are up, and shuts the machine down then. The target is
/// none of Debian's own: what a unit wants that is ordered after the target it is part of may
/// never be started.
const UNITS: [(&str, &str); 2] = [
    (
        "sealroot-steps.target",
        "[Unit]\nDescription=Steps of a test\nRequires=multi-user.target\n\
         After=multi-user.target\nWants=sealroot-steps.service\nAllowIsolate=yes\n",
    ),
    (
        "sealroot-steps.service",
        "[Unit]\nDescription=Steps of a test\nAfter=multi-user.target\n\
         [Service]\nType=oneshot\nTimeoutStartSec=infinity\nStandardOutput=journal+console\n\
         ExecStart=/usr/bin/sealroot-guest steps\n\
         ExecStopPost=/bin/systemctl --no-block poweroff\n",
    ),
];

/// Sealroot's own units, and where they are enabled.
const OUR_UNITS: [(&str, &str); 3] = [
    ("sealroot-finalize.service", "multi-user.target.wants"),
    (
        "sealroot-boot-complete.service",
        "boot-complete.target.requires",
    ),
    ("sealroot-bless.service", "multi-user.target.wants"),
];

/// Where the OS has the vendor's keyset.
pub const KEYSET_PATH: &str = "/usr/lib/sealroot/keyset";

/// What would only take time, or the console.
const MASKED_UNITS: [&str; 17] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty@tty1.service",
    "proc-sys-fs-binfmt_misc.automount",
    "serial-getty@ttyS0.service",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-logind.service",
    "systemd-user-sessions.service",
];

/// Generators of units that would find nothing to do. That of units for mounts that a GPT tells, and
/// OSTree's own, are not among them.
const MASKED_GENERATORS: [&str; 8] = [
    "systemd-getty-generator",
    "systemd-hibernate-resume-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
];

/// Of the devices that were there before the root was, udev is told of disks, and of the processor,
/// for which it loads a faster SHA-256: all the others took a quarter of a boot.
const COLDPLUG: (&str, &str) = (
    "systemd-udev-trigger.service.d/few.conf",
    "[Service]\nExecStart=\nExecStart=udevadm trigger --action=add --subsystem-match=block \
     --subsystem-match=cpu\n",
);

/// A release of the OS. Each differs from the one before in a few files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What machines are installed with.
    V1,
    /// An update: a small and a large file changed, one new, and another default in `/etc`.
    V2,
    /// An update of the same kind.
    V3,
    /// Another.
    V4,
}

impl Version {
    /// All releases, oldest first.
    pub const ALL: [Self; 4] = [Self::V1, Self::V2, Self::V3, Self::V4];

    /// Its branch in the vendor's repository.
    pub const fn branch(self) -> &'static str {
        match self {
            Self::V1 => "os/v1",
            Self::V2 => "os/v2",
            Self::V3 => "os/v3",
            Self::V4 => "os/v4",
        }
    }

    /// What the OS says it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
            Self::V4 => "4",
        }
    }

    /// The files that differ between releases, below the root of a commit.
    fn files(self) -> Vec<(String, String)> {
        let name = self.name();
        let large = format!("release {name}\n").repeat(20_000);
        vec![
            (VERSION_PATH[1..].to_owned(), format!("{name}\n")),
            ("usr/lib/ostree-os/large".to_owned(), large),
            (
                format!("usr/lib/ostree-os/new-in-{name}"),
                "new\n".to_owned(),
            ),
            (
                "usr/etc/ostree-os.conf".to_owned(),
                format!("default = {name}\n"),
            ),
        ]
    }
}

/// A vendor with a repository.
#[derive(Debug)]
pub struct Vendor {
    directory: TempDir,
    ostree: Ostree,
    disk: Disk,
}

impl Vendor {
    /// Commits all releases; `None` if something is missing, which has been said then. Needs root.
    pub fn create() -> Result<Option<Self>> {
        let (Some(ostree), true) = (Ostree::find(), need::root()) else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let repository = path.join("disk/repo");
        fs::create_dir_all(&repository)?;
        ostree.run(&repository, &["init", "--mode=archive"])?;
        // Half the time for a few more bytes.
        ostree.run(&repository, &["config", "set", "archive.zlib-level", "1"])?;
        let added = path.join("added");
        add_programs(&added)?;
        write_keys(path)?;
        fs::copy(path.join("test.keyset"), added.join(&KEYSET_PATH[1..]))?;
        let mut trees = vec![format!("dir={}", ostree.os.display()), dir(&added)];
        for version in Version::ALL {
            let changed = path.join(version.name());
            for (name, content) in version.files() {
                write(&changed.join(name), &content)?;
            }
            trees.push(dir(&changed));
            let mut arguments = vec![
                "commit".to_owned(),
                format!("--branch={}", version.branch()),
                format!("--add-metadata-string=version={}", version.name()),
            ];
            arguments.extend(trees.iter().map(|tree| format!("--tree={tree}")));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            ostree.run(&repository, &arguments)?;
            sign(path, &repository, version)?;
            trees = vec![format!("ref={}", version.branch())];
        }
        ostree.run(&repository, &["summary", "--update"])?;
        let disk = Disk::create(
            &path.join("vendor.ext4"),
            Filesystem::Ext4,
            500,
            Some(&path.join("disk")),
        )?;
        disk.set_label(VENDOR_DISK)?;
        Ok(Some(Self {
            directory,
            ostree,
            disk,
        }))
    }

    /// The commit of a release.
    pub fn commit(&self, version: Version) -> Result<String> {
        let commit = self
            .ostree
            .run(&self.repository(), &["rev-parse", version.branch()])?;
        Ok(commit.trim_end().to_owned())
    }

    /// The repository.
    pub fn repository(&self) -> PathBuf {
        self.directory.path().join("disk/repo")
    }

    /// The repository as a disk, at `/repo`.
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// All releases published as files for a web server, each with a delta from the one before; a disk
    /// at `path` with them, at `/www`, that a machine can have in the place of the repository.
    pub fn publish(&self, path: &Path) -> Result<Disk> {
        let keys = self.directory.path();
        let content = path.with_extension("content");
        for version in Version::ALL {
            let mut publish = sealroot(keys)?;
            publish.arg("--keyset").arg(keys.join("test.keyset"));
            publish.args(["publish", &self.commit(version)?, "--to"]);
            publish.arg(content.join("www"));
            publish.arg("--key").arg(keys.join("test.secret"));
            succeed(publish.args(["--deltas", "1", "--level", "1"]))?;
        }
        let disk = Disk::create(path, Filesystem::Ext4, 500, Some(&content))?;
        disk.set_label(VENDOR_DISK)?;
        fs::remove_dir_all(&content)?;
        Ok(disk)
    }

    pub(super) const fn ostree(&self) -> &Ostree {
        &self.ostree
    }
}

/// Our command, with the vendor's store, beside the keys.
fn sealroot(directory: &Path) -> Result<Command> {
    let mut command = Command::new(Program::Sealroot.build()?);
    command.arg("--store").arg(directory.join("store"));
    Ok(command)
}

/// Signs a release, with a store in `directory` where the keys are, and publishes the statement.
fn sign(directory: &Path, repository: &Path, version: Version) -> Result<()> {
    let commit = |command: &mut Command| {
        command
            .arg("--ostree")
            .arg(repository)
            .arg(version.branch());
    };
    let mut build = sealroot(directory)?;
    build.args(["build", "--os", "debian", "--stream", "stable"]);
    build.args(["--version", version.name(), "--index", version.name()]);
    commit(&mut build);
    succeed(&mut build)?;
    let mut sign = sealroot(directory)?;
    sign.arg("sign")
        .arg("--key")
        .arg(directory.join("test.secret"));
    commit(&mut sign);
    succeed(&mut sign).map(drop)
}

/// The programs of this workspace and the units that run them.
fn add_programs(tree: &Path) -> Result<()> {
    for (program, path) in [
        (Program::Guest, &GUEST_PROGRAM[1..]),
        (Program::Sealroot, "usr/bin/sealroot"),
        (Program::Boot, "usr/lib/sealroot/sealroot-boot"),
    ] {
        let path = tree.join(path);
        make_parent(&path)?;
        fs::copy(program.build()?, &path)?;
    }
    let units = tree.join("usr/lib/systemd/system");
    for (name, text) in UNITS.into_iter().chain([COLDPLUG]) {
        write(&units.join(name), text)?;
    }
    symlink(UNITS[0].0, units.join("default.target"))?;
    // Installed as `systemctl enable` would.
    for (name, wanted_by) in OUR_UNITS {
        let from = need::repository().join("integration/systemd").join(name);
        write(&units.join(name), &fs::read_to_string(from)?)?;
        let wants = units.join(wanted_by);
        fs::create_dir_all(&wants)?;
        symlink(format!("../{name}"), wants.join(name))?;
    }
    let masked: [(_, &[&str]); 2] = [
        ("system", &MASKED_UNITS),
        ("system-generators", &MASKED_GENERATORS),
    ];
    for (directory, names) in masked {
        let directory = tree.join("usr/etc/systemd").join(directory);
        fs::create_dir_all(&directory)?;
        for name in names {
            symlink("/dev/null", directory.join(name))?;
        }
    }
    Ok(())
}

fn dir(tree: &Path) -> String {
    format!("dir={}", tree.display())
}

fn make_parent(path: &Path) -> Result<()> {
    Ok(fs::create_dir_all(
        path.parent().context("a file is in a directory")?,
    )?)
}

fn write(path: &Path, text: &str) -> Result<()> {
    make_parent(path)?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The `ostree` of the OS itself, run by the OS's own dynamic linker: the host's may be older.
#[derive(Clone, Debug)]
pub(super) struct Ostree {
    /// The tree of the OS without what this workspace adds.
    os: PathBuf,
}

impl Ostree {
    /// That of the tree that `cargo xtask setup` makes; `None` after [`need::missing`] was told.
    fn find() -> Option<Self> {
        let os = need::cache().join("ostree-os");
        if !os.join("usr/bin/ostree").exists() {
            need::missing("the Debian for OSTree");
            return None;
        }
        Some(Self { os })
    }

    /// The tree of the OS.
    pub(super) fn os(&self) -> &Path {
        &self.os
    }

    /// The words that start it.
    pub(super) fn words(&self) -> [PathBuf; 4] {
        let libraries = self.os.join("usr/lib/x86_64-linux-gnu");
        [
            libraries.join("ld-linux-x86-64.so.2"),
            "--library-path".into(),
            libraries,
            self.os.join("usr/bin/ostree"),
        ]
    }

    fn run(&self, repository: &Path, arguments: &[&str]) -> Result<String> {
        let [program, first @ ..] = self.words();
        let mut command = Command::new(program);
        command.args(first).args(arguments);
        command.arg(format!("--repo={}", repository.display()));
        Ok(String::from_utf8(succeed(&mut command)?)?)
    }
}
