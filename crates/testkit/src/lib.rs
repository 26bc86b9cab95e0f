// SPDX-License-Identifier: MIT OR Apache-2.0
//! Support for sealroot's tests: tools, disks, virtual machines.
//!
//! * [`need`]: tools and rights a test cannot do without, and the cache they are fetched into;
//! * [`binaries`]: the workspace's programs as static binaries, for guests;
//! * [`efi`]: small parts of images that firmware starts, and keys for these; [`esp`]: disks with such images;
//! * [`content`], [`cpio`], [`disk`], [`kernel`]: what a virtual machine is made of;
//! * [`vm`]: running one;
//! * [`guest`]: what the program inside is told and reports;
//! * [`os_tree`], [`debian`], [`release`]: two small OSes, and a release of one on a disk;
//! * [`attack`]: what is done to that disk; [`manifest`]: the judge of what it boots;
//! * [`etc_files`]: a small directory as text;
//! * [`ostree_machine`]: a machine that runs OSTree, booted by its own boot loader;
//! * [`http_server`]: a server of static files that misbehaves as it is told; [`nginx`]: one that does not;
//! * [`s3_server`]: a server that speaks as S3 does; [`mod@line`]: a line to a server that fails;
//! * [`trees`]: random trees;
//! * [`least_size`]: how small a pack could be;
//! * [`on_disk`]: trees written to and read from a filesystem;
//! * [`memory_io`]: a filesystem in memory that fails and crashes on demand;
//! * [`write_log`]: the disks that power cuts leave of a real one; [`boot_files`]: what boots of them;
//! * [`boot_manager`]: the same where firmware starts it without a loader.

#![forbid(unsafe_code)]

pub mod attack;
pub mod binaries;
pub mod boot_files;
pub mod boot_manager;
pub mod content;
pub mod cpio;
pub mod debian;
pub mod disk;
pub mod efi;
pub mod esp;
pub mod etc_files;
pub mod guest;
pub mod http_server;
pub mod kernel;
pub mod least_size;
pub mod line;
pub mod manifest;
pub mod memory_io;
pub mod need;
pub mod nginx;
pub mod on_disk;
pub mod os_tree;
pub mod ostree_machine;
pub mod release;
pub mod s3_server;
pub mod trees;
pub mod vm;
pub mod write_log;
