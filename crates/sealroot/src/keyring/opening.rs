// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which signed objects a kernel opens that has certain certificates in its keyring, as far as names say.

use std::fmt;

use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Tree;

use super::pkcs7;
use crate::initramfs::CertificateName;
use crate::release;
use crate::store::{SignatureKeyring, Store, StoreError, StoreIo};

/// An object that has a signature, and that a kernel without its certificate does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// The object.
    pub object: VerityDigest,
    /// How many certificates the kernel has.
    pub certificates: usize,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the object {} is signed, and ", self.object)?;
        match self.certificates {
            0 => f.write_str("no certificate is there by which it would open"),
            1 => f.write_str("opens by another certificate than the one that is there"),
            count => write!(
                f,
                "opens by none of the {count} certificates that are there"
            ),
        }
    }
}

/// Whether a signature names one of the certificates. What we cannot read may be one to the kernel: then
/// there only has to be a certificate.
pub fn opens(signature: &[u8], certificates: &[CertificateName]) -> bool {
    let Some(signer) = pkcs7::signer_of(signature) else {
        return !certificates.is_empty();
    };
    let is_it = |one: &CertificateName| one.identity.as_ref().is_none_or(|found| *found == signer);
    certificates.iter().any(is_it)
}

/// The first object of a tree that a kernel with these certificates would not open, because it was given
/// a signature here. It is looked for where this kernel has certificates: any other opens no object that
/// has a signature, or does not look at it.
pub(crate) fn unopened<I: StoreIo>(
    store: &Store<I>,
    tree: &Tree,
    certificates: &[CertificateName],
) -> Result<Option<Unopened>, StoreError> {
    if store.signature_keyring() != SignatureKeyring::Filled {
        return Ok(None);
    }
    for (object, size_bytes) in release::objects(tree) {
        let file = match store.open_object(&object, size_bytes) {
            // Whoever needs it says so.
            Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => continue,
            file => file?,
        };
        if let Some(signature) = file.verity_signature()?
            && !opens(&signature, certificates)
        {
            let certificates = certificates.len();
            return Ok(Some(Unopened {
                object,
                certificates,
            }));
        }
    }
    Ok(None)
}
