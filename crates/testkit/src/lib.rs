// SPDX-License-Identifier: MIT OR Apache-2.0
//! Support for sealroot's tests: tools, disks, virtual machines.
//!
//! * [`need`]: tools and rights a test cannot do without, and the cache they are fetched into;
//! * [`binaries`]: the workspace's programs as static binaries, for guests;
//! * [`content`], [`cpio`], [`disk`], [`kernel`]: what a virtual machine is made of;
//! * [`vm`]: running one;
//! * [`guest`]: what the program inside is told and reports;
//! * [`trees`]: random trees.

#![forbid(unsafe_code)]

pub mod binaries;
pub mod content;
pub mod cpio;
pub mod disk;
pub mod guest;
pub mod kernel;
pub mod need;
pub mod trees;
pub mod vm;
