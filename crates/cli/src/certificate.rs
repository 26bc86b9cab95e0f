// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a certificate is shown.

use std::fmt;

use sealroot::initramfs::CertificateName;
use sealroot_format::hex;
use serde::Serialize;

use crate::output::printable;

/// A certificate for the kernel's keyring of fs-verity.
#[derive(Serialize)]
pub(crate) struct CertificateReport {
    /// Null if it cannot be read.
    subject: Option<String>,
    /// SHA-256 of its DER.
    fingerprint: String,
}

impl CertificateReport {
    pub(crate) fn new(certificate: &CertificateName) -> Self {
        Self {
            subject: certificate.subject.clone(),
            fingerprint: hex::encode(&certificate.fingerprint),
        }
    }
}

impl fmt::Display for CertificateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject.as_deref().unwrap_or("one that cannot be read");
        write!(f, "{}, sha256 {}", printable(subject), self.fingerprint)
    }
}
