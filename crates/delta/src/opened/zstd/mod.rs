// SPDX-License-Identifier: MIT OR Apache-2.0
//! Zstandard frames (RFC 8878) taken apart into their content and the choices of whoever compressed it, and
//! put together again (docs/format/opened.md 3, 4).
//!
//! Rooms, each using only those before it: `bits`, `fse` and `huffman`, the codes; `sequences`, `block`
//! and `frame`, what is written with them; `content`, what a frame decodes to; `nearest`,
//! where matches mostly come from; `choices`, how all of this is written down; `open` and `close`. Both need little
//! memory, whatever the frame: content and records are read and written in files.

mod bits;
mod block;
mod choices;
mod close;
mod content;
mod frame;
mod fse;
mod huffman;
mod nearest;
mod open;
mod sequences;

pub(super) use choices::{Beside, MAX_BESIDE_BYTES};
pub(super) use close::{Places, close};
pub(super) use frame::{MAGIC, header};
pub(super) use open::open;
