// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signed documents: a body, an empty line and signatures; from unverified to verified.

use std::{fmt, marker::PhantomData, ops::Deref};

use base64ct::{Base64, Encoding};

use super::{Error, KeyId, Keyset, PublicKey, Role, SIGNATURE_BYTES, Statement, key::decode};
use crate::{
    limits,
    text::{self, Lines},
};

mod private {
    pub trait Body: Sized + std::fmt::Display {
        /// The kind of document, for error messages.
        const WHAT: &'static str;
        /// Begins every message that is signed for this kind of document.
        const DOMAIN: &'static str;
        /// The most bytes of body and signatures together.
        const MAX_BYTES: usize;
    }
}

pub(super) use private::Body;

/// A kind of document that is signed: [`Statement`], [`Keyset`],
/// [`Channel`](super::Channel) and [`Recovery`](super::Recovery).
pub trait Document: Body {}

impl Document for Statement {}

impl Body for Statement {
    const WHAT: &'static str = "release statement";
    const DOMAIN: &'static str = "sealroot.release.v1";
    const MAX_BYTES: usize = limits::MAX_SIGN_FILE_BYTES;
}

impl Document for Keyset {}

impl Body for Keyset {
    const WHAT: &'static str = "keyset";
    const DOMAIN: &'static str = "sealroot.keyset.v1";
    const MAX_BYTES: usize = limits::MAX_KEYSET_BYTES;
}

/// The bytes that are signed: domain, 0x00, length of the body (u32, little-endian), body. Made
/// of documents only, so nothing else can be signed by mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    body_offset_bytes: usize,
}

impl Message {
    fn of<T: Document>(body: &[u8]) -> Result<Self, Error> {
        let too_long = || text::Error::TooLong {
            what: T::WHAT,
            limit_bytes: T::MAX_BYTES,
            found_bytes: body.len(),
        };
        if body.len() > T::MAX_BYTES {
            return Err(too_long().into());
        }
        let len_bytes = u32::try_from(body.len()).map_err(|_| too_long())?;
        let mut bytes = Vec::new();
        bytes.extend_from_slice(T::DOMAIN.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&len_bytes.to_le_bytes());
        let body_offset_bytes = bytes.len();
        bytes.extend_from_slice(body);
        Ok(Self {
            bytes,
            body_offset_bytes,
        })
    }

    /// The bytes a signer signs.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(self.body_offset_bytes..).unwrap_or_default()
    }
}

/// One signature and the key that is said to have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedSignature {
    /// Names the key.
    pub key: KeyId,
    /// The signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl fmt::Display for KeyedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = Base64::encode_string(&self.signature);
        write!(f, "sig {} {signature}", self.key)
    }
}

/// What a signature is worth to a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureState {
    /// Made by a key of the role over this document: counts.
    Good,
    /// By a key outside of the role: ignored. A release may be signed for an older and a newer
    /// keyset at once.
    Foreign,
    /// By a key of the role, but it does not fit: the document is refused, even where enough
    /// others fit. It shows damage or an attack, and who can add such a line can as well destroy
    /// the file.
    Wrong,
}

