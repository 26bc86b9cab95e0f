// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who signs images: an RSA key in a file, or a program that asks an HSM or a KMS.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use der::{DecodePem as _, Encode as _};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use sealroot_format::limits::MAX_KEY_FILE_BYTES;
use sha2::Sha256;
use x509_cert::certificate::Certificate;
use zeroize::Zeroizing;

use super::UkiError;
use super::authenticode::{self, Draft};
use super::image::Image;
use crate::input;
use crate::signer::{self, command};

/// Bytes of the RSA keys that firmware verifies by: 2048 to 4096 bits.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// Makes signatures that verify by one certificate: those that firmware asks for of images, and those
/// that the kernel asks for of objects.
pub struct ImageSigner {
    path: PathBuf,
    certificate: Certificate,
    public: rsa::PublicKey,
    with: With,
}

enum With {
    Key(Box<SigningKey<Sha256>>),
    Command {
        argv: Vec<OsString>,
        timeout: Duration,
    },
}

impl fmt::Debug for ImageSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("ImageSigner");
        fields
            .field("certificate", &self.path)
            .finish_non_exhaustive()
    }
}

impl ImageSigner {
    /// Signs with the private key in a file (PEM, of PKCS #8 or PKCS #1, without a passphrase).
    ///
    /// # Errors
    ///
    /// [`UkiError::Read`], [`UkiError::Credential`]; [`UkiError::ForeignSignature`] if the key is
    /// not the certificate's.
    pub fn with_key(certificate: &Path, key: &Path) -> Result<Self, UkiError> {
        let private = read_private_key(key)?;
        let (read, public) = read_certificate(certificate)?;
        if *private.as_public_key() != public {
            return Err(UkiError::ForeignSignature {
                certificate: certificate.to_owned(),
            });
        }
        Ok(Self {
            path: certificate.to_owned(),
            certificate: read,
            public,
            with: With::Key(Box::new(SigningKey::new(private))),
        })
    }

    /// Signs with a program: it gets the bytes to be signed on its standard input, and writes
    /// their signature (RSA, PKCS #1 v1.5 with SHA-256), as it is or as base64 on one line, to its
    /// standard output.
    ///
    /// # Errors
    ///
    /// [`UkiError::Read`], [`UkiError::Credential`].
    pub fn with_command(
        certificate: &Path,
        argv: Vec<OsString>,
        timeout: Duration,
    ) -> Result<Self, UkiError> {
        let (read, public) = read_certificate(certificate)?;
        Ok(Self {
            path: certificate.to_owned(),
            certificate: read,
            public,
            with: With::Command { argv, timeout },
        })
    }

    /// Whether a table of signatures has one by this signer's certificate.
    pub(super) fn has_signed(&self, table: &[u8]) -> bool {
        let identity = authenticode::identity_of(&self.certificate).unwrap_or_default();
        !identity.is_empty() && table.windows(identity.len()).any(|part| part == identity)
    }

    /// The image with its signature, which has been verified.
    pub(super) fn sign(&self, image: &Image<'_>) -> Result<Vec<u8>, UkiError> {
        let draft = Draft::new(&image.digest()).map_err(|error| self.unusable(&error))?;
        let message = draft.message().map_err(|error| self.unusable(&error))?;
        let signature = self.signature_of(&message)?;
        let table = draft.table(&signature, &self.certificate);
        let table = table.map_err(|error| self.unusable(&error))?;
        image
            .with_certificates(&table)
            .map_err(super::contents::in_image)
    }

    /// A signature (RSA, PKCS #1 v1.5 with SHA-256), which has been verified.
    pub(crate) fn signature_of(&self, message: &[u8]) -> Result<Vec<u8>, UkiError> {
        let signature = match &self.with {
            With::Key(key) => key
                .try_sign(message)
                .map_err(|error| self.unusable(&error))?
                .to_vec(),
            With::Command { argv, timeout } => self.ask(argv, message, *timeout)?,
        };
        if self.verifies(message, &signature) {
            return Ok(signature);
        }
        Err(UkiError::ForeignSignature {
            certificate: self.path.clone(),
        })
    }

    /// Whether a signature is by this signer's key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        authenticode::verifies(&self.public, message, signature)
    }

    /// The length of each of its signatures.
    pub(crate) fn signature_bytes(&self) -> usize {
        self.public.size()
    }

    /// The certificate by which they verify.
    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Whether a program is asked for each.
    pub(crate) const fn is_command(&self) -> bool {
        matches!(self.with, With::Command { .. })
    }

    fn ask(
        &self,
        argv: &[OsString],
        message: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, UkiError> {
        let command::Answer { program, output } = command::ask(argv, message, timeout)?;
        let expected_bytes = self.public.size();
        if output.len() == expected_bytes {
            return Ok(output);
        }
        let text = str::from_utf8(&output).unwrap_or_default().trim_ascii_end();
        match Base64::decode_vec(text) {
            Ok(signature) if signature.len() == expected_bytes => Ok(signature),
            _ => Err(UkiError::Signer(signer::Error::Output {
                program,
                expected_bytes,
                found_bytes: output.len(),
            })),
        }
    }

    pub(crate) fn unusable(&self, found: &dyn fmt::Display) -> UkiError {
        credential(&self.path, "a certificate to sign with", found)
    }
}

fn credential(path: &Path, expected: &'static str, found: impl fmt::Display) -> UkiError {
    UkiError::Credential {
        path: path.to_owned(),
        expected,
        found: found.to_string(),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, UkiError> {
    let bytes = input::read(path, MAX_KEY_FILE_BYTES).map(Zeroizing::new);
    bytes.map_err(|source| UkiError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_certificate(path: &Path) -> Result<(Certificate, rsa::PublicKey), UkiError> {
    const EXPECTED: &str = "one certificate in PEM, for an RSA key of 2048 to 4096 bits";
    let bytes = read(path)?;
    let certificate = Certificate::from_pem(bytes.trim_ascii())
        .map_err(|error| credential(path, EXPECTED, error))?;
    // What is written is made from what was read: it must come out as it was.
    let again = certificate
        .to_der()
        .and_then(|der| <Certificate as der::Decode>::from_der(&der));
    let again = again.map_err(|error| credential(path, EXPECTED, error))?;
    let Some(public) = authenticode::public_key(&certificate).filter(|_| again == certificate)
    else {
        return Err(credential(path, EXPECTED, "one for a key of another kind"));
    };
    if !KEY_BYTES.contains(&public.size()) {
        let found = format!("one for a key of {} bits", public.size().saturating_mul(8));
        return Err(credential(path, EXPECTED, found));
    }
    Ok((certificate, public))
}

fn read_private_key(path: &Path) -> Result<rsa::PrivateKey, UkiError> {
    const EXPECTED: &str = "a private RSA key in PEM, without a passphrase";
    let bytes = read(path)?;
    let text = str::from_utf8(&bytes).unwrap_or_default().trim();
    // None of the file's characters get into the error.
    let found = match text.lines().next() {
        Some("-----BEGIN ENCRYPTED PRIVATE KEY-----") => "one with a passphrase",
        Some("-----BEGIN PRIVATE KEY-----" | "-----BEGIN RSA PRIVATE KEY-----") => {
            "one of another kind, or a damaged one"
        }
        _ => "something else",
    };
    let key = rsa::PrivateKey::from_pkcs8_pem(text).ok();
    key.or_else(|| rsa::PrivateKey::from_pkcs1_pem(text).ok())
        .ok_or_else(|| credential(path, EXPECTED, found))
}
