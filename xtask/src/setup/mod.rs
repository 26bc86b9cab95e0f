// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask setup`: everything the tests and the demo need on a fresh Debian 12 with Rust.
//!
//! Debian packages are installed; all else is unpacked into the cache directory, which can be
//! deleted at any time. What is there is left alone, so running it again costs nothing.

mod apt;
mod debian;
mod erofs_utils;
mod initramfs_tools;
mod kernel;
mod later;
mod ostree_os;
mod updates;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::run::{cache, command, run};

/// The foreign implementation whose images ours are compared with.
const COMPOSEFS_CTL_VERSION: &str = "0.9.4";

/// The first Debian that has composefs.
const COMPOSEFS_SUITE: &str = "forky";

/// The server that speaks as S3 does, which releases are published to.
const MOTO: &str = "moto[s3,server]==5.2.5";

/// What enrols keys in the variables of OVMF.
const VIRT_FIRMWARE: &str = "virt-firmware==26.10";

/// What it is set up for, each with all that stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// The demo: an emulator, a guest kernel and a Debian to boot.
    Demo,
    /// That, and everything the tests compare with.
    Tests,
    /// That, and what only the benches compare with.
    Benches,
}

pub(crate) fn setup(needs: Needs) -> Result<()> {
    let cache = cache();
    fs::create_dir_all(cache.join("bin"))
        .with_context(|| format!("creating {}", cache.display()))?;
    apt::install_packages(needs)?;
    kernel::fetch(&cache, kernel::BOOTS)?;
    debian::make_tree(&cache)?;
    if needs >= Needs::Tests {
        kernel::fetch(&cache, kernel::TOO_OLD)?;
        kernel::fetch_before(&cache, kernel::BOOTS)?;
        erofs_utils::fetch(&cache)?;
        install_mkcomposefs(&cache)?;
        install_python(&cache, "moto", MOTO, "moto_server")?;
        install_python(&cache, "virt-firmware", VIRT_FIRMWARE, "virt-fw-vars")?;
        ostree_os::make_tree(&cache)?;
        ostree_os::fetch_grub(&cache)?;
    }
    Ok(())
}

/// What the tests of the night need on top: another tool that makes an initramfs, kernels of later Debians.
pub(crate) fn setup_for_machines() -> Result<()> {
    setup(Needs::Tests)?;
    let cache = cache();
    initramfs_tools::fetch(&cache)?;
    kernel::fetch_later(&cache)
}

/// What the benches need on top: larger Debians, and the mkcomposefs written in C.
pub(crate) fn setup_for_bench() -> Result<()> {
    setup(Needs::Benches)?;
    let cache = cache();
    debian::make_bench_trees(&cache)?;
    updates::make_trees(&cache)?;
    let directory = cache.join("composefs");
    if directory.exists() {
        return Ok(());
    }
    say(&format!("fetching composefs of {COMPOSEFS_SUITE}"));
    fill_directory(&directory, |partial| {
        let which = later::Which::WithLibraries;
        later::unpack(&cache, COMPOSEFS_SUITE, &["composefs"], which, partial)
    })
}

fn install_mkcomposefs(cache: &Path) -> Result<()> {
    let link = cache.join("bin/mkcomposefs");
    if link.exists() {
        return Ok(());
    }
    say("building mkcomposefs (composefs-ctl), which our composefs images are compared with");
    let root = cache.join("cargo");
    run(command("cargo")
        .args(["install", "composefs-ctl", "--locked", "--quiet"])
        .args(["--version", COMPOSEFS_CTL_VERSION])
        .args(["--no-default-features", "--features", "pre-6.15"])
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("target")))?;
    fs::remove_dir_all(root.join("target")).context("removing build files of composefs-ctl")?;
    link_to(&link, "../cargo/bin/cfsctl")
}

/// Installs a program of a Python package into an environment of its own.
fn install_python(cache: &Path, name: &str, package: &str, program: &str) -> Result<()> {
    let directory = cache.join(name);
    let link = cache.join("bin").join(program);
    if directory.exists() && link.exists() {
        return Ok(());
    }
    say(&format!("installing {package}"));
    // Programs of such an environment name the place it was made for: it is made there, and the link
    // says that it is complete.
    run(command("/usr/bin/python3")
        .args(["-m", "venv", "--clear"])
        .arg(&directory))?;
    run(command(directory.join("bin/pip")).args(["install", "--quiet", package]))?;
    link_to(&link, &format!("../{name}/bin/{program}"))
}

fn link_to(link: &Path, target: &str) -> Result<()> {
    let _ = fs::remove_file(link);
    std::os::unix::fs::symlink(target, link).with_context(|| format!("linking {}", link.display()))
}

/// Makes `path` appear only when `fill` has filled it: `fill` is given a directory beside it.
fn fill_directory(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = path.with_extension("partial");
    if partial.exists() {
        run(crate::run::root_command("rm")?.arg("-rf").arg(&partial))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("creating {}", partial.display()))?;
    fill(&partial)?;
    fs::rename(&partial, path).with_context(|| format!("naming {}", path.display()))
}

fn say(what: &str) {
    println!("setup: {what}");
}
