// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store and its deployments, through their public interface.

mod check;
mod crash;
mod deployments;
mod flags;
mod foreign;
mod hostile;
mod objects;
mod processes;
mod remote;
mod repair;
mod rules;
mod signatures;
mod space;
mod support;
