// SPDX-License-Identifier: MIT OR Apache-2.0
//! An initramfs that dracut makes of a real Debian, with the module of `integration/dracut`: systemd
//! runs in it, the boot program verifies and mounts the root for it.

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

/// Makes the initramfs `$2/initramfs` for the kernel `$3` in a copy of the Debian `$1`, to which
/// `$2/files` are added.
const RUN_DRACUT: &str = r#"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$2/files:$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
cp -a "$2/root/usr/etc" "$2/root/etc"
mount -t proc proc "$2/root/proc"
mount --bind /dev "$2/root/dev"
mount -t tmpfs tmpfs "$2/root/tmp"
mkdir -p "$2/root/var/tmp"
SEALROOT_CONFIG=/usr/share/sealroot-test chroot "$2/root" dracut --quiet --kver "$3" \
    --no-hostonly --no-hostonly-cmdline --omit ostree --add sealroot \
    --drivers 'virtio_pci virtio_blk virtio_console' /tmp/initramfs
cp "$2/root/tmp/initramfs" "$2/initramfs"
"#;

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_dracut_initramfs_boots_what_is_signed_and_nothing_else() -> Result<()> {
    let (Some(release), Some(kernel)) = (super::shared::release(Mode::Sealed)?, usual_kernel())
    else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let Some(initramfs) = make_initramfs(&release, kernel.release(), directory.path())? else {
        return Ok(());
    };
    let boot = |disk: &Disk| {
        release
            .machine(&kernel, Layer::Erofs, disk, &release.deployment())?
            .initramfs(&initramfs)
            .memory_mib(1024)
            .run(TIME_OUT)
    };
    let outcome = boot(release.disk())?;
    let verdict = judge(&outcome, &release);
    let console = outcome.console_tail(40);
    assert_eq!(verdict, Verdict::SameTree, "{console}");

    let spoiled = release.disk().copy_to(&directory.path().join("spoiled"))?;
    let block = spoiled.block_of(&format!("/{}", release.pack_path()), 0)?;
    spoiled.patch_block(block, |bytes| bytes[2000] ^= 1)?;
    let verdict = judge(&boot(&spoiled)?, &release);
    assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
    Ok(())
}

fn make_initramfs(release: &Release, kernel: &str, directory: &Path) -> Result<Option<PathBuf>> {
    let os = need::cache().join("ostree-os");
    if !os.join("usr/bin/dracut").exists() {
        need::missing("the Debian with dracut");
        return Ok(None);
    }
    let files = directory.join("files");
    let integration = need::repository().join("integration");
    let install = |from: &Path, to: &str| -> Result<()> {
        let to = files.join(to);
        fs::create_dir_all(to.parent().context("a parent")?)?;
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    install(&Program::Boot.build()?, "usr/lib/sealroot/sealroot-boot")?;
    let unit = "sealroot-verify.service";
    install(
        &integration.join("systemd").join(unit),
        &format!("usr/lib/systemd/system/{unit}"),
    )?;
    for name in ["module-setup.sh", "root.sh"] {
        let from = integration.join("dracut/98sealroot").join(name);
        install(
            &from,
            &format!("usr/lib/dracut/modules.d/98sealroot/{name}"),
        )?;
    }
    let orders = files.join("usr/share/sealroot-test");
    fs::create_dir_all(&orders)?;
    release.write_orders(&orders, Layer::Erofs)?;
    succeed(
        Command::new("unshare")
            .args(["--mount", "sh", "-ec", RUN_DRACUT, "sh"])
            .args([&os, directory])
            .arg(kernel),
    )?;
    Ok(Some(directory.join("initramfs")))
}
