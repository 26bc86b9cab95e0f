// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, keysets and signers, against real files and real programs.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests and their helpers")]

mod command;
mod files;
mod objects;
mod openssl;

use sealroot_format::{
    digest::{CommitId, TreeDigest, VerityDigest},
    sign::{Statement, Unverified, secret::SecretKey},
};

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32]).unwrap()
}

fn statement() -> Unverified<Statement> {
    let statement = Statement {
        os: "debian".parse().unwrap(),
        variant: None,
        stream: "stable".parse().unwrap(),
        arch: "x86_64".parse().unwrap(),
        version: None,
        index: 1,
        epoch: 0,
        commit: CommitId::from_bytes([1; 32]),
        tree_digest: TreeDigest::from_bytes([2; 32]),
        pack_format: 1,
        pack_digest: VerityDigest::from_bytes([3; 32]),
        pack_size_bytes: 4096,
        entries: 1,
        objects: 0,
        object_bytes: 0,
        threshold_bytes: 4096,
        kernel: None,
        created: 0,
    };
    Unverified::unsigned(&statement).unwrap()
}
