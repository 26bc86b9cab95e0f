// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot entries: what is written, in which order it boots, and what a crash leaves.

mod arguments;
mod change;
mod crash;
mod find;
mod firmware;
mod firmware_crash;
mod initrd;
mod order;
mod repair_image;
mod rules;
mod scan;
mod support;
