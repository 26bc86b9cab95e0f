// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whom firmware trusts, by name: certificates and digests of images, and which of them are the
//! owner's.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use der::{Decode as _, Encode as _};
use sealroot_format::hex;
use sealroot_format::limits::MAX_CERTIFICATES_FILE_BYTES;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;

use super::SealError;
use super::lists::{List, SHA256, X509};
use crate::input;

/// Where a release says which certificates are the owner's: in PEM, any number of them.
pub const OWNER_PATH: &str = "/usr/lib/sealroot/owner.pem";

/// Digits of a fingerprint that people see.
const SHORT_DIGITS: usize = 16;

/// Something by which firmware or shim lets an image start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trusted {
    /// What the key of a certificate has signed.
    Certificate {
        /// Its subject, if it can be read.
        subject: Option<String>,
        /// The SHA-256 digest of its DER.
        fingerprint: [u8; 32],
    },
    /// The image with this digest.
    Image([u8; 32]),
    /// Something else: a bare key, another digest.
    Other {
        /// Which kind, as the specification numbers them.
        kind: [u8; 16],
    },
}

impl Trusted {
    /// All that is in these lists.
    pub(super) fn of_lists(lists: &[List<'_>]) -> Vec<Self> {
        let of_list = |list: &List<'_>| {
            let one = |content: &[u8]| match (list.kind, content.try_into()) {
                (X509, _) => Self::certificate(content),
                (SHA256, Ok(digest)) => Self::Image(digest),
                (kind, _) => Self::Other { kind },
            };
            let contents = list.signatures.iter().map(|(_, content)| *content);
            contents.map(one).collect::<Vec<_>>()
        };
        lists.iter().flat_map(of_list).collect()
    }

    /// A certificate in DER.
    fn certificate(der: &[u8]) -> Self {
        let subject = Certificate::from_der(der).ok();
        let subject = subject.map(|one| one.tbs_certificate().subject().to_string());
        Self::Certificate {
            subject: subject.filter(|subject| !subject.is_empty()),
            fingerprint: Sha256::digest(der).into(),
        }
    }

    /// Whether it is Microsoft's, by the name that a certificate gives itself.
    pub(super) fn is_microsofts(&self) -> bool {
        let Self::Certificate {
            subject: Some(subject),
            ..
        } = self
        else {
            return false;
        };
        subject
            .split(',')
            .any(|part| part == "O=Microsoft Corporation")
    }
}

/// As it is told to people.
impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |digest: &[u8]| hex::encode(digest)[..SHORT_DIGITS].to_owned();
        match self {
            Self::Certificate {
                subject: Some(subject),
                ..
            } => write!(f, "{subject}"),
            Self::Certificate {
                subject: None,
                fingerprint,
            } => {
                let digits = short(fingerprint);
                write!(f, "a certificate without a name (sha256 {digits}...)")
            }
            Self::Image(digest) => write!(f, "the image {}...", short(digest)),
            Self::Other { kind } => write!(f, "a key of the kind {}", hex::encode(kind)),
        }
    }
}

/// What is the owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// SHA-256 digests of certificates in DER.
    pub certificates: BTreeSet<[u8; 32]>,
    /// Digests of images.
    pub images: BTreeSet<[u8; 32]>,
    /// Whether somebody said whose certificates are the owner's, and it is not only known who signed
    /// what boots.
    pub is_named: bool,
}

impl Owner {
    /// Adds the certificates of a file, in PEM.
    pub fn add_file(&mut self, path: &Path) -> Result<(), SealError> {
        let failed = |reason: String| SealError::Certificates {
            path: PathBuf::from(path),
            reason,
        };
        let bytes =
            input::read(path, MAX_CERTIFICATES_FILE_BYTES).map_err(|source| SealError::Read {
                path: path.to_owned(),
                source,
            })?;
        let certificates = Certificate::load_pem_chain(&bytes);
        let certificates = certificates.map_err(|error| failed(error.to_string()))?;
        if certificates.is_empty() {
            return Err(failed("there is none".to_owned()));
        }
        for certificate in certificates {
            let der = certificate.to_der();
            let der = der.map_err(|error| failed(error.to_string()))?;
            self.certificates.insert(Sha256::digest(der).into());
        }
        self.is_named = true;
        Ok(())
    }

    /// Whether something is the owner's.
    pub(super) fn has(&self, trusted: &Trusted) -> bool {
        match trusted {
            Trusted::Certificate { fingerprint, .. } => self.certificates.contains(fingerprint),
            Trusted::Image(digest) => self.images.contains(digest),
            Trusted::Other { .. } => false,
        }
    }
}
