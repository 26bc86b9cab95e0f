// SPDX-License-Identifier: MIT OR Apache-2.0
//! OSTree repositories as a source, judged by the `ostree` program.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed"
)]

mod commits;
mod craft;
mod crafted;
mod crafted_content;
mod damage;
mod encode;
mod entries;
mod import;
mod openssl;
mod publish;
mod publish_crash;
mod repositories;
mod revisions;
mod robustness;
mod signed;
mod trees;
mod user_only;
