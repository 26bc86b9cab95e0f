// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deltas: what makes one release of another, in one file (docs/format/delta.md).
//!
//! A delta has no digests of new objects: whoever applies it computes them, rebuilds the pack with
//! the same writer that made it, and compares that with the statement. So nothing of a delta is
//! trusted, and nothing of it is believed before that comparison.
//!
//! Rooms, each using only those before it: `file`, the parts of a delta; `text`, a tree as the text
//! that is patched; `bases`, which old object a new one resembles; `compared`, what of one byte string stands in
//! another; `compare`, the same of releases; `groups`, patches on their way into a file; [`make()`]; `old`, what is
//! patched; `patches`, the parts applied one after another; [`Application`]; `chain`, several deltas at once; `image`,
//! unified kernel images on their way.

mod apply;
mod bases;
mod chain;
mod compare;
mod compared;
mod error;
mod file;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod groups;
mod image;
mod make;
mod old;
mod patches;
mod text;

use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Tree;

use crate::store::{KernelIo, Store, StoreIo};

pub use apply::Application;
pub use chain::Needed;
pub use error::DeltaError;
pub use file::{Group, Outline};
pub use image::{ImageApplication, ImageMaking, ImageOutline, MadeImage};
pub use make::{Costs, Made, costs, make};

/// A release that a store has whole.
#[derive(Debug)]
pub struct Release<'r, I: StoreIo = KernelIo> {
    /// The store.
    pub store: &'r Store<I>,
    /// Its pack.
    pub pack: VerityDigest,
    /// What is in the pack.
    pub tree: &'r Tree,
}

/// The distinct objects of a tree with their sizes, bytes, in the order of their first names: that in
/// which deltas and bundles have them.
pub fn objects_in_order(tree: &Tree) -> Vec<(VerityDigest, u64)> {
    text::Objects::of(tree).all
}
