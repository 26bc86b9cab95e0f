// SPDX-License-Identifier: MIT OR Apache-2.0
//! Authenticode: the PKCS #7 signature of an EFI application ("Windows Authenticode Portable
//! Executable Signature Format"; RFC 2315).
//!
//! What is written has no time in it and attributes in one order: the same image, key and
//! certificate give the same bytes.

use der::asn1::{Any, BitString, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode, Encode, Sequence, SliceReader, Tag, TagNumber};
use rsa::pkcs1v15;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::signature::Verifier as _;
use sealroot_format::codec::Cursor;
use sha2::{Digest as _, Sha256};
use spki::AlgorithmIdentifierOwned;
use x509_cert::attr::Attribute;
use x509_cert::certificate::Certificate;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

pub(crate) const SIGNED_DATA: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const INDIRECT_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.4");
const PE_IMAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.15");

/// What stands where a file's name would (the specification, `SpcPeImageData`).
const OBSOLETE: &str = "<<<Obsolete>>>";

/// `WIN_CERTIFICATE`: the revision of its form, and that it holds PKCS #7.
const REVISION: u16 = 0x0200;
const PKCS7: u16 = 0x0002;
const ENTRY_HEADER_BYTES: usize = 8;
const ENTRY_ALIGNMENT: usize = 8;

/// PKCS #7: content, and what it is.
#[derive(Clone, Debug, Sequence)]
pub(crate) struct ContentInfo {
    pub(crate) content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub(crate) content: Any,
}

#[derive(Clone, Debug, Sequence)]
struct SignedData {
    version: u8,
    digest_algorithms: SetOfVec<AlgorithmIdentifierOwned>,
    content: ContentInfo,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", optional = "true")]
    certificates: Option<SetOfVec<Certificate>>,
    signers: SetOfVec<SignerInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Sequence, der::ValueOrd)]
struct SignerInfo {
    version: u8,
    signer: IssuerAndSerial,
    digest_algorithm: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    attributes: SetOfVec<Attribute>,
    signature_algorithm: AlgorithmIdentifierOwned,
    signature: OctetString,
    /// Where others put the time.
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", optional = "true")]
    unsigned_attributes: Option<SetOfVec<Attribute>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Sequence, der::ValueOrd)]
pub(crate) struct IssuerAndSerial {
    issuer: Name,
    serial: SerialNumber,
}

#[derive(Clone, Debug, Sequence)]
struct IndirectData {
    /// A [`TypedValue`], which others leave parts out of.
    data: Any,
    digest: DigestInfo,
}

#[derive(Clone, Debug, Sequence)]
struct TypedValue {
    kind: ObjectIdentifier,
    value: PeImageData,
}

#[derive(Clone, Debug, Sequence)]
struct PeImageData {
    flags: BitString,
    file: Any,
}

#[derive(Clone, Debug, Sequence)]
struct DigestInfo {
    algorithm: AlgorithmIdentifierOwned,
    digest: OctetString,
}

/// A signature in the making: what it will say of an image, but for the signature itself.
pub(super) struct Draft {
    content: Any,
    attributes: SetOfVec<Attribute>,
}

impl Draft {
    /// For an image with this digest.
    pub(super) fn new(image_digest: &[u8; 32]) -> der::Result<Self> {
        let content = Any::encode_from(&IndirectData {
            data: Any::encode_from(&TypedValue {
                kind: PE_IMAGE,
                value: PeImageData {
                    flags: BitString::from_bytes(&[])?,
                    file: no_file()?,
                },
            })?,
            digest: DigestInfo {
                algorithm: sha256(),
                digest: OctetString::new(image_digest.as_slice())?,
            },
        })?;
        Ok(Self {
            attributes: attributes(&content)?,
            content,
        })
    }

    /// What is to be signed, with RSA (PKCS #1 v1.5) and SHA-256.
    pub(super) fn message(&self) -> der::Result<Vec<u8>> {
        self.attributes.to_der()
    }

    /// The table of signatures for an image, with this one.
    pub(super) fn table(self, signature: &[u8], certificate: &Certificate) -> der::Result<Vec<u8>> {
        let signer = SignerInfo {
            version: 1,
            signer: identity(certificate),
            digest_algorithm: sha256(),
            attributes: self.attributes,
            signature_algorithm: algorithm(RSA),
            signature: OctetString::new(signature)?,
            unsigned_attributes: None,
        };
        let signed = SignedData {
            version: 1,
            digest_algorithms: SetOfVec::from_iter([sha256()])?,
            content: ContentInfo {
                content_type: INDIRECT_DATA,
                content: self.content,
            },
            certificates: Some(SetOfVec::from_iter([certificate.clone()])?),
            signers: SetOfVec::from_iter([signer])?,
        };
        let content = ContentInfo {
            content_type: SIGNED_DATA,
            content: Any::encode_from(&signed)?,
        };
        entry(&content.to_der()?)
    }
}

pub(crate) fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned {
        oid,
        parameters: Some(Any::null()),
    }
}

pub(crate) fn sha256() -> AlgorithmIdentifierOwned {
    algorithm(SHA256)
}

pub(crate) fn identity(certificate: &Certificate) -> IssuerAndSerial {
    let certified = certificate.tbs_certificate();
    IssuerAndSerial {
        issuer: certified.issuer().clone(),
        serial: certified.serial_number().clone(),
    }
}

