// SPDX-License-Identifier: MIT OR Apache-2.0
//! What cannot be read, and how that is said.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::{
    CWD, FileType, Mode, OFlags, XattrFlags, makedev, mkdirat, mknodat, openat, setxattr,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use sealroot_format::ErrorClass;
use sealroot_format::limits;
use sealroot_testkit::need;

use crate::support::{KEEP_DEVICES, read, read_in_order, refusal};

#[test]
fn a_root_that_is_missing_or_no_directory() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("root");
    assert_eq!(
        refusal(&path),
        "cannot open ROOT: No such file or directory (os error 2)"
    );
    let error = read(&path).expect_err("it is missing");
    assert_eq!(error.class(), ErrorClass::NotFound);
    fs::write(&path, "").expect("write");
    assert_eq!(
        refusal(&path),
        "cannot open ROOT: Not a directory (os error 20)"
    );
}

#[test]
fn a_root_behind_a_symlink_is_read() {
    let root = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(root.path().join("real")).expect("mkdir");
    fs::write(root.path().join("real/file"), "").expect("write");
    let link = root.path().join("link");
    std::os::unix::fs::symlink("real", &link).expect("symlink");
    assert_eq!(read(&link).expect("a readable tree").len(), 2);
}

#[test]
fn device_nodes_unless_they_are_to_be_kept() {
    if !need::root() {
        return;
    }
    let cases = [
        (FileType::CharacterDevice, (1, 3), "a character device 1:3"),
        (FileType::BlockDevice, (0, 0), "a block device 0:0"),
    ];
    for (kind, (major, minor), what) in cases {
        let root = tempfile::tempdir().expect("a temporary directory");
        let node = root.path().join("node");
        let device = makedev(major, minor);
        mknodat(CWD, &node, kind, Mode::RUSR, device).expect("mknod");
        assert_eq!(
            refusal(root.path()),
            format!("ROOT/node is {what}, expected none in an OS tree")
        );
        let tree = read_in_order(root.path(), KEEP_DEVICES, &sealroot::object::Discard);
        assert_eq!(tree.expect("a readable tree").len(), 2);
    }
}

#[test]
fn an_extended_attribute_that_the_kernel_does_not_give() {
    if !need::root() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = root.path().join("file");
    fs::write(&file, "").expect("write");
    // Accepted, but too short to be read as a capability.
    setxattr(&file, "security.capability", b"", XattrFlags::empty()).expect("setxattr");
    assert_eq!(
        refusal(root.path()),
        "cannot read the extended attribute \"security.capability\" of ROOT/file: \
         Invalid argument (os error 22)"
    );
}

/// Unmounts when the test is over, however it ends.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn mounts_inside_the_tree() {
    if !need::root() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let expected = "ROOT/here is a mount point: unmount it, or bind-mount the tree elsewhere, \
                    which shows it without its mounts";
    let here = root.path().join("here");
    fs::create_dir(&here).expect("mkdir");
    mount("none", &here, "tmpfs", MountFlags::empty(), None).expect("mount");
    {
        let _mounted = Mounted(&here);
        assert_eq!(refusal(root.path()), expected);
        // As the message says.
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        mount_bind(root.path(), elsewhere.path()).expect("bind");
        let _bound = Mounted(elsewhere.path());
        assert_eq!(read(elsewhere.path()).expect("a readable tree").len(), 2);
    }
    fs::remove_dir(&here).expect("rmdir");

    // Of the same filesystem, so its number does not tell.
    let other = tempfile::tempdir().expect("a temporary directory");
    for is_directory in [true, false] {
        let source = other.path().join(is_directory.to_string());
        for path in [&here, &source] {
            if is_directory {
                fs::create_dir(path).expect("mkdir");
            } else {
                fs::write(path, "").expect("write");
            }
        }
        mount_bind(&source, &here).expect("bind");
        let mounted = Mounted(&here);
        assert_eq!(refusal(root.path()), expected);
        drop(mounted);
        if is_directory {
            fs::remove_dir(&here).expect("rmdir");
        }
    }
}

#[test]
fn files_without_the_right_to_read_them() {
    const ROOT: &str = "SEALROOT_TEST_UNREADABLE";
    const NAME: &str = "refusals::files_without_the_right_to_read_them";
    if let Some(root) = env::var_os(ROOT) {
        let root = Path::new(&root);
        let expected = "cannot open ROOT/locked: Permission denied (os error 13)";
        assert_eq!(refusal(&root.join("file")), expected);
        assert_eq!(refusal(&root.join("directory")), expected);
        return;
    }
    let root = tempfile::tempdir().expect("a temporary directory");
    let chmod = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    };
    for parent in ["file", "directory"] {
        let parent_path = root.path().join(parent);
        fs::create_dir(&parent_path).expect("mkdir");
        let locked = parent_path.join("locked");
        if parent == "file" {
            fs::write(&locked, "secret").expect("write");
        } else {
            fs::create_dir(&locked).expect("mkdir");
        }
        chmod(&locked, 0);
    }
    chmod(root.path(), 0o755);
    let mut again = Command::new(env::current_exe().expect("this test"));
    again.args(["--exact", NAME]).env(ROOT, root.path());
    if rustix::process::geteuid().is_root() {
        // Root may read everything: be nobody.
        again.uid(65_534).gid(65_534);
    }
    let output = again.output();
    chmod(&root.path().join("directory/locked"), 0o700);
    match output {
        Ok(output) => {
            let passed = String::from_utf8_lossy(&output.stdout).contains("1 passed");
            assert!(output.status.success() && passed, "{output:?}");
        }
        Err(error) => need::missing(&format!("the right to run tests as nobody ({error})")),
    }
}

/// Makes directories below one another, each of `name`, without ever using their whole path.
fn deepen(root: &Path, name: &str, levels: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut directory = openat(CWD, root, flags, Mode::empty()).expect("open");
    for _ in 0..levels {
        mkdirat(&directory, name, Mode::RWXU).expect("mkdir");
        directory = openat(&directory, name, flags, Mode::empty()).expect("open");
    }
}

#[test]
fn paths_longer_than_the_kernel_takes() {
    let root = tempfile::tempdir().expect("a temporary directory");
    // 16 * 256 bytes are one more than fit.
    let name = "n".repeat(limits::MAX_NAME_BYTES);
    deepen(root.path(), &name, 16);
    let message = refusal(root.path());
    let end = "from the root has 4096 bytes, expected at most 4095";
    assert!(message.starts_with("the path of ROOT/nnn"), "{message}");
    assert!(message.ends_with(end), "{message}");
    let error = read(root.path()).expect_err("too long");
    assert_eq!(error.class(), ErrorClass::Unsupported);
}

#[test]
fn the_deepest_tree_there_can_be_is_read() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let levels = limits::MAX_PATH_BYTES / 2;
    deepen(root.path(), "d", levels);
    assert_eq!(
        read(root.path()).expect("a readable tree").len(),
        levels + 1
    );
}
