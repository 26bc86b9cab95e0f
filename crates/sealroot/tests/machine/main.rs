// SPDX-License-Identifier: MIT OR Apache-2.0
//! The life of a machine: what uses deployments, what is collected, and what a crash leaves.

mod boot;
mod crash;
mod doctor;
mod firmware;
mod processes;
mod prune;
mod refs;
mod remove;
#[expect(dead_code, reason = "the tests of the store use more of it")]
#[path = "../store/support.rs"]
mod store_support;
mod support;
