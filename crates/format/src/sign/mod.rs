// SPDX-License-Identifier: MIT OR Apache-2.0
//! Release statements, channels, keys, keysets and signatures (`docs/format/statement.md`,
//! `docs/format/channel.md`, `docs/format/keyset.md`).
//!
//! What came from outside is an [`Unverified`] document: lines split, nothing parsed. Only its
//! signatures, checked against a trusted keyset, make it a [`Verified`] one. A signature is made
//! over a [`Message`], which carries the document's kind, so a signature on one kind of document
//! is worth nothing on another.
//!
//! Secret keys live in [`secret`], which the boot program does not use.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod channel;
mod document;
mod error;
mod key;
mod keyset;
mod recovery;
pub mod secret;
mod statement;

pub use crate::text::{Name, Word};
pub use channel::{
    Channel, ChannelDelta, ChannelImage, ChannelImageDelta, ChannelRelease, ChannelSignatures,
    RemoteFile, SECONDS_OF_DAY,
};
pub use document::{Document, KeyedSignature, Message, SignatureState, Unverified, Verified};
pub use error::Error;
pub use key::{
    KeyId, PublicKey, SIGNATURE_BYTES, decode_signature, parse_public_keys, write_public_keys,
};
pub use keyset::{Keyset, Role, RoleKeys};
pub use recovery::Recovery;
pub use statement::{ReleaseNumbers, Statement};
