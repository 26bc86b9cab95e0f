// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statements, keysets, keys and the policy: tests against the public API.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests and their helpers")]

mod channel;
mod common;
mod floor;
mod golden;
mod keys;
mod keyset;
mod policy;
mod rules;
mod statement;
mod verify;
