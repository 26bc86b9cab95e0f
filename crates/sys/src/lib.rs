// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel interfaces sealroot needs and rustix lacks, and the mount API with the kernel's own
//! words in its errors.
//!
//! The only crate with unsafe code towards the kernel. Functions bear the name of the system call
//! or ioctl, take borrowed and give owned file descriptors.

#![expect(
    unsafe_code,
    reason = "this crate is where the unsafe calls to the kernel live"
)]

pub mod efivar;
pub mod erofs;
pub mod journal;
pub mod keyring;
pub mod lock;
pub mod loopdev;
pub mod memory;
pub mod mount;
pub mod overlay;
pub mod process;
pub mod tpm;
pub mod verity;
