// SPDX-License-Identifier: MIT OR Apache-2.0
//! Initramfs that a distribution's tool makes in a copy of a real Debian, with what `integration`
//! has for it: what they boot, and what they refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::judge::{Verdict, judge};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::disk::{Disk, succeed};
use sealroot_testkit::need;
use sealroot_testkit::release::{Layer, Release, usual_kernel};

const TIME_OUT: Duration = Duration::from_secs(300);

/// Goes into a copy of the trees `$2`, of which later ones lie below, with `/etc` and what programs
/// expect of a running system, and runs the shell script `$4` there for the kernel `$3`. It leaves
/// `/tmp/initramfs`, which becomes `$1/initramfs`.
const RUN_TOOL: &str = r#"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mkdir -p "$1/root/etc" "$1/root/var/tmp"
cp -a "$1/root/usr/etc/." "$1/root/etc"
mount -t proc proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/tmp"
SEALROOT_CONFIG=/usr/share/sealroot-test chroot "$1/root" sh -ec "$4" sh "$3"
cp "$1/root/tmp/initramfs" "$1/initramfs"
"#;

/// A tool that makes an initramfs.
pub(crate) struct Tool {
    /// Trees that it takes besides the Debian of the tests.
    pub trees: Vec<PathBuf>,
    /// What is installed from `integration`, and where.
    pub files: &'static [(&'static str, &'static str)],
    /// Makes `/tmp/initramfs` for the kernel `$1`.
    pub script: &'static str,
}

/// The tool's initramfs boots the tree that was signed, with a command line that asks for something
/// else too, and refuses a pack with one bit changed.
pub(crate) fn boots_what_is_signed_and_nothing_else(tool: &Tool, hostile: &str) -> Result<()> {
    let (Some(release), Some(kernel)) = (super::shared::release(Mode::Sealed)?, usual_kernel())
    else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let Some(initramfs) = make_initramfs(tool, &release, kernel.release(), directory.path())?
    else {
        return Ok(());
    };
    let boot = |disk: &Disk, arguments: &str| -> Result<(Verdict, String)> {
        let outcome = release
            .machine(&kernel, Layer::Erofs, disk, &release.deployment())?
            .initramfs(&initramfs)
            .arguments(arguments)
            .memory_mib(1024)
            .run(TIME_OUT)?;
        Ok((judge(&outcome, &release), outcome.console_tail(40)))
    };
    let (verdict, console) = boot(release.disk(), hostile)?;
    assert_eq!(verdict, Verdict::SameTree, "{console}");

    let spoiled = release.disk().copy_to(&directory.path().join("spoiled"))?;
    let block = spoiled.block_of(&format!("/{}", release.pack_path()), 0)?;
    spoiled.patch_block(block, |bytes| bytes[2000] ^= 1)?;
    let (verdict, console) = boot(&spoiled, hostile)?;
    let is_refused = matches!(&verdict, Verdict::Refused { code, .. } if code == "metadata");
    assert!(is_refused, "{verdict:?}:\n{console}");
    Ok(())
}

fn make_initramfs(
    tool: &Tool,
    release: &Release,
    kernel: &str,
    directory: &Path,
) -> Result<Option<PathBuf>> {
    let files = directory.join("files");
    let mut trees = tool.trees.clone();
    trees.push(need::cache().join("ostree-os"));
    if let Some(tree) = trees.iter().find(|tree| !tree.is_dir()) {
        need::missing(&format!("the directory {}", tree.display()));
        return Ok(None);
    }
    let install = |from: &Path, to: &str| -> Result<()> {
        let to = files.join(to);
        fs::create_dir_all(to.parent().context("a parent")?)?;
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    install(&Program::Boot.build()?, "usr/lib/sealroot/sealroot-boot")?;
    for (from, to) in tool.files {
        install(&need::repository().join("integration").join(from), to)?;
    }
    let orders = files.join("usr/share/sealroot-test");
    fs::create_dir_all(&orders)?;
    release.write_orders(&orders, Layer::Erofs)?;
    trees.insert(0, files);
    let trees: Vec<_> = trees.iter().map(|tree| tree.to_string_lossy()).collect();
    succeed(
        Command::new("unshare")
            .args(["--mount", "sh", "-ec", RUN_TOOL, "sh"])
            .arg(directory)
            .args([&trees.join(":"), kernel, tool.script]),
    )?;
    Ok(Some(directory.join("initramfs")))
}
