// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `sealroot` command as its users meet it: run as a program, judged by what it prints, the
//! code it ends with and what it leaves behind.

mod adopt;
#[cfg(feature = "object-store")]
mod bucket;
mod busy;
mod damage;
mod disk;
mod doctor;
mod entries;
mod etc;
mod floor;
mod guard;
mod help;
mod hints;
mod json;
mod keyset;
mod look;
mod machine;
mod nginx;
mod ostree;
mod pages;
mod pipe;
mod pulling;
mod remote;
mod repair;
mod rights;
mod sealing;
mod support;
mod trees;
mod uki;
mod way;
