// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signed, verified image-based Linux roots.
//!
//! The way of a release, one direction, no cycles:
//!
//! * [`monitor`]: how long work tells its progress;
//! * [`object`]: large files named by their fs-verity digest, on their way into a store;
//! * [`ostree`]: an OSTree commit, read into a tree and objects;
//! * [`source`]: a directory, read into a tree and objects;
//! * [`spool`]: where a source keeps small files until they are packed;
//! * [`store`]: `/ostree/verity`, durable and deduplicated;
//! * [`build`]: a source into a pack and objects in a store, and its unsigned statement;
//! * [`import`]: a release from an OSTree commit that is there, and the vendor's statement;
//! * [`input`]: files that people or settings name, opened without waiting;
//! * [`keys`], [`signer`]: key, keyset and statement files, and who signs them;
//! * [`release`]: releases in a store found, verified, opened;
//! * [`delta`]: what makes one release of another, in one file;
//! * [`diff`]: what an update changes; [`advise`]: what makes updates large;
//! * [`unpack`]: a tree written out as plain files; [`mount`]: a pack mounted for a look;
//! * [`deploy`]: a release in a store made bootable;
//! * [`boot_manager`]: what the firmware starts by itself, and in which order;
//! * [`entry`]: boot entries: which deployment boots, with which kernel and arguments;
//! * [`machine`]: which deployments there are, what uses them, what can go;
//! * [`etc`]: `/etc` from one release to the next;
//! * [`adopt`]: a commit of OSTree on this machine taken over in place, and the way back;
//! * [`activate`]: a deployment made what boots next, with its `/etc`, initramfs and entry;
//! * [`floor`]: the oldest release that this machine boots, kept out of the disk's reach;
//! * [`seal`]: whether a machine is sealed, why not, and the last step to it;
//! * [`check`]: a whole store looked over; [`repair`]: what is damaged in it replaced;
//! * [`doctor`]: whether what boots next will, and what stands against it;
//! * [`initramfs`]: the archive that carries the boot program, its keyset and its policy;
//! * [`uki`]: that, a kernel and its command line in one image that firmware verifies;
//! * [`keyring`]: signatures of objects for the kernel's own keyring.

#![forbid(unsafe_code)]

pub mod activate;
pub mod adopt;
pub mod advise;
pub mod boot_manager;
pub mod build;
pub mod check;
pub mod delta;
pub mod deploy;
pub mod diff;
pub mod doctor;
pub mod entry;
pub mod etc;
pub mod floor;
pub mod import;
pub mod initramfs;
pub mod input;
pub mod keyring;
pub mod keys;
pub mod machine;
pub mod monitor;
pub mod mount;
mod mountinfo;
pub mod object;
pub mod ostree;
pub mod release;
pub mod repair;
pub mod seal;
pub mod signer;
pub mod source;
pub mod spool;
pub mod store;
pub mod uki;
pub mod unpack;
