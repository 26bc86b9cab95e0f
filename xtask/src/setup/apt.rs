// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages of Debian 12, and where its archive is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Needs, say};
use crate::run::{cache, command, output, root_command, run, run_quietly, shown};

const RELEASE: &str = "bookworm";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What making, deploying and booting a Debian needs, from the release itself.
const DEMO_PACKAGES: [&str; 8] = [
    "debootstrap",
    "e2fsprogs",
    "gcc",
    "kmod",
    "libc6-dev",
    "util-linux",
    "xz-utils",
    "zstd",
];

/// Tools that the tests drive besides, and what building these needs.
const TEST_PACKAGES: [&str; 23] = [
    "acl",
    "attr",
    "binutils",
    "btrfs-progs",
    "cpio",
    "dosfstools",
    "erofs-utils",
    "fdisk",
    "fsverity",
    "libcap2-bin",
    "libssl-dev",
    "mtools",
    "nginx-light",
    "openssl",
    "ostree",
    "ovmf",
    "pkg-config",
    "python3-venv",
    "sbsigntool",
    "strace",
    "swtpm",
    "systemd-boot",
    "systemd-boot-efi",
];

/// What the benches compare with besides.
const BENCH_PACKAGES: [&str; 1] = ["casync"];

/// The emulator: the release's own is too old for the guest kernels.
const QEMU: &str = "qemu-system-x86";
const QEMU_MIN_VERSION: &str = "1:8";

pub(super) fn install_packages(needs: Needs) -> Result<()> {
    let mut packages = DEMO_PACKAGES.to_vec();
    if needs >= Needs::Tests {
        packages.extend(TEST_PACKAGES);
    }
    if needs >= Needs::Benches {
        packages.extend(BENCH_PACKAGES);
    }
    let mut missing = packages.clone();
    missing.retain(|name| installed_version(name).is_none());
    let qemu_is_old = !installed_version(QEMU).is_some_and(|found| {
        run_quietly(command("dpkg").args(["--compare-versions", &found, "ge", QEMU_MIN_VERSION]))
            .is_ok()
    });
    if missing.is_empty() && !qemu_is_old {
        return Ok(());
    }
    check_release(&packages)?;
    if qemu_is_old {
        add_backports()?;
    }
    update()?;
    if !missing.is_empty() {
        install(&missing, RELEASE)?;
    }
    if qemu_is_old {
        install(&[QEMU], &format!("{RELEASE}-backports"))?;
    }
    Ok(())
}

fn install(packages: &[&str], suite: &str) -> Result<()> {
    let mut apt = root_command("env")?;
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install"])
        .args(["--yes", "--quiet", "--quiet", "--no-install-recommends"])
        .args(["-o", "DPkg::Lock::Timeout=300", "--target-release", suite])
        .args(packages);
    say(&shown(&apt));
    run_quietly(&mut apt)
}

pub(super) fn update() -> Result<()> {
    say("apt-get update");
    run_quietly(root_command("apt-get")?.args(["update", "--quiet", "--quiet"]))
}

fn installed_version(package: &str) -> Option<String> {
    let found = output(command("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Abbrev}${Version}",
        package,
    ]))
    .ok()?;
    found.strip_prefix("ii ").map(str::to_owned)
}

fn check_release(packages: &[&str]) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let is = |line: &str| release.lines().any(|found| found == line);
    if is("ID=debian") && is("VERSION_CODENAME=bookworm") {
        return Ok(());
    }
    bail!(
        "setup installs packages on Debian 12 ({RELEASE}) only; \
         elsewhere install the tools yourself: {} {QEMU}",
        packages.join(" ")
    )
}

/// The base address of the Debian archive this machine installs from.
pub(super) fn mirror() -> Result<String> {
    let targets = index_targets()?;
    targets
        .iter()
        .find(|(_, codename)| codename == RELEASE)
        .map(|(uri, _)| uri.clone())
        .with_context(|| format!("apt has no source for {RELEASE}; add one and try again"))
}

/// The text of apt's sources for all updates of the release, in one-line form.
pub(super) fn update_sources() -> Result<String> {
    let mirror = mirror()?;
    let suite = format!("{RELEASE}-security");
    let targets = index_targets()?;
    let known = targets.iter().find(|(_, codename)| *codename == suite);
    let security = match known {
        Some((uri, _)) => uri.clone(),
        None => format!("{}-security", mirror.trim_end_matches('/')),
    };
    Ok(format!(
        "deb {mirror} {RELEASE} main\ndeb {mirror} {RELEASE}-updates main\n\
         deb {security} {suite} main\n"
    ))
}

fn index_targets() -> Result<Vec<(String, String)>> {
    let text = output(command("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME)",
        "Created-By: Packages",
    ]))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(uri, codename)| (uri.to_owned(), codename.to_owned()))
        .collect())
}

fn add_backports() -> Result<()> {
    let suite = format!("{RELEASE}-backports");
    // What apt says its sources are needs their indexes.
    if mirror().is_err() {
        update()?;
    }
    if index_targets()?
        .iter()
        .any(|(_, codename)| *codename == suite)
    {
        return Ok(());
    }
    let path = format!("/etc/apt/sources.list.d/{suite}.sources");
    say(&format!("adding the source {path}"));
    let text = format!(
        "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n",
        mirror()?
    );
    let draft = cache().join("backports.sources");
    fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
    run(root_command("install")?
        .args(["--mode=644", "--owner=root", "--group=root"])
        .arg(&draft)
        .arg(&path))
}

/// The text of an apt source for another suite of the same archive, in one-line form.
pub(super) fn source_line(suite: &str) -> Result<String> {
    Ok(format!(
        "deb [signed-by={KEYRING}] {} {suite} main\n",
        mirror()?
    ))
}

/// Unpacks all packages that lie in `from` into `into`, and removes them.
pub(super) fn extract(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let archive = entry?.path();
        if archive
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            run_quietly(command("dpkg-deb").arg("--extract").arg(&archive).arg(into))?;
            fs::remove_file(&archive)?;
        }
    }
    Ok(())
}
