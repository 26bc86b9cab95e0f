// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commits of real OSTree repositories taken over in place, and given back.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod crash;
mod gather;
mod modes;
mod refs;
mod refusals;
mod support;
mod sysroot;
