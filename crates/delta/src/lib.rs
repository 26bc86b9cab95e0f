// SPDX-License-Identifier: MIT OR Apache-2.0
//! Patches: what makes a new byte string of an old one. No I/O of its own.
//!
//! A patch consists of *covers*, pieces of the new string that stand nearly so in the old one, of the
//! differences in them, and of literal bytes (docs/format/patch.md). Whoever makes it needs the old
//! string's suffix array in memory; whoever applies it reads the old string where it lies, writes the
//! new one from front to back, and needs the memory of one group of patches.
//!
//! Rooms, each using only those before it:
//!
//! * `number`: numbers of variable length;
//! * `index`, `covers`: what of the new string stands in the old one;
//! * `encode`: patches of many objects into one group;
//! * `apply`: and back. Nothing of a patch is trusted;
//! * [`adjusted`]: old object files, adjusted to what moved in them;
//! * [`opened`]: objects in which something is compressed, in a form that can be patched.

#![forbid(unsafe_code)]

pub mod adjusted;
mod apply;
mod covers;
mod encode;
mod index;
pub mod kernel;
pub mod number;
pub mod opened;

pub use apply::{GroupReader, PatchError};
pub use covers::{Cover, Tolerance, find_covers};
pub use encode::GroupWriter;
pub use index::MAX_INDEXED_BYTES;