/// A document as it came from outside: split into body and signatures, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<T> {
    message: Message,
    /// Ascending by key, each key once.
    signatures: Vec<KeyedSignature>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Document> Unverified<T> {
    /// Splits a file into its body and its signatures.
    ///
    /// The body ends with the first empty line, which belongs to neither; after it there may be
    /// only signatures. A document that nobody has signed yet ends with the empty line.
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new(T::WHAT, file, T::MAX_BYTES)?;
        let mut body_bytes = 0_usize;
        loop {
            let line = lines.line("an empty line after the document")?;
            if line.is_empty() {
                break;
            }
            body_bytes = body_bytes.saturating_add(line.len()).saturating_add(1);
        }
        let body = file.get(..body_bytes).unwrap_or_default();
        let mut signatures: Vec<KeyedSignature> = Vec::new();
        while !lines.is_at_end() {
            if signatures.len() == limits::MAX_SIGNATURES {
                return Err(too_many::<T>());
            }
            let signature = parse_signature(&mut lines)?;
            if (signatures.last()).is_some_and(|previous| previous.key >= signature.key) {
                return Err(lines
                    .error(
                        "a key id above the one of the line before",
                        signature.key.to_string(),
                    )
                    .into());
            }
            signatures.push(signature);
        }
        Ok(Self {
            message: Message::of::<T>(body)?,
            signatures,
            kind: PhantomData,
        })
    }

    /// `document`, to be signed.
    pub fn unsigned(document: &T) -> Result<Self, Error> {
        Ok(Self {
            message: Message::of::<T>(document.to_string().as_bytes())?,
            signatures: Vec::new(),
            kind: PhantomData,
        })
    }

    /// What is to be signed.
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The text of the document, of which nothing is known but its length.
    pub fn body(&self) -> &[u8] {
        self.message.body()
    }

    /// The signatures, unchecked, ascending by key.
    pub fn signatures(&self) -> &[KeyedSignature] {
        &self.signatures
    }

    /// Adds a signature, or replaces the one by the same key, after checking that it fits.
    pub fn add(&mut self, key: &PublicKey, signature: [u8; SIGNATURE_BYTES]) -> Result<(), Error> {
        if !key.verifies(&self.message, &signature) {
            return Err(Error::ForeignSignature {
                what: T::WHAT,
                key: key.id(),
            });
        }
        self.insert(KeyedSignature {
            key: key.id(),
            signature,
        })
    }

    /// Takes over the signatures, unchecked, of another copy of the same document; where both
    /// have one by the same key, its own stays.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if other.body() != self.body() {
            return Err(Error::OtherDocument { what: T::WHAT });
        }
        for signature in &other.signatures {
            if !self.signatures.iter().any(|own| own.key == signature.key) {
                self.insert(*signature)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, signature: KeyedSignature) -> Result<(), Error> {
        match (self.signatures).binary_search_by_key(&signature.key, |own| own.key) {
            Ok(index) => {
                if let Some(own) = self.signatures.get_mut(index) {
                    *own = signature;
                }
            }
            Err(_) if self.signatures.len() >= limits::MAX_SIGNATURES => {
                return Err(too_many::<T>());
            }
            Err(index) => self.signatures.insert(index, signature),
        }
        Ok(())
    }

    /// What each signature is worth to `role` of `keyset`, in the order of the file.
    pub fn inspect<'a>(
        &'a self,
        keyset: &'a Keyset,
        role: Role,
    ) -> impl Iterator<Item = (KeyId, SignatureState)> + 'a {
        self.signatures
            .iter()
            .map(move |KeyedSignature { key: id, signature }| {
                let state = match keyset.key_of(role, *id) {
                    None => SignatureState::Foreign,
                    Some(key) if key.verifies(&self.message, signature) => SignatureState::Good,
                    Some(_) => SignatureState::Wrong,
                };
                (*id, state)
            })
    }

    /// The keys of `role` that have signed, if they are enough and none of them did so wrongly.
    pub(super) fn signers(&self, keyset: &Keyset, role: Role) -> Result<Vec<KeyId>, Error> {
        let what = T::WHAT;
        // Keys are distinct: the signatures are strictly ascending.
        let mut signers = Vec::new();
        for (key, state) in self.inspect(keyset, role) {
            match state {
                SignatureState::Good => signers.push(key),
                SignatureState::Foreign => (),
                SignatureState::Wrong => return Err(Error::BadSignature { what, role, key }),
            }
        }
        let expected = keyset.role(role).threshold();
        if signers.len() < expected {
            return Err(Error::TooFewSignatures {
                what,
                role,
                keyset: keyset.version(),
                expected,
                found: signers.len(),
            });
        }
        Ok(signers)
    }
}

impl Unverified<Statement> {
    /// The statement, if enough release keys of `keyset` have signed it. Parsed only then.
    pub fn verify(&self, keyset: &Verified<Keyset>) -> Result<Verified<Statement>, Error> {
        let signers = self.signers(keyset, Role::Release)?;
        Ok(Verified::new(Statement::parse(self.body())?, signers))
    }
}

/// The file: body, empty line, signatures.
impl<T: Document> fmt::Display for Unverified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A body read from a file has only printable lines, one made of a document as well.
        let body = str::from_utf8(self.body()).map_err(|_| fmt::Error)?;
        writeln!(f, "{body}")?;
        (self.signatures.iter()).try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

fn too_many<T: Document>() -> Error {
    Error::TooManySignatures {
        what: T::WHAT,
        limit: limits::MAX_SIGNATURES,
    }
}

fn parse_signature(lines: &mut Lines<'_>) -> Result<KeyedSignature, Error> {
    const EXPECTED: &str = "sig, a key id of 32 lowercase hex digits and canonical base64 of 64 \
                            bytes (88 characters)";
    let line = lines.line(EXPECTED)?;
    let parse = || {
        let (key, signature) = line.strip_prefix("sig ")?.split_once(' ')?;
        Some(KeyedSignature {
            key: KeyId::from_hex(key)?,
            signature: decode(signature)?,
        })
    };
    parse().ok_or_else(|| lines.error(EXPECTED, text::excerpt(line.as_bytes())).into())
}

/// What is trusted: its signatures were checked against a trusted keyset, or, for a keyset only,
/// it came from a place that is trusted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    signers: Vec<KeyId>,
}

impl<T> Verified<T> {
    pub(super) const fn new(value: T, signers: Vec<KeyId>) -> Self {
        Self { value, signers }
    }

    /// The keys of the role that have signed, ascending; none for what is trusted by origin.
    pub fn signers(&self) -> &[KeyId] {
        &self.signers
    }

    /// The bare document, no longer marked as trusted.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
