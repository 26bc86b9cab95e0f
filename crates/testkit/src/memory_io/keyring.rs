// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enabling fs-verity, with a kernel that may verify built-in signatures.

use std::sync::MutexGuard;

use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_sys::verity::EnableVerityError;

use super::MemoryFile;
use super::disk::{Disk, Inode};

/// Enables fs-verity. A signature is good that is [`good_signature`]'s.
///
/// # Panics
/// If the file has no name: ext4 would damage another one if it failed.
pub(super) fn enable(
    mut disk: MutexGuard<'_, Disk>,
    file: &MemoryFile,
    signature: Option<&[u8]>,
) -> Result<(), EnableVerityError> {
    let has_name = disk.names.values().any(|named| *named == file.inode);
    assert!(has_name, "fs-verity for a file without a name");
    if !disk.has_verity {
        return Err(EnableVerityError::NotSupported);
    }
    let keyring = disk.keyring;
    let Inode::File { now, writers, .. } = &mut disk.inodes[file.inode] else {
        return Err(EnableVerityError::IsDirectory);
    };
    if *writers > 0 {
        return Err(EnableVerityError::OpenForWriting);
    }
    if now.verity.is_some() {
        return Err(EnableVerityError::AlreadyEnabled);
    }
    let digest = compute_verity_digest(&now.bytes);
    keyring.map_or(Ok(()), |keyring| keyring.judge(&digest, signature))?;
    now.signature = signature.map(<[u8]>::to_vec);
    now.verity = Some(digest);
    Ok(())
}

/// What a kernel that verifies built-in signatures is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryKeyring {
    /// Whether the keyring has the certificate of [`good_signature`].
    pub has_certificate: bool,
    /// Whether files without a signature are refused.
    pub requires_signatures: bool,
}

impl MemoryKeyring {
    fn judge(
        self,
        digest: &VerityDigest,
        signature: Option<&[u8]>,
    ) -> Result<(), EnableVerityError> {
        match signature {
            None if self.requires_signatures => Err(EnableVerityError::NotPermitted),
            None => Ok(()),
            Some(_) if !self.has_certificate => Err(EnableVerityError::NoCertificate),
            Some(signature) if signature == good_signature(digest) => Ok(()),
            Some(signature) if signature.starts_with(OTHER_CERTIFICATE) => {
                Err(EnableVerityError::NoCertificate)
            }
            Some(signature) if signature.starts_with(GOOD_SIGNATURE) => {
                Err(EnableVerityError::SignatureRejected)
            }
            Some(_) => Err(EnableVerityError::SignatureMalformed),
        }
    }
}

const GOOD_SIGNATURE: &[u8] = b"signature ";

/// How a signature begins of which the certificate is in no keyring.
pub const OTHER_CERTIFICATE: &[u8] = b"other ";

/// The signature that a [`MemoryKeyring`] with its certificate takes of a digest.
pub fn good_signature(digest: &VerityDigest) -> Vec<u8> {
    [GOOD_SIGNATURE, digest.as_bytes()].concat()
}
