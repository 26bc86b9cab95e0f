// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot loader makes of the files of a boot partition, found out without the library.

use std::collections::BTreeMap;

use sealroot_format::digest::Sha256Digest;
use sha2::{Digest as _, Sha256};

/// What names a kernel and its initramfs, computed from the words of docs/format/entries.md.
pub fn digest(linux: &[u8], initrd: &[u8]) -> Sha256Digest {
    let mut hasher = Sha256::new();
    hasher.update((linux.len() as u64).to_le_bytes());
    hasher.update(linux);
    hasher.update(initrd);
    Sha256Digest::from_bytes(hasher.finalize().into())
}

/// The entries of ours that a loader shows of these files, by path: name and deployment of each,
/// the newest first.
///
/// # Errors
/// An entry is shown whose kernel or initramfs is not there whole, or that lacks a line: it would
/// not boot.
pub fn bootable(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<(String, String)>, String> {
    let mut entries = Vec::new();
    for (path, content) in files {
        let Some(name) = path.strip_prefix("/loader/entries/") else {
            continue;
        };
        let text = String::from_utf8_lossy(content);
        let field = |key: &str| {
            let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(' ')?.to_owned());
            text.lines().find_map(value)
        };
        let Some(linux) = field("linux") else {
            continue;
        };
        let wrong = |what: &str| Err(format!("{path} is shown and {what}:\n{text}"));
        let kernel = files.get(&linux);
        let initrd = field("initrd").and_then(|path| files.get(&path));
        let named = linux.split('/').nth(2).unwrap_or_default();
        match (kernel, initrd) {
            (Some(kernel), Some(initrd)) if digest(kernel, initrd).to_hex() == named => {}
            _ => return wrong("has no whole kernel and initramfs"),
        }
        let deployment = field("options")
            .and_then(|options| Some(options.rsplit_once("sealroot=")?.1.to_owned()));
        match deployment {
            Some(deployment) => entries.push((name.to_owned(), deployment)),
            None => return wrong("names no deployment"),
        }
    }
    // Generations have eight digits: the newest is the last name.
    entries.sort();
    entries.reverse();
    Ok(entries)
}
