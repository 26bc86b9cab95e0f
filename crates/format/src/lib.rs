// SPDX-License-Identifier: MIT OR Apache-2.0
//! sealroot's formats: bytes in, types out, no I/O.
//!
//! Rooms, each using only those before it:
//!
//! * [`codec`], [`hex`], [`limits`], [`class`]: reading and writing raw bytes, every bound on
//!   outside input, what kind of failure an error is;
//! * [`text`]: the line grammar of all text formats, names and words;
//! * [`digest`]: the digest newtypes and fs-verity digests computed in user space;
//! * [`tree`]: the file tree of an OS in memory, its canonical order and text dump;
//! * [`erofs`]: EROFS images written from and read into trees;
//! * [`pack`]: the pack, an EROFS image with overlayfs redirects for the large files;
//! * [`sign`]: release statements, keys, keysets and signatures;
//! * [`floor`]: the oldest release that a machine still boots;
//! * [`policy`]: what the boot program is told to do, by the initramfs alone;
//! * [`kept`]: the files of `/etc` that a machine may keep;
//! * [`measure`]: what a boot says of itself to the TPM.
//!
//! Nothing here trusts its input: outside bytes never panic, allocate by claim or loop.

#![forbid(unsafe_code)]

pub mod class;
pub mod codec;
pub mod digest;
pub mod erofs;
pub mod floor;
pub mod hex;
pub mod kept;
pub mod limits;
pub mod measure;
pub mod pack;
pub mod policy;
pub mod sign;
pub mod text;
pub mod tree;

pub use class::ErrorClass;
