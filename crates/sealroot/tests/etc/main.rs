// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc` from one release to the next.

mod crash;
mod deployment;
mod kept;
mod plan;
mod random;
mod support;
