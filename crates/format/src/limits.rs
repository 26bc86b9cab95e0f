// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every bound on input from outside: its value, its unit and the harm it prevents.

/// Longest name of one directory entry, bytes (`NAME_MAX` of Linux).
pub const MAX_NAME_BYTES: usize = 255;

/// Longest path from the root of a tree, bytes without a final NUL (`PATH_MAX` - 1). Bounds the
/// depth of a tree at half of it, so no walk can exhaust a stack or a path buffer.
pub const MAX_PATH_BYTES: usize = 4095;

/// Longest symlink target, bytes (`PATH_MAX` - 1).
pub const MAX_SYMLINK_BYTES: usize = 4095;

/// Most entries (inodes) of one tree. Nids, inode numbers and memory stay bounded.
pub const MAX_TREE_ENTRIES: usize = 16_000_000;

/// Largest number of a user or group. The one behind it says "leave as it is" to `chown`: no inode
/// can be given it.
pub const MAX_OWNER: u32 = u32::MAX - 1;

/// Longest extended attribute name, bytes (`XATTR_NAME_MAX` of Linux).
pub const MAX_XATTR_NAME_BYTES: usize = 255;

/// Longest extended attribute value, bytes (EROFS stores the length in 16 bits; Linux allows
/// 65536, one more).
pub const MAX_XATTR_VALUE_BYTES: usize = 65_535;

/// Most bytes of all extended attributes of one inode together, names and values. The EROFS
/// inode counts them in units of 4 bytes in 16 bits.
pub const MAX_XATTR_SET_BYTES: usize = 200_000;

/// Most bytes of all extended attributes of a tree together, names and values. A pack stores equal
/// ones once; this bounds what a small pack can become in memory.
pub const MAX_TREE_XATTR_BYTES: usize = 1 << 30;

/// Longest line of a tree's dump, bytes: a path, a symlink's target and all xattrs of an inode, each byte
/// escaped as four.
pub const MAX_TREE_LINE_BYTES: u64 = 1 << 20;

/// Largest file a pack may name, bytes. `i64::MAX` less room for the Merkle tree of fs-verity.
pub const MAX_FILE_BYTES: u64 = 1 << 62;

/// Largest threshold: a file up to this many bytes may be stored inside the pack.
pub const MAX_THRESHOLD_BYTES: u32 = 64 * 1024;

/// Default of the small-file threshold, bytes.
pub const DEFAULT_THRESHOLD_BYTES: u32 = 4096;

/// Longest text of a tree that a delta makes, bytes: some hundred for each of the most entries. It
/// waits in a file.
pub const MAX_DELTA_TEXT_BYTES: u64 = 2 << 30;

/// Longest text of a tree that a delta makes, bytes for each inode that was signed: paths, xattrs and
/// further names of it. What is read of the text is in memory.
pub const MAX_DELTA_TEXT_BYTES_OF_ENTRY: u64 = 512;

/// So much more text there may be, bytes, however few inodes.
pub const MAX_DELTA_TEXT_BYTES_BESIDE: u64 = 1 << 20;

/// Most groups of a delta. A table of them is in memory.
pub const MAX_DELTA_GROUPS: u64 = 1 << 16;

/// Largest group of a delta, bytes, compressed or not. One is in memory, and once more while it is
/// decompressed.
pub const MAX_DELTA_GROUP_BYTES: u64 = 24 << 20;

/// Most objects that a unified kernel image is made of when it comes: a kernel, and the modules in its initramfs.
pub const MAX_IMAGE_BASES: u64 = 1 << 12;

/// Longest signature of an object for the kernel's keyring, bytes. The kernel takes four times as
/// much; one by a key of 4096 bits that carries no certificate has some 800.
pub const MAX_OBJECT_SIGNATURE_BYTES: u64 = 4096;

/// Most groups of a file of such signatures. A table of them is in memory.
pub const MAX_SIGNATURE_GROUPS: u32 = 1 << 12;

/// Longest of these groups, bytes. One is in memory.
pub const MAX_SIGNATURE_GROUP_BYTES: u32 = 8 << 20;

/// Largest release statement with its signatures, bytes. Read whole before anything is verified.
pub const MAX_SIGN_FILE_BYTES: usize = 64 * 1024;

/// Largest channel with its signatures, bytes: some thousand releases and deltas. Read whole before
/// anything is verified.
pub const MAX_CHANNEL_BYTES: usize = 1 << 20;

/// How far the version of a channel, and the index of the newest release in it, may rise at once: a
/// stolen key cannot use up the numbers.
pub const MAX_CHANNEL_STEP: u64 = 1 << 32;

/// How many days a channel may be believed after it was made, and may lie ahead of a device's clock: whoever
/// steals a channel key keeps news from devices for no longer.
pub const MAX_CHANNEL_DAYS: u64 = 400;

