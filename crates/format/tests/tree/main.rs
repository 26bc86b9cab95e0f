// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees as lines of text (`docs/format/tree.md`), and back.

mod refused;
mod round_trip;
