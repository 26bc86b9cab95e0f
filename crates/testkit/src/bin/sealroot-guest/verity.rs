// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity in the guest: the kernel's digests of many sizes, and packs that others made.

use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sealroot_format::hex;
use sealroot_sys::keyring;
use sealroot_sys::verity::{enable_verity, measure_verity, read_verity_signature};
use sealroot_testkit::content;
use sha2::{Digest as _, Sha256};

/// Prints a line `<size> <digest>` per size, as the kernel measures it.
pub(crate) fn measure_sizes(directory: &str) -> Result<()> {
    for size_bytes in content::verity_sizes() {
        let path = Path::new(directory).join(format!("size-{size_bytes}"));
        let digest = measure(&path, size_bytes).with_context(|| path.display().to_string())?;
        println!("{size_bytes} {}", hex::encode(&digest));
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn measure(path: &Path, size_bytes: u64) -> Result<[u8; 32]> {
    fs::write(
        path,
        content::bytes(size_bytes, usize::try_from(size_bytes)?),
    )?;
    let file = File::open(path)?;
    enable_verity(&file)?;
    measure_verity(&file)?
        .sha256()
        .context("the digest is no SHA-256")
}

/// Copies a tree over another one; packs get fs-verity, or stay without.
pub(crate) fn install(from: &Path, to: &Path, with_verity: bool) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            install(&entry.path(), &target, with_verity)?;
        } else if !target.exists() {
            fs::copy(entry.path(), &target)?;
            let is_pack = target.extension().is_some_and(|name| name == "pack");
            if is_pack && with_verity {
                enable_verity(File::open(&target)?)
                    .with_context(|| format!("fs-verity of {}", target.display()))?;
            }
        }
    }
    Ok(())
}

/// Enables fs-verity on all files below a directory, with the `fsverity` tool if it is named;
/// prints how many there are.
pub(crate) fn enable_below(directory: &Path, tool: Option<&str>) -> Result<()> {
    let (mut todo, mut count) = (vec![directory.to_owned()], 0_u64);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                todo.push(path);
                continue;
            }
            match tool {
                None => enable_verity(File::open(&path)?)
                    .with_context(|| format!("fs-verity of {}", path.display()))?,
                Some(tool) => {
                    let status = Command::new(tool).arg("enable").arg(&path).status()?;
                    ensure!(
                        status.success(),
                        "{tool} enable {}: {status}",
                        path.display()
                    );
                }
            }
            count += 1;
        }
    }
    println!("{count}");
    Ok(())
}

/// Reads every file below a directory and makes its SHA-256; prints how many there are.
pub(crate) fn checksum_below(directory: &Path) -> Result<()> {
    let (mut todo, mut count) = (vec![directory.to_owned()], 0_u64);
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else if entry.file_type()?.is_file() {
                black_box(Sha256::digest(fs::read(entry.path())?));
                count += 1;
            }
        }
    }
    println!("{count}");
    Ok(())
}

/// Puts a certificate, in DER, into the kernel's keyring for fs-verity.
pub(crate) fn load_certificate(path: &str) -> Result<()> {
    let certificate = fs::read(path).with_context(|| format!("reading {path}"))?;
    let keys = fs::read_to_string("/proc/keys")?;
    let keyring = keyring::find_keyring(&keys, keyring::FS_VERITY).context("no such keyring")?;
    keyring::add_key(keyring::ASYMMETRIC, c"", &certificate, keyring).context("adding it")?;
    Ok(())
}

/// That the kernel has the signatures that are kept beside the objects: all, unless one is none, for then
/// a store hands on no more.
pub(crate) fn compare_signatures(objects: &Path) -> Result<()> {
    /// How a signature in DER begins.
    const SEQUENCE: u8 = 0x30;
    let (mut signed, mut unsigned, mut is_one_refused) = (0, 0, false);
    for directory in fs::read_dir(objects)? {
        for entry in fs::read_dir(directory?.path())? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "file") {
                continue;
            }
            let kept = fs::read(path.with_extension("sign"))?;
            is_one_refused |= kept.first() != Some(&SEQUENCE);
            match read_verity_signature(File::open(&path)?)? {
                Some(found) if found == kept => signed += 1,
                Some(_) => bail!("{}: another signature", path.display()),
                None => unsigned += 1,
            }
        }
    }
    ensure!(
        is_one_refused == (unsigned > 0) && signed + unsigned > 0,
        "{signed} signed, {unsigned} not"
    );
    Ok(())
}
