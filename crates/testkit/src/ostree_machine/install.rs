// SPDX-License-Identifier: MIT OR Apache-2.0
//! The installation of a machine: partitions, a boot loader, and the first deployment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::vendor::Ostree;
use super::{Profile, STATEROOT, Vendor, Version};
use crate::disk::{Disk, Filesystem, succeed};
use crate::need;

/// The sizes of the partitions, in MiB, and of what is before and behind them.
const ESP_MIB: u64 = 160;
const BOOT_MIB: u64 = 160;
const ROOT_MIB: u64 = 1400;
const MARGIN_MIB: u64 = 1;

/// The arguments of the kernel that every deployment is to have. The last two spare each boot time:
/// caches that a new `/etc` would have made, and drivers for what is there and not used.
const KERNEL_ARGUMENTS: [&str; 9] = [
    "root=LABEL=root",
    "rw",
    "console=ttyS0",
    "panic=-1",
    "loglevel=5",
    "no_timer_check",
    "mitigations=off",
    "systemd.condition_needs_update=no",
    "modprobe.blacklist=aesni_intel,ahci,button,crc32_pclmul,crct10dif_pclmul,efi_pstore,evdev,\
     ghash_clmulni_intel,kvm,kvm_amd,qemu_fw_cfg,serio_raw,sha1_ssse3,sha512_ssse3",
];

/// Deploys a release on the filesystem `$ROOT` (with `$BOOT` as `/boot`, if it is not empty) as
/// OSTree's documents tell to, with the command line of `ostree` as arguments; copies of the boot
/// partition's files go to `$COPY`.
const DEPLOY: &str = r#"
mkdir -p "$AT" "$COPY"
mount -o loop "$ROOT" "$AT"
mkdir "$AT/boot"
if [ "$BOOT" ]; then mount -o loop "$BOOT" "$AT/boot"; fi
repo=$AT/ostree/repo
mkdir -p "$repo"
"$@" init --repo="$repo" --mode="$MODE"
"$@" admin init-fs --modern "$AT"
"$@" admin os-init "$STATEROOT" --sysroot="$AT"
"$@" config --repo="$repo" set sysroot.bootprefix "$PREFIX"
"$@" config --repo="$repo" set sysroot.bootloader none
"$@" config --repo="$repo" set sysroot.readonly true
"$@" remote add --repo="$repo" --no-sign-verify --no-gpg-verify vendor file:///run/vendor/repo
"$@" pull-local --repo="$repo" --remote=vendor "$VENDOR" "$BRANCH"
arguments=
for word in $KARGS; do arguments="$arguments --karg=$word"; done
"$@" admin deploy --sysroot="$AT" --os="$STATEROOT" $arguments "vendor:$BRANCH"
if [ "$FSTAB" ]; then
    for deployment in "$AT/ostree/deploy/$STATEROOT/deploy/"*.0; do
        printf '%s' "$FSTAB" > "$deployment/etc/fstab"
    done
fi
if [ "$GRUB" ]; then cp -r "$GRUB" "$AT/boot/grub"; fi
cp -rL "$AT/boot/ostree" "$AT/boot/loader" "$COPY"
"#;

/// Installs a machine; its disk. Needs root.
pub(super) fn install(
    directory: &Path,
    vendor: &Vendor,
    profile: Profile,
    version: Version,
) -> Result<Disk> {
    let at = |name: &str| directory.join(name);
    let mut partitions = Vec::new();
    let root = Disk::create(
        &at("root-partition"),
        profile.root_filesystem(),
        ROOT_MIB,
        None,
    )?;
    match profile.root_filesystem() {
        Filesystem::Btrfs => label_btrfs(root.path(), "root")?,
        Filesystem::Ext4 | Filesystem::Ext4Verity => root.set_label("root")?,
    }
    let boot = if profile == Profile::SeparateBoot {
        let boot = Disk::create(&at("boot-partition"), Filesystem::Ext4, BOOT_MIB, None)?;
        boot.set_label("boot")?;
        Some(boot)
    } else {
        None
    };
    let copy = at("boot-copy");
    deploy(&root, boot.as_ref(), vendor, profile, version, &copy)?;
    let esp = make_esp(&at("esp-partition"), vendor.ostree(), profile, &copy)?;
    partitions.push((esp, ESP_MIB, "uefi"));
    if let Some(boot) = boot {
        partitions.push((boot.path().to_owned(), BOOT_MIB, "linux"));
    }
    partitions.push((root.path().to_owned(), ROOT_MIB, "linux"));
    let disk = assemble(&at("disk"), &partitions)?;
    for (partition, ..) in partitions {
        fs::remove_file(partition)?;
    }
    Ok(disk)
}

fn label_btrfs(image: &Path, label: &str) -> Result<()> {
    let program = need::find_tool("btrfs").context("btrfs is missing")?;
    let mut command = Command::new(program);
    succeed(command.args(["filesystem", "label"]).arg(image).arg(label)).map(drop)
}

