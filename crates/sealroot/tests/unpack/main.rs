// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees built into a store and written out again: what comes out is what went in, or nothing.

mod refusals;
mod round_trip;
mod support;