/// Largest file on what a device knows of a remote, bytes: a channel, a keyset and their quotes.
pub const MAX_REMOTE_BYTES: u64 = 4 << 20;

/// Largest head of a bundle or delta, bytes. In memory while it is read.
pub const MAX_HEAD_BYTES: u64 = 32 << 20;

/// So many bytes more than its content a compressed frame may have, beside a part of the content.
pub const MAX_FRAME_OVERHEAD_BYTES: u64 = 64;

/// Largest keyset with its signatures, bytes. Read whole before anything is verified.
pub const MAX_KEYSET_BYTES: usize = 16 * 1024;

/// Most keys of a keyset. Holds [`MAX_KEYSET_BYTES`] together with all roles and signatures, and
/// bounds the signatures that are checked.
pub const MAX_KEYSET_KEYS: usize = 32;

/// Most signatures of a document: those of two whole keysets.
pub const MAX_SIGNATURES: usize = 2 * MAX_KEYSET_KEYS;

/// Largest proof that root keys are held, bytes: its text and the signatures of two keysets.
pub const MAX_RECOVERY_BYTES: usize = 16 * 1024;

/// Most certificates for the kernel's keyring of fs-verity: those of today and of some years before.
pub const MAX_VERITY_CERTIFICATES: usize = 16;

/// Most bytes of all of them.
pub const MAX_VERITY_CERTIFICATES_BYTES: usize = 64 * 1024;

/// Largest boot policy, bytes.
pub const MAX_POLICY_BYTES: usize = 16 * 1024;

/// Highest epoch of a floor that is kept outside of the initramfs: epochs are few, and with
/// [`MAX_FLOOR_INDEX`] it makes a time that UEFI takes.
pub const MAX_FLOOR_EPOCH: u64 = (1 << 10) - 1;

/// Highest index of such a floor: dates like 20261129 fit.
pub const MAX_FLOOR_INDEX: u64 = (1 << 27) - 1;

/// Longest text of a floor, bytes.
pub const MAX_FLOOR_BYTES: usize = 128;

/// Longest signed update of a floor, bytes: one signature with a chain of certificates.
pub const MAX_FLOOR_UPDATE_BYTES: usize = 64 * 1024;

/// Largest kept file of `/etc`, bytes: a private RSA key of 16,384 bits, or the passwords of over a
/// hundred users. Root may have left anything there, and it is read whole.
pub const MAX_KEPT_FILE_BYTES: usize = 16 * 1024;

/// Largest `passwd` or `shadow` of a release that passwords are merged with, bytes. Read whole.
pub const MAX_ACCOUNTS_BYTES: usize = 1 << 20;

/// Longest kernel command line, bytes: no architecture's kernel takes a longer one.
pub const MAX_CMDLINE_BYTES: usize = 4096;

/// Largest file of public keys, bytes.
pub const MAX_KEY_FILE_BYTES: usize = 64 * 1024;

/// Longest name in a text format (an OS, a stream, ...), bytes. It becomes a part of file names
/// beside a commit checksum, which `NAME_MAX` must hold.
pub const MAX_FIELD_NAME_BYTES: usize = 64;

/// Longest other value of a statement's field, bytes.
pub const MAX_WORD_BYTES: usize = 255;

/// Largest metadata object (commit, dirtree, dirmeta) of an OSTree repository, bytes: OSTree's own
/// bound. Such an object is read into memory whole.
pub const MAX_OSTREE_METADATA_BYTES: u64 = 128 << 20;

/// Longest header of a content object in an archive repository, bytes: room for the longest symlink
/// target and the largest set of xattrs a tree takes, several times.
pub const MAX_OSTREE_HEADER_BYTES: usize = 1 << 20;

/// Largest `config` of an OSTree repository, bytes.
pub const MAX_OSTREE_CONFIG_BYTES: u64 = 1 << 20;

/// Longest file that holds a ref of an OSTree repository, bytes: a checksum and some white space.
pub const MAX_OSTREE_REF_BYTES: u64 = 128;

/// Largest detached metadata of an OSTree commit, bytes: many signatures of every kind. Nobody
/// vouches for it before it is read.
pub const MAX_OSTREE_DETACHED_BYTES: u64 = 16 << 20;

/// Most public keys that are tried on the signatures of an OSTree commit.
pub const MAX_OSTREE_KEYS: usize = 256;

/// Most streams in which statements of one commit are looked for beside an OSTree repository.
pub const MAX_STATEMENTS_OF_COMMIT: usize = 64;

/// Most refs of an OSTree repository that are listed.
pub const MAX_OSTREE_REFS: usize = 1 << 16;