fn deploy(
    root: &Disk,
    boot: Option<&Disk>,
    vendor: &Vendor,
    profile: Profile,
    version: Version,
    copy: &Path,
) -> Result<()> {
    let at = copy.with_file_name("mounted");
    let grub = make_grub_directory(&copy.with_file_name("grub"), profile)?;
    let prefix = profile.has_boot_prefix().to_string();
    // In a mount namespace of its own: what is mounted is gone with it.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", DEPLOY, "sh"])
        .args(vendor.ostree().words())
        .env("ROOT", root.path())
        .env("BOOT", boot.map_or(Path::new(""), Disk::path))
        .env("AT", at)
        .env("COPY", copy)
        .env("MODE", profile.repository_mode())
        .env("PREFIX", prefix)
        .env("STATEROOT", STATEROOT)
        .env("VENDOR", vendor.repository())
        .env("BRANCH", version.branch())
        .env("KARGS", KERNEL_ARGUMENTS.join(" "))
        .env("FSTAB", profile.fstab())
        .env("GRUB", grub.as_deref().unwrap_or(Path::new("")));
    succeed(&mut command).map(drop)
}

/// What GRUB has in `/boot/grub`: what to do, and what it loads for that besides what is built into
/// it. `None` where it is not the boot loader.
fn make_grub_directory(path: &Path, profile: Profile) -> Result<Option<PathBuf>> {
    const MODULE: &str = "blsuki.mod";
    let Some(configs) = profile.grub_configs() else {
        return Ok(None);
    };
    let modules = path.join("x86_64-efi");
    fs::create_dir_all(&modules)?;
    fs::copy(grub_files().join(MODULE), modules.join(MODULE))?;
    fs::write(path.join("grub.cfg"), configs.main)?;
    Ok(Some(path.to_owned()))
}

fn grub_files() -> PathBuf {
    need::cache().join("grub/usr/lib/grub/x86_64-efi")
}

/// The partition that the firmware looks for boot loaders on. `boot` is what OSTree has written
/// to `/boot`.
fn make_esp(path: &Path, os: &Ostree, profile: Profile, boot: &Path) -> Result<PathBuf> {
    let files = path.with_file_name("esp");
    let default = files.join("EFI/BOOT");
    fs::create_dir_all(&default)?;
    let default = default.join("BOOTX64.EFI");
    if profile == Profile::SystemdBoot {
        let loader = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
        fs::copy(os.os().join(loader), default)?;
        for name in ["ostree", "loader"] {
            fs::rename(boot.join(name), files.join(name))?;
        }
        fs::write(files.join("loader/loader.conf"), "timeout 0\n")?;
    } else if let Some(configs) = profile.grub_configs() {
        let loader = grub_files().join("monolithic/grubx64.efi");
        fs::copy(&loader, default).with_context(|| format!("copying {}", loader.display()))?;
        fs::create_dir_all(files.join("EFI/debian"))?;
        fs::write(files.join("EFI/debian/grub.cfg"), configs.first)?;
    }
    fs::File::create(path)?.set_len(ESP_MIB << 20)?;
    let mkfs = need::find_tool("mkfs.vfat").context("mkfs.vfat is missing")?;
    succeed(Command::new(mkfs).args(["-F", "32", "-n", "ESP"]).arg(path))?;
    let mut copy = Command::new(need::find_tool("mcopy").context("mcopy is missing")?);
    copy.arg("-i").arg(path).arg("-s");
    for entry in fs::read_dir(&files)? {
        copy.arg(entry?.path());
    }
    succeed(copy.arg("::/"))?;
    Ok(path.to_owned())
}

/// One disk of partitions: content, size, type.
fn assemble(path: &Path, partitions: &[(PathBuf, u64, &str)]) -> Result<Disk> {
    let total_mib = partitions
        .iter()
        .map(|(_, size_mib, _)| size_mib)
        .sum::<u64>();
    fs::File::create(path)?.set_len((total_mib + 2 * MARGIN_MIB) << 20)?;
    let mut table = vec!["label: gpt".to_owned()];
    for (_, size_mib, kind) in partitions {
        table.push(format!("size={size_mib}MiB, type={kind}"));
    }
    let script = path.with_extension("partitions");
    fs::write(&script, table.join("\n"))?;
    let sfdisk = need::find_tool("sfdisk").context("sfdisk is missing")?;
    let mut command = Command::new("sh");
    command.args(["-ec", "\"$1\" --quiet \"$2\" < \"$3\"", "sh"]);
    succeed(command.arg(sfdisk).arg(path).arg(script))?;
    let mut offset_mib = MARGIN_MIB;
    for (content, size_mib, _) in partitions {
        succeed(
            Command::new("dd")
                .arg(format!("if={}", content.display()))
                .arg(format!("of={}", path.display()))
                .arg(format!("seek={offset_mib}"))
                .args(["bs=1M", "conv=notrunc,sparse", "status=none"]),
        )?;
        offset_mib += size_mib;
    }
    Ok(Disk::open(path))
}
