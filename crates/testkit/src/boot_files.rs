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

/// What names an image.
pub fn image_digest(image: &[u8]) -> Sha256Digest {
    digest(image, &[])
}

/// The entries of ours that a loader shows of these files, by path: name and deployment of each,
/// the newest first.
///
/// # Errors
/// An entry is shown whose kernel, initramfs or image is not there whole, or that lacks a line: it would
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
        let wrong = |what: &str| Err(format!("{path} is shown and {what}:\n{text}"));
        let (started, found) = match (field("linux"), field("efi")) {
            (Some(linux), _) => {
                let initrd = field("initrd").and_then(|path| files.get(&path));
                let kernel = files.get(&linux).zip(initrd);
                (linux, kernel.map(|(kernel, initrd)| digest(kernel, initrd)))
            }
            (None, Some(image)) => {
                let found = files.get(&image).map(|image| image_digest(image));
                (image, found)
            }
            (None, None) => continue,
        };
        let named = started.split('/').nth(2).unwrap_or_default();
        if found.is_none_or(|found| found.to_hex() != named) {
            return wrong("has not all files that it starts");
        }
        let names = field("options").or_else(|| field("#"));
        let deployment = names.and_then(|names| Some(names.rsplit_once("sealroot=")?.1.to_owned()));
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
