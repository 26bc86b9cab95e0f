// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories read as trees: everything is taken over, on any number of threads, and what cannot
//! be is an error that names it.

mod changes;
mod entries;
mod normal;
mod objects;
mod random;
mod refusals;
mod support;
