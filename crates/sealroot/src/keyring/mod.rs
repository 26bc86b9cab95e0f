// SPDX-License-Identifier: MIT OR Apache-2.0
//! Built-in signatures of fs-verity: what the kernel's keyring `.fs-verity` verifies when a file is
//! opened, for those who run a security module that asks for it (docs/format/signatures.md).
//!
//! Nothing of ours trusts them: they sign bare digests, and vouch for no path and no release.

mod opening;
mod pkcs7;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sealroot_format::digest::VerityDigest;
use sealroot_format::limits::{MAX_KEY_FILE_BYTES, MAX_OBJECT_SIGNATURE_BYTES};
use x509_cert::certificate::Certificate;

use crate::monitor::{Monitor, Unit};
use crate::store::{Store, StoreError, StoreIo};
use crate::uki::{ImageSigner, UkiError};

pub(crate) use opening::unopened;
pub use opening::{Unopened, opens};

/// Signatures that are made and then written together.
const BATCH: usize = 512;

/// Why objects are not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// A key, a certificate or the signer will not do.
    #[error(transparent)]
    Signer(#[from] UkiError),
    /// The store could not take a signature.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeyringError {
    /// What kind of failure this is.
    pub fn class(&self) -> sealroot_format::ErrorClass {
        match self {
            Self::Signer(error) => error.class(),
            Self::Store(error) => error.class(),
        }
    }
}

/// What signing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    /// Objects that have a signature by the certificate now.
    pub objects: u64,
    /// Those that had none before.
    pub new: u64,
}

/// The certificates in files of PEM, in DER, one after another: what an initramfs carries.
pub fn read_certificates(paths: &[PathBuf]) -> Result<Vec<u8>, UkiError> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(read_certificate_chain(path)?);
    }
    Ok(all)
}

fn read_certificate_chain(path: &Path) -> Result<Vec<u8>, UkiError> {
    let bytes = crate::input::read(path, MAX_KEY_FILE_BYTES).map_err(|source| UkiError::Read {
        path: path.to_owned(),
        source,
    })?;
    let unusable = |found: String| UkiError::Credential {
        path: path.to_owned(),
        expected: "certificates in PEM",
        found,
    };
    let chain = Certificate::load_pem_chain(&bytes);
    let chain = chain.map_err(|error| unusable(error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable("none".to_owned()));
    }
    let mut all = Vec::new();
    for certificate in &chain {
        let der = der::Encode::to_der(certificate);
        all.extend(der.map_err(|error| unusable(error.to_string()))?);
    }
    Ok(all)
}

/// Makes signatures of objects that have none by this signer's certificate, and puts them into the
/// store. One that is there and is by another certificate is replaced.
pub fn sign_objects<I: StoreIo>(
    store: &Store<I>,
    objects: &[VerityDigest],
    signer: &ImageSigner,
    monitor: &dyn Monitor,
) -> Result<Signed, KeyringError> {
    monitor.start("sign objects", Unit::Items, Some(objects.len() as u64));
    let mut signed = Signed::default();
    for batch in objects.chunks(BATCH) {
        let make = |digest: &VerityDigest| -> Result<_, KeyringError> {
            let made = match store.read_object_signature(digest) {
                Ok(Some(present)) if pkcs7::is_by(&present, digest, signer)? => None,
                // What is no signature is replaced as well.
                Ok(_) | Err(StoreError::TooLarge { .. } | StoreError::NotRegular { .. }) => {
                    Some((*digest, object_signature(digest, signer)?))
                }
                Err(error) => return Err(error.into()),
            };
            monitor.advance(1);
            Ok(made)
        };
        // A token is asked for one signature at a time.
        let made: Result<Vec<_>, _> = if signer.is_command() {
            batch.iter().map(make).collect()
        } else {
            batch.par_iter().map(make).collect()
        };
        let new: Vec<_> = made?.into_iter().flatten().collect();
        let transaction = store.begin(monitor)?;
        transaction.write_object_signatures(&new)?;
        transaction.finish()?;
        signed.objects += batch.len() as u64;
        signed.new += new.len() as u64;
    }
    Ok(signed)
}

/// The signature of an object: PKCS #7 in DER, detached, without certificates and without a time, so
/// that the same object, key and certificate give the same bytes. It was verified.
pub fn object_signature(digest: &VerityDigest, signer: &ImageSigner) -> Result<Vec<u8>, UkiError> {
    let signature = signer.signature_of(&pkcs7::message(digest))?;
    let encoded = pkcs7::encode(&signature, signer.certificate());
    let encoded = encoded.map_err(|error| signer.unusable(&error))?;
    if encoded.len() as u64 > MAX_OBJECT_SIGNATURE_BYTES {
        let found = format!("one whose signatures have {} bytes", encoded.len());
        return Err(signer.unusable(&found));
    }
    Ok(encoded)
}
