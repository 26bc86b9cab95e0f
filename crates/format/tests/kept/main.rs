// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kept files: what their types allow and refuse (`docs/format/kept.md`).

mod arbitrary;
mod hostile;
mod rules;
mod shadow;
mod types;
