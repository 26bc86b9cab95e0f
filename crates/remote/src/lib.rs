// SPDX-License-Identifier: MIT OR Apache-2.0
//! Releases as static files on a server: published by a vendor, and fetched by devices with few bytes
//! and requests (docs/format/repository.md).
//!
//! A server is not trusted, and neither is the way to it. What a device believes is the channel: signed,
//! not older than what it saw before, and not expired. It names everything else by digest.
//!
//! Rooms, each using only those before it:
//!
//! * [`layout`]: names on a server;
//! * [`source`]: where files are read from; [`fetch`]: their bytes, from sources that fail;
//! * [`trust`], [`state`]: which channel is to be believed, and what a device remembers of it;
//! * [`part`]: a file on its way, kept and checked while it comes;
//! * `bundle`: the pack of a release and its new objects in one file; `objects`: those out of it;
//! * `signatures`: those of the objects, for the kernel's keyring;
//! * [`plan`]: the cheapest way to a release; [`pull`]: going it;
//! * [`publish`]: the vendor's side.

#![forbid(unsafe_code)]

mod bundle;
mod error;
pub mod fetch;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod layout;
mod objects;
pub mod part;
pub mod plan;
pub mod publish;
pub mod pull;
mod signatures;
pub mod source;
pub mod state;
pub mod trust;

pub use error::{Fault, RemoteError};
