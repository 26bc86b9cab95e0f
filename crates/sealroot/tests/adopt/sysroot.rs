// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sysroot that `ostree admin` has deployed to: adopted, kept by its cleanup, given back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealroot::adopt::{deployments_of_ostree, keep_on, undo};
use sealroot::entry::{Boot, KernelBootIo};
use sealroot::monitor::Silent;
use sealroot::store::KernelIo;

use crate::support::{Sysroot, inodes};

struct Deployed(Sysroot);

impl Deployed {
    /// Two deployments, the newer one the default.
    fn new() -> Option<Self> {
        let deployed = Self(Sysroot::new("bare")?);
        let tree = deployed.0.path().join("tree");
        let modules = tree.join("usr/lib/modules/6.1.0");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("vmlinuz"), b"kernel").unwrap();
        fs::write(modules.join("initramfs.img"), b"initramfs").unwrap();
        for directory in ["boot", "ostree/deploy"] {
            fs::create_dir(deployed.0.path().join(directory)).unwrap();
        }
        deployed.admin(&["os-init", "exampleos"]);
        let tree_argument = format!("--tree=dir={}", tree.display());
        for number in 0..2 {
            fs::write(tree.join("usr/number"), number.to_string()).unwrap();
            deployed
                .0
                .ostree(&["commit", "--branch=main", &tree_argument]);
            deployed.admin(&["deploy", "--os=exampleos", "--karg=root=LABEL=x", "main"]);
        }
        Some(deployed)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn admin(&self, arguments: &[&str]) {
        let sysroot = format!("--sysroot={}", self.path().display());
        let mut command = Command::new("ostree");
        command.env("LC_ALL", "C.UTF-8").arg("admin");
        let output = command.args(arguments).arg(sysroot).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "ostree admin {arguments:?}: {errors}"
        );
    }

    fn boots(&self) -> Vec<PathBuf> {
        vec![self.path().join("boot"), self.path().join("efi")]
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        // OSTree makes the roots of its deployments immutable.
        let deploy = self.path().join("ostree/deploy");
        let status = Command::new("chattr")
            .args(["-R", "-f", "-i"])
            .arg(deploy)
            .status();
        assert!(status.is_ok(), "chattr");
    }
}

#[test]
fn what_ostree_would_boot_is_found_with_what_is_missing() {
    let Some(deployed) = Deployed::new() else {
        return;
    };
    let found = deployments_of_ostree(deployed.path(), &deployed.boots()).unwrap();
    assert_eq!(found.len(), 2);
    let newest = deployed.0.ostree(&["rev-parse", "main"]);
    assert_eq!(found[0].name.commit.to_string(), newest.trim_end());
    assert_eq!(found[0].stateroot, "exampleos");
    assert!(found[0].title.contains("Example OS"), "{found:?}");
    assert!(
        found.iter().all(|theirs| theirs.fault.is_none()),
        "{found:?}"
    );
    let boot = deployed.path().join("boot/ostree");
    fs::rename(&boot, deployed.path().join("boot/aside")).unwrap();
    let found = deployments_of_ostree(deployed.path(), &deployed.boots()).unwrap();
    assert!(
        found.iter().all(|theirs| theirs.fault.is_some()),
        "{found:?}"
    );
    let nowhere = deployments_of_ostree(deployed.path(), &[deployed.path().join("efi")]);
    assert!(nowhere.unwrap().is_empty());
}

#[test]
fn ostree_lives_on_and_everything_of_ours_goes_again() {
    let Some(mut deployed) = Deployed::new() else {
        return;
    };
    let found = deployments_of_ostree(deployed.path(), &deployed.boots()).unwrap();
    let old = &found[1];
    deployed.0.commit = old.name.commit;
    let before = inodes(&deployed.0.repository_path().join("objects"));
    let repository = deployed.0.repository_path();
    let io = KernelIo::open(&repository).unwrap();
    keep_on(&io, &old.stateroot.parse().unwrap(), &old.name.commit).unwrap();
    deployed.0.adopt(None).unwrap();
    deployed.0.assert_clean();
    // OSTree forgets its own deployment of the commit; the commit stays.
    deployed.admin(&["undeploy", "1"]);
    deployed.admin(&["cleanup"]);
    deployed.0.assert_clean();
    deployed.0.repository().commit(old.name.commit).unwrap();
    deployed.0.adopt(None).unwrap();

    let boot = None::<&Boot<KernelBootIo>>;
    let running = undo(deployed.path(), boot, true, &Silent).unwrap();
    assert!(running.left.is_some() && deployed.0.store_path().exists());
    let reverted = undo(deployed.path(), boot, false, &Silent).unwrap();
    assert_eq!(reverted.refs.len(), 1);
    assert!(reverted.files > 16 && reverted.left.is_none());
    assert!(!deployed.0.store_path().exists());
    deployed.0.assert_clean();
    let found = deployments_of_ostree(deployed.path(), &deployed.boots()).unwrap();
    assert!(found[0].fault.is_none(), "{found:?}");
    let again = undo(deployed.path(), boot, false, &Silent).unwrap();
    assert_eq!((again.files, again.refs.len()), (0, 0));
    deployed.admin(&["cleanup"]);
    assert!(inodes(&repository.join("objects")).len() < before.len());
    deployed.0.assert_clean();
}
