// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries: what is written, in which order it boots, and what a crash leaves.

mod change;
mod crash;
mod support;
