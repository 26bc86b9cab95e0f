// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees built into a store, and written out or mounted: what comes out is what went in, or
//! nothing.

mod mount;
mod refusals;
mod round_trip;
mod support;
