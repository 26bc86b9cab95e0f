// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/etc` from one release to the next.

mod plan;
mod random;
mod support;
