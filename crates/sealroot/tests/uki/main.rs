// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images: made of small parts and of real ones, spoiled, signed, judged by others.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests and their helpers")]

mod damage;
mod image;
mod rules;
mod signed;
mod support;