/// Most bytes of names, xattrs, symlink targets and inline content in the tree of one commit. A few
/// small objects that name one another many times would otherwise fill all memory.
pub const MAX_OSTREE_TREE_BYTES: u64 = 4 << 30;
/// Largest `store.toml`, bytes. Read whole.
pub const MAX_STORE_CONFIG_BYTES: u64 = 4096;

/// Largest `deployment.toml`, bytes: all its fields at their longest. Read whole.
pub const MAX_DEPLOYMENT_RECORD_BYTES: u64 = 8192;

/// Largest file that says something of a deployment, bytes: a kernel command line and some words.
/// Read whole.
pub const MAX_DEPLOYMENT_FLAG_BYTES: u64 = 8192;

/// Largest boot entry that is read, bytes. Ours are far below, but loaders read foreign ones whole,
/// and what those use must be known.
pub const MAX_BOOT_ENTRY_BYTES: u64 = 1 << 20;

/// Most names in a directory of boot entries, and most directories of kernels beside them.
pub const MAX_BOOT_ENTRIES: usize = 1024;

/// Longest kernel arguments of a boot entry, bytes. Most kernels keep 2048 and cut off the rest,
/// where the deployment is named; a boot loader may put about 200 in front.
pub const MAX_BOOT_OPTIONS_BYTES: usize = 1800;

/// Longest title of a boot entry, bytes.
pub const MAX_BOOT_TITLE_BYTES: usize = 200;

/// Largest configuration file of a boot loader that is looked into, bytes.
pub const MAX_LOADER_CONFIG_BYTES: u64 = 1 << 20;

/// Largest kernel or initramfs, bytes. FAT holds files below 4 GiB; firmware loads far less.
pub const MAX_BOOT_FILE_BYTES: u64 = 1 << 30;

/// Largest `unswept` of a store, bytes: 16,000 packs. Read whole.
pub const MAX_UNSWEPT_BYTES: u64 = 1 << 20;

/// Largest record of what was booted, bytes: a statement in JSON and room for reasons. Read whole.
pub const MAX_BOOTED_RECORD_BYTES: u64 = 256 * 1024;

/// Largest record of a mounted pack, bytes. Read whole.
pub const MAX_MOUNT_RECORD_BYTES: u64 = 4096;

/// Most records of mounted packs that are looked at.
pub const MAX_MOUNT_RECORDS: usize = 65_536;

/// Most bytes of an initramfs when it is unpacked: it must fit into memory several times.
pub const MAX_INITRAMFS_BYTES: u64 = 4 << 30;

/// Most memory that one decompressor of an initramfs may take, bytes.
pub const MAX_INITRAMFS_WINDOW_BYTES: u64 = 128 << 20;

/// Most members of all archives of an initramfs.
pub const MAX_INITRAMFS_MEMBERS: u32 = 1_000_000;

/// Largest EFI stub, bytes: systemd's has about 100 KiB. Read whole.
pub const MAX_EFI_STUB_BYTES: usize = 4 << 20;

/// Most sections of an EFI application that is looked into.
pub const MAX_EFI_SECTIONS: usize = 96;

/// Largest table of signatures of an EFI application, bytes: hundreds of signatures.
pub const MAX_EFI_SIGNATURES_BYTES: usize = 1 << 20;

/// Longest command line of a unified kernel image, bytes. Kernels keep 2048 with a NUL and cut off
/// the rest, and then nothing boots.
pub const MAX_UKI_CMDLINE_BYTES: usize = 2047;

/// Largest `os-release` of a unified kernel image, bytes. Boot loaders read it whole.
pub const MAX_OS_RELEASE_BYTES: usize = 64 * 1024;

/// Largest variable of the firmware that names whom it trusts, bytes: `db` has some 10 KiB on most
/// machines. Read whole.
pub const MAX_EFI_KEYS_BYTES: usize = 256 * 1024;

/// Most certificates and digests in one such variable.
pub const MAX_EFI_KEYS: usize = 4096;

/// Largest load option of the firmware (`Boot####`) that is read, bytes: those that firmware makes itself have
/// some hundred.
pub const MAX_LOAD_OPTION_BYTES: usize = 16 * 1024;

/// Most load options that a machine may have, and most numbers in `BootOrder`: real ones have some ten.
pub const MAX_LOAD_OPTIONS: usize = 1024;

/// Most nodes of a device path, its end included.
pub const MAX_DEVICE_PATH_NODES: usize = 256;

/// Most entries of a partition table (GPT) that are looked at: all but very few have 128.
pub const MAX_GPT_ENTRIES: u32 = 1024;

/// Most parts that shim splits its list into.
pub const MAX_MOK_PARTS: usize = 16;

/// Largest file with an owner's certificates, bytes. Read whole.
pub const MAX_CERTIFICATES_FILE_BYTES: usize = 256 * 1024;

/// Most good boots of a deployment that are remembered.
pub const MAX_GOOD_BOOTS: usize = 8;
