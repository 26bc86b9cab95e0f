// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store and its deployments, through their public interface.

mod check;
mod crash;
mod deployments;
mod objects;
mod support;
