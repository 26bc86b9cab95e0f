// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees between which updates are measured, `old` and `new` in a directory:
//!
//! * `<cache>/update-batch`: Debian 12 as it was released last, and with all updates since;
//! * `<cache>/update-older`, only `old`: the former with what the security archive has that is older;
//! * `<cache>/update-kernel`: two adjacent kernels, their modules decompressed;
//! * `<cache>/update-major`: the updated Debian 12, and Debian 13 with the same packages.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{apt, fill_directory, kernel, say};
use crate::run::{command, root_command, run_quietly};

const RELEASE: &str = "bookworm";
const NEXT_RELEASE: &str = "trixie";

const INCLUDED: &str = "systemd systemd-sysv udev dbus openssh-server python3 vim network-manager \
    linux-image-amd64 man-db";

/// Takes what an image would not have out of the tree `$1`.
const CLEAN: &str = r#"
cd "$1"
chown 0:0 . && chmod 755 .
rm -rf dev/* proc/* run/* sys/* tmp/* boot/initrd* initrd* vmlinuz*
rm -rf var/cache/* var/lib/apt/lists/* var/log/* var/lib/systemd/catalog/database
find var/lib/dpkg -name '*-old' -delete
find . -name __pycache__ -prune -exec rm -rf {} +
rm -f etc/ssh/ssh_host_* etc/hostname etc/resolv.conf
: > etc/machine-id
find . -xdev -exec touch --no-dereference --date=@0 {} +
"#;

/// Runs the commands `$3` in the Debian in `$1`, whose apt has the sources in the file `$2`.
const IN_CHROOT: &str = r#"
cp "$2" "$1/etc/apt/sources.list"
cp /etc/resolv.conf "$1/etc/resolv.conf"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
export DEBIAN_FRONTEND=noninteractive
chroot "$1" sh -ec "apt-get --quiet update; $3; apt-get clean"
: > "$1/etc/apt/sources.list"
"#;

const UPGRADE: &str = "before=$(ls /usr/lib/modules)
apt-get --quiet --yes --no-install-recommends dist-upgrade
if [ \"$(ls /usr/lib/modules)\" != \"$before\" ]; then
    apt-get --quiet --yes purge \"linux-image-$before\"
fi";

/// Takes every package back to the lowest version that apt's sources have, and the kernel with it.
const DOWNGRADE: &str = r#"running=linux-image-$(ls /usr/lib/modules)
kernel=$(apt-cache search --names-only '^linux-image-6\.1\.[-0-9.]*-amd64$' | cut -d ' ' -f 1 | sort -V | head -n 1)
if [ "$kernel" = "$running" ]; then echo "the archive has no kernel older than $running"; exit 1; fi
older=$(dpkg-query --show | while read -r name version; do
    name=${name%%:*}
    lowest=$version
    for other in $(apt-cache madison "$name" | cut -d '|' -f 2); do
        if dpkg --compare-versions "$other" lt "$lowest"; then lowest=$other; fi
    done
    if [ "$lowest" != "$version" ]; then echo "$name=$lowest"; fi
done)
apt-get --quiet --yes purge linux-image-amd64 "$running"
apt-get --quiet --yes --no-install-recommends --allow-downgrades install $kernel \
    $(echo "$older" | grep -v ^linux-image)"#;

/// Makes all of them.
pub(super) fn make_trees(cache: &Path) -> Result<()> {
    let batch = cache.join("update-batch");
    make(&batch, "a Debian before and after its updates", |partial| {
        let (old, new) = (partial.join("old"), partial.join("new"));
        debootstrap(RELEASE, &old)?;
        copy(&old, &new)?;
        in_chroot(&new, &apt::update_sources()?, UPGRADE)?;
        [old, new].iter().try_for_each(|tree| clean(tree))
    })?;
    make(&cache.join("update-older"), "an older Debian", |partial| {
        let old = partial.join("old");
        copy(&batch.join("old"), &old)?;
        in_chroot(&old, &apt::update_sources()?, DOWNGRADE)?;
        clean(&old)
    })?;
    make(&cache.join("update-kernel"), "two kernels", |partial| {
        let releases = kernel::two_adjacent("6.12")?;
        for (package, name) in releases.iter().zip(["old", "new"]) {
            unpack_kernel(package, &partial.join(name))?;
        }
        Ok(())
    })?;
    make(&cache.join("update-major"), "the next Debian", |partial| {
        let (old, new) = (partial.join("old"), partial.join("new"));
        copy(&batch.join("new"), &old)?;
        debootstrap(NEXT_RELEASE, &new)?;
        clean(&new)
    })
}

fn make(directory: &Path, what: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    say(&format!("making {what} in {}", directory.display()));
    fill_directory(directory, fill)
}

fn debootstrap(release: &str, tree: &Path) -> Result<()> {
    run_quietly(
        root_command("debootstrap")?
            .arg("--variant=minbase")
            .arg(release)
            .arg(tree)
            .arg(apt::mirror()?),
    )?;
    let install = format!("apt-get --quiet --yes --no-install-recommends install {INCLUDED}");
    in_chroot(tree, &apt::source_line(release)?, &install)
}

fn in_chroot(tree: &Path, sources: &str, commands: &str) -> Result<()> {
    let file = tree.with_extension("sources");
    std::fs::write(&file, sources)?;
    // In a mount namespace of its own: what is mounted is gone with it.
    run_quietly(
        root_command("unshare")?
            .args(["--mount", "sh", "-ec", IN_CHROOT, "sh"])
            .arg(tree)
            .arg(&file)
            .arg(commands),
    )?;
    Ok(std::fs::remove_file(&file)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run_quietly(root_command("cp")?.arg("--archive").arg(from).arg(to))
}

fn clean(tree: &Path) -> Result<()> {
    run_quietly(root_command("sh")?.args(["-ec", CLEAN, "sh"]).arg(tree))
}

/// Unpacks kernel and modules of a package, these decompressed.
fn unpack_kernel(package: &str, tree: &Path) -> Result<()> {
    std::fs::create_dir_all(tree)?;
    run_quietly(
        command("apt-get")
            .args(["download", "--quiet", package])
            .current_dir(tree),
    )?;
    let archive = std::fs::read_dir(tree)?
        .next()
        .context("nothing was downloaded")??
        .path();
    run_quietly(command("dpkg-deb").arg("--extract").arg(&archive).arg(tree))?;
    std::fs::remove_file(&archive)?;
    let script = r#"
cd "$1"
rm -rf usr
find . -name '*.xz' -exec xz --decompress {} +
find . -exec touch --no-dereference --date=@0 {} +
"#;
    run_quietly(command("sh").args(["-ec", script, "sh"]).arg(tree))?;
    ensure!(tree.join("boot").is_dir(), "{package} has no kernel");
    Ok(())
}
