// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot entry uses, searched in its bytes (docs/format/entries.md, N5): loaders read entries
//! that are not text, and whoever wrote one need not have written it as we do.

use std::collections::BTreeSet;

use sealroot_format::digest::Sha256Digest;
use sealroot_format::policy::DeploymentName;

/// How the argument begins that names a deployment.
const ARGUMENT: &[u8] = b"sealroot=";

/// Hex digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// The deployments that are named as a kernel argument names one, wherever that stands.
pub(super) fn deployments_in(bytes: &[u8]) -> BTreeSet<DeploymentName> {
    let named = |(at, _): (usize, &[u8])| {
        let rest = bytes.get(at + ARGUMENT.len()..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
        let end = rest.iter().position(|byte| !is_part(byte));
        let name = rest.get(..end.unwrap_or(rest.len()))?;
        std::str::from_utf8(name).ok()?.parse().ok()
    };
    let windows = bytes.windows(ARGUMENT.len()).enumerate();
    windows
        .filter(|(_, part)| *part == ARGUMENT)
        .filter_map(named)
        .collect()
}

/// Everything that may be the name of a directory of our kernels; FAT does not tell cases apart.
pub(super) fn digests_in(bytes: &[u8]) -> BTreeSet<Sha256Digest> {
    let words = bytes.split(|byte| !byte.is_ascii_hexdigit());
    words
        .filter(|word| word.len() == DIGEST_DIGITS)
        .filter_map(|word| Sha256Digest::from_hex(word.to_ascii_lowercase()))
        .collect()
}