/// `[0] EXPLICIT SpcLink`, in it `[2] EXPLICIT SpcString`, in it `[0] IMPLICIT BMPString`.
fn no_file() -> der::Result<Any> {
    let text: Vec<u8> = OBSOLETE.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let tagged = |number: u32, constructed: bool, value: Vec<u8>| {
        let number = TagNumber(number);
        Any::new(
            Tag::ContextSpecific {
                constructed,
                number,
            },
            value,
        )
    };
    let string = tagged(0, false, text)?.to_der()?;
    let link = tagged(2, true, string)?.to_der()?;
    tagged(0, true, link)
}

/// What is said of the content: its type, and the digest of its bytes without tag and length.
fn attributes(content: &Any) -> der::Result<SetOfVec<Attribute>> {
    let digest = OctetString::new(Sha256::digest(content.value()).as_slice())?;
    let attribute = |oid, value| -> der::Result<Attribute> {
        Ok(Attribute {
            oid,
            values: SetOfVec::from_iter([value])?,
        })
    };
    SetOfVec::from_iter([
        attribute(CONTENT_TYPE, Any::encode_from(&INDIRECT_DATA)?)?,
        attribute(MESSAGE_DIGEST, Any::encode_from(&digest)?)?,
    ])
}

/// One entry of a table, which the padding belongs to.
fn entry(pkcs7: &[u8]) -> der::Result<Vec<u8>> {
    let len = (ENTRY_HEADER_BYTES.saturating_add(pkcs7.len())).next_multiple_of(ENTRY_ALIGNMENT);
    let too_long = |_| der::Error::from(der::ErrorKind::Overlength);
    let mut table = u32::try_from(len).map_err(too_long)?.to_le_bytes().to_vec();
    table.extend(REVISION.to_le_bytes());
    table.extend(PKCS7.to_le_bytes());
    table.extend_from_slice(pkcs7);
    table.resize(len, 0);
    Ok(table)
}

/// Who signed an image, and whether the signature is of this very image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The subject of the certificate.
    pub subject: String,
    /// Its SHA-256 digest, in DER.
    pub fingerprint: [u8; 32],
    /// Why it does not hold, if it does not.
    pub fault: Option<&'static str>,
}

/// The signatures of a table. That a certificate is trusted by anyone is not said.
pub(super) fn read(table: &[u8], image_digest: &[u8; 32]) -> Option<Vec<Signature>> {
    let mut signatures = Vec::new();
    let mut entries = Cursor::new(table);
    while let Some(len) = entries.u32() {
        let len = usize::try_from(len).ok()?;
        let (revision, kind) = (entries.u16()?, entries.u16()?);
        let padded = len.checked_next_multiple_of(ENTRY_ALIGNMENT)?;
        let content = entries.take(padded.checked_sub(ENTRY_HEADER_BYTES)?)?;
        if (revision, kind) != (REVISION, PKCS7) {
            return None;
        }
        signatures.extend(read_pkcs7(content, image_digest)?);
    }
    Some(signatures)
}

fn read_pkcs7(padded: &[u8], image_digest: &[u8; 32]) -> Option<Vec<Signature>> {
    let outer = ContentInfo::decode(&mut SliceReader::new(padded).ok()?).ok()?;
    let signed: SignedData = outer.content.decode_as().ok()?;
    let mut found = Vec::new();
    for signer in signed.signers.iter() {
        let certificates = signed.certificates.as_ref()?;
        let certificate = (certificates.iter()).find(|one| identity(one) == signer.signer)?;
        found.push(Signature {
            subject: certificate.tbs_certificate().subject().to_string(),
            fingerprint: fingerprint(certificate).ok()?,
            fault: judge(&signed.content, signer, certificate, image_digest).err(),
        });
    }
    Some(found)
}

fn judge(
    content: &ContentInfo,
    signer: &SignerInfo,
    certificate: &Certificate,
    image_digest: &[u8; 32],
) -> Result<(), &'static str> {
    let indirect: IndirectData = (content.content.decode_as())
        .map_err(|_| "it is a signature of something else than an image")?;
    if indirect.digest.digest.as_bytes() != image_digest.as_slice() {
        return Err("it is of another image, or the image was changed");
    }
    let expected = attributes(&content.content).map_err(|_| "its content is malformed")?;
    if !(expected.iter()).all(|wanted| signer.attributes.iter().any(|found| found == wanted)) {
        return Err("its attributes are of another content");
    }
    let message = signer
        .attributes
        .to_der()
        .map_err(|_| "its attributes are malformed")?;
    let key = public_key(certificate).ok_or("its certificate has no RSA key")?;
    if verifies(&key, &message, signer.signature.as_bytes()) {
        Ok(())
    } else {
        Err("it does not verify by its certificate")
    }
}

/// The SHA-256 digest of a certificate.
pub(super) fn fingerprint(certificate: &Certificate) -> der::Result<[u8; 32]> {
    Ok(Sha256::digest(certificate.to_der()?).into())
}

/// What a signature names its certificate by.
pub(crate) fn identity_of(certificate: &Certificate) -> der::Result<Vec<u8>> {
    identity(certificate).to_der()
}

/// The key that a certificate is for, if it is one for RSA.
pub(super) fn public_key(certificate: &Certificate) -> Option<rsa::PublicKey> {
    let key = certificate.tbs_certificate().subject_public_key_info();
    rsa::PublicKey::from_public_key_der(&key.to_der().ok()?).ok()
}

/// Whether a signature (PKCS #1 v1.5, SHA-256) verifies.
pub(super) fn verifies(key: &rsa::PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let key = pkcs1v15::VerifyingKey::<Sha256>::new(key.clone());
    pkcs1v15::Signature::try_from(signature)
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}
