// SPDX-License-Identifier: MIT OR Apache-2.0
//! PKCS #7 as the kernel verifies it for fs-verity (`Documentation/filesystems/fsverity.rst`,
//! "Built-in signature verification"; RFC 2315): of a digest that is not in it.

use der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode as _, Encode as _, Sequence};
use sealroot_format::digest::VerityDigest;
use sealroot_sys::verity::HASH_ALGORITHM_SHA256;
use spki::AlgorithmIdentifierOwned;
use x509_cert::certificate::Certificate;

use crate::uki::authenticode::{
    ContentInfo, IssuerAndSerial, RSA, SIGNED_DATA, algorithm, identity, sha256,
};
use crate::uki::{ImageSigner, UkiError};

/// Bytes of a digest of SHA-256.
const DIGEST_BYTES: u16 = 32;

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// Content that is elsewhere.
#[derive(Clone, Debug, Sequence)]
struct DetachedContent {
    content_type: ObjectIdentifier,
}

#[derive(Clone, Debug, Sequence)]
struct SignedData {
    version: u8,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: DetachedContent,
    signers: SetOfVec<SignerInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Sequence, der::ValueOrd)]
struct SignerInfo {
    version: u8,
    signer: IssuerAndSerial,
    digest_algorithm: AlgorithmIdentifierOwned,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: OctetString,
}

/// What is signed: `struct fsverity_formatted_digest`.
pub(super) fn message(digest: &VerityDigest) -> Vec<u8> {
    let digest = digest.as_bytes();
    let mut message = b"FSVerity".to_vec();
    message.extend(HASH_ALGORITHM_SHA256.to_le_bytes());
    message.extend(DIGEST_BYTES.to_le_bytes());
    message.extend(digest);
    message
}

/// A signature (RSA, PKCS #1 v1.5 with SHA-256) with the name of its certificate, which the kernel
/// has.
pub(super) fn encode(signature: &[u8], certificate: &Certificate) -> der::Result<Vec<u8>> {
    let signer = SignerInfo {
        version: 1,
        signer: identity(certificate),
        digest_algorithm: sha256(),
        signature_algorithm: algorithm(RSA),
        signature: OctetString::new(signature)?,
    };
    let signed = SignedData {
        version: 1,
        digest_algorithms: SetOfVec::from_iter([sha256()])?,
        content: DetachedContent { content_type: DATA },
        signers: SetOfVec::from_iter([signer])?,
    };
    let content = ContentInfo {
        content_type: SIGNED_DATA,
        content: Any::encode_from(&signed)?,
    };
    content.to_der()
}

/// What a signature names its certificate by, in DER; `None` if it is none of the kind that [`encode`]
/// makes.
pub(super) fn signer_of(encoded: &[u8]) -> Option<Vec<u8>> {
    let content = ContentInfo::from_der(encoded).ok()?;
    let signed: SignedData = content.content.decode_as().ok()?;
    match signed.signers.as_slice() {
        [one] => one.signer.to_der().ok(),
        _ => None,
    }
}

/// Whether these are the bytes that [`encode`] gives for a signature of this digest by this signer,
/// which they end with.
pub(super) fn is_by(
    encoded: &[u8],
    digest: &VerityDigest,
    signer: &ImageSigner,
) -> Result<bool, UkiError> {
    let at = encoded.len().checked_sub(signer.signature_bytes());
    let Some((_, signature)) = at.and_then(|at| encoded.split_at_checked(at)) else {
        return Ok(false);
    };
    let again = encode(signature, signer.certificate());
    let again = again.map_err(|error| signer.unusable(&error))?;
    Ok(again == encoded && signer.verifies(&message(digest), signature))
}
