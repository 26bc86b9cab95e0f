// SPDX-License-Identifier: MIT OR Apache-2.0
//! The certificates that an initramfs carries for the kernel's keyring of fs-verity, by name.

use der::Decode as _;
use sealroot_format::policy::{CertificatesError, split_certificates};
use sha2::{Digest as _, Sha256};
use x509_cert::certificate::Certificate;

use crate::uki::authenticode;

/// A certificate, by what people and signatures know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName {
    /// Whom it is of; `None` if it is none that we can read, which the kernel may see differently.
    pub subject: Option<String>,
    /// Who issued it and its number there, in DER; `None` likewise.
    pub identity: Option<Vec<u8>>,
    /// Its SHA-256 digest, in DER.
    pub fingerprint: [u8; 32],
}

/// The certificates in the file that an initramfs has of them.
pub(crate) fn certificate_names(bytes: &[u8]) -> Result<Vec<CertificateName>, CertificatesError> {
    let name = |der: &[u8]| {
        let certificate = Certificate::from_der(der).ok();
        let certificate = certificate.as_ref();
        CertificateName {
            subject: certificate.map(|one| one.tbs_certificate().subject().to_string()),
            identity: certificate.and_then(|one| authenticode::identity_of(one).ok()),
            fingerprint: Sha256::digest(der).into(),
        }
    };
    Ok(split_certificates(bytes)?.into_iter().map(name).collect())
}
