// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest kernels: Debian's cloud kernels, unpacked and not installed.
//!
//! `<cache>/kernels/<series>` holds `boot/vmlinuz-<release>` and `lib/modules/<release>`, and so does
//! `<series>-before` of the kernel before that one, and `<series>-later` of one of a later Debian.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{apt, fill_directory, later, say};
use crate::run::{command, output, run_quietly};

/// Boots everything.
pub(super) const BOOTS: &str = "6.12";

/// Lacks `verity=require` and data-only layers, and must be refused.
pub(super) const TOO_OLD: &str = "6.1";

/// Kernels of later Debians, as `crates/testkit` names them, and the suites that have them.
const LATER: [(&str, &str); 5] = [
    ("6.12", "trixie"),
    ("6.16", "trixie-backports"),
    ("6.17", "trixie-backports"),
    ("6.18", "trixie-backports"),
    ("7", "sid"),
];

/// The newest of each of these series, as `<series>-later`.
pub(super) fn fetch_later(cache: &Path) -> Result<()> {
    for (series, suite) in LATER {
        let directory = cache.join("kernels").join(format!("{series}-later"));
        if directory.exists() {
            continue;
        }
        let apt = later::Apt::of(cache, suite)?;
        let package = packages(apt.command("apt-cache"), series, "-cloud-amd64")?.pop();
        let package = package.with_context(|| format!("{suite} has no cloud kernel {series}"))?;
        say(&format!("fetching the guest kernel {package} of {suite}"));
        let parts = parts(apt.command("apt-cache"), &package)?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        fill_directory(&directory, |partial| {
            apt.unpack(&parts, later::Which::Named, partial)?;
            arrange(&package, partial)
        })?;
        apt.remove()?;
    }
    Ok(())
}

/// The newest kernel of a series.
pub(super) fn fetch(cache: &Path, series: &str) -> Result<()> {
    let directory = cache.join("kernels").join(series);
    if directory.exists() {
        return Ok(());
    }
    let mut known = cloud_kernels(series)?;
    if known.is_empty() {
        apt::update()?;
        known = cloud_kernels(series)?;
    }
    let package = known.pop();
    unpack(
        &package.with_context(|| format!("apt knows no cloud kernel {series}"))?,
        &directory,
    )
}

/// The kernel that came before the one that [`fetch`] has fetched, as `<series>-before`.
pub(super) fn fetch_before(cache: &Path, series: &str) -> Result<()> {
    let kernels = cache.join("kernels");
    let directory = kernels.join(format!("{series}-before"));
    if directory.exists() {
        return Ok(());
    }
    let modules = fs::read_dir(kernels.join(series).join("lib/modules"))?.next();
    let fetched = modules.context("a kernel has no modules")??.file_name();
    let fetched = numbers(&fetched.to_string_lossy());
    let mut older = cloud_kernels(series)?;
    older.retain(|package| numbers(package) < fetched);
    let package = older.pop();
    unpack(
        &package.with_context(|| format!("apt knows one cloud kernel {series} only"))?,
        &directory,
    )
}

fn unpack(package: &str, directory: &Path) -> Result<()> {
    say(&format!("fetching the guest kernel {package}"));
    fill_directory(directory, |partial| {
        run_quietly(
            command("apt-get")
                .args(["download", "--quiet", package])
                .current_dir(partial),
        )?;
        apt::extract(partial, partial)?;
        arrange(package, partial)
    })
}

/// Puts what packages of later Debians have elsewhere where the others have it, and writes which modules
/// need which.
fn arrange(package: &str, directory: &Path) -> Result<()> {
    let release = package
        .trim_start_matches("linux-image-")
        .trim_end_matches("-unsigned");
    let merged = directory.join("usr/lib");
    if merged.join("modules").exists() {
        fs::rename(merged, directory.join("lib")).context("moving modules")?;
    }
    let kernel = directory.join("lib/modules").join(release).join("vmlinuz");
    if kernel.exists() {
        fs::create_dir_all(directory.join("boot"))?;
        let name = format!("boot/vmlinuz-{release}");
        fs::rename(kernel, directory.join(name)).context("moving a kernel")?;
    }
    let mut depmod = command("/sbin/depmod");
    run_quietly(depmod.arg("--basedir").arg(directory).arg(release))
}

/// The packages of a series for virtual machines, ascending by version.
fn cloud_kernels(series: &str) -> Result<Vec<String>> {
    packages(command("apt-cache"), series, "-cloud-amd64-unsigned")
}

/// The newest two packages of a series for real machines of which one is the next version after the
/// other, the newer last.
pub(super) fn two_adjacent(series: &str) -> Result<[String; 2]> {
    let mut found = packages(command("apt-cache"), series, "-amd64")?;
    found.retain(|name| !name.contains("-cloud-") && !name.contains("-rt-"));
    // Of `linux-image-6.12.95+deb12-amd64` the third number.
    let version = |name: &String| numbers(name).get(2).copied().unwrap_or_default();
    let pairs = found.iter().zip(found.iter().skip(1));
    let mut adjacent = pairs.filter(|(older, newer)| version(older) + 1 == version(newer));
    match adjacent.next_back() {
        Some((older, newer)) => Ok([older.clone(), newer.clone()]),
        None => bail!("apt knows no two adjacent kernels {series}"),
    }
}

/// The packages of a series whose names end so, ascending by version.
fn packages(apt_cache: Command, series: &str, ending: &str) -> Result<Vec<String>> {
    let series = series.replace('.', "\\.");
    let pattern = format!("^linux-image-{series}\\..*{ending}$");
    let mut names = search(apt_cache, &pattern)?;
    names.sort_by_key(|name| numbers(name));
    Ok(names)
}

/// A kernel's package and those in which later Debians have what was in it.
fn parts(apt_cache: Command, package: &str) -> Result<Vec<String>> {
    let release = package.trim_start_matches("linux-image-");
    let release = release.replace('.', "\\.").replace('+', "\\+");
    search(
        apt_cache,
        &format!("^linux-(image|binary|base|modules)-{release}$"),
    )
}

/// The names of packages that match a regular expression.
fn search(mut apt_cache: Command, pattern: &str) -> Result<Vec<String>> {
    let found = output(apt_cache.args(["search", "--names-only", pattern]))?;
    let names = found.lines().filter_map(|line| line.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

/// The numbers in a name, in order: `6.12.95+deb12` sorts below `6.12.117+deb12`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}
