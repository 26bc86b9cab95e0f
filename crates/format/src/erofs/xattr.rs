// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes as EROFS stores them: a namespace index, the rest of the name, the value.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use xxhash_rust::xxh32::xxh32;

use super::layout::{
    AFTER_SUPERBLOCK_BYTES, SLOT_BYTES, XATTR_SHARED_MAX, XATTR_UNIT_BYTES, XattrEntry, XattrHeader,
};
use crate::digest::{DIGEST_BYTES, VerityDigest};

/// What an escaped name has after `overlay.`.
const ESCAPE: &[u8] = b"overlay.";
/// The seed of the name filter, to which the namespace index is added.
const FILTER_SEED: u32 = 0x25BB_E08F;
/// Bytes of the value of `trusted.overlay.metacopy`.
pub(crate) const METACOPY_BYTES: usize = 4 + DIGEST_BYTES;
/// What comes before the digest in `trusted.overlay.metacopy`: version 0, length, no flags, SHA-256.
pub(crate) const METACOPY_PREFIX: [u8; 4] = [0, 36, 0, 1];
const _: () = assert!(METACOPY_BYTES == METACOPY_PREFIX[1] as usize);

/// Whole names in `trusted.` that a pack stores once, as EROFS' long name prefixes: they would cost
/// each external file a slot.
pub(crate) const LONG_NAMES: [&[u8]; 2] = [b"overlay.metacopy", b"overlay.redirect"];
/// In a name index: what follows counts long name prefixes.
const LONG_NAME: u8 = 0x80;
/// Bytes of [`long_names()`].
pub(crate) const LONG_NAMES_BYTES: usize = 40;
/// Where the first inode of an image with long names may be.
pub(crate) const AFTER_LONG_NAMES_BYTES: usize =
    (AFTER_SUPERBLOCK_BYTES + LONG_NAMES_BYTES).next_multiple_of(SLOT_BYTES);

/// The long name prefixes as they are behind the superblock: for each the length of what follows,
/// the namespace and the name, padded.
pub(crate) fn long_names() -> [u8; LONG_NAMES_BYTES] {
    let mut table = Vec::with_capacity(LONG_NAMES_BYTES);
    for name in LONG_NAMES {
        let bytes = u16::try_from(1 + name.len()).expect("names are short");
        table.extend_from_slice(&bytes.to_le_bytes());
        table.push(Namespace::Trusted.index());
        table.extend_from_slice(name);
        table.resize(table.len().next_multiple_of(XATTR_UNIT_BYTES), 0);
    }
    table.try_into().expect("the constant is their length")
}

/// The long name that a name index stands for.
pub(crate) fn long_name(name_index: u8) -> Option<&'static [u8]> {
    let position = name_index.checked_sub(LONG_NAME)?;
    LONG_NAMES.get(usize::from(position)).copied()
}

/// A namespace EROFS knows. The order is that of the full names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Namespace {
    Security,
    AclAccess,
    AclDefault,
    Trusted,
    User,
}

impl Namespace {
    pub(crate) const ALL: [Self; 5] = [
        Self::Security,
        Self::AclAccess,
        Self::AclDefault,
        Self::Trusted,
        Self::User,
    ];

    /// The number on disk.
    pub(crate) const fn index(self) -> u8 {
        match self {
            Self::User => 1,
            Self::AclAccess => 2,
            Self::AclDefault => 3,
            Self::Trusted => 4,
            Self::Security => 6,
        }
    }

    /// The part of the name that is not stored.
    pub(crate) const fn prefix(self) -> &'static [u8] {
        match self {
            Self::User => b"user.",
            Self::AclAccess => b"system.posix_acl_access",
            Self::AclDefault => b"system.posix_acl_default",
            Self::Trusted => b"trusted.",
            Self::Security => b"security.",
        }
    }

    /// Whether the prefix is the whole name.
    pub(crate) const fn is_whole_name(self) -> bool {
        matches!(self, Self::AclAccess | Self::AclDefault)
    }

    /// Divides a full name; `None` if EROFS cannot hold it so that the kernel shows it.
    pub(crate) fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL.into_iter().find_map(|namespace| {
            let suffix = name.strip_prefix(namespace.prefix())?;
            (namespace.is_whole_name() == suffix.is_empty()).then_some((namespace, suffix))
        })
    }
}

/// The value of a stored xattr. The two that name an object are made from its digest when they
/// are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value<'t> {
    Bytes(&'t [u8]),
    /// `trusted.overlay.metacopy`.
    Metacopy(&'t VerityDigest),
    /// `trusted.overlay.redirect`: `/XX/<62 hex digits>` and a file name extension.
    Redirect(&'t VerityDigest, &'static str),
}

impl Value<'_> {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Metacopy(_) => METACOPY_BYTES,
            Self::Redirect(_, extension) => 2 + 2 * DIGEST_BYTES + extension.len(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Metacopy(digest) => {
                out.extend_from_slice(&METACOPY_PREFIX);
                out.extend_from_slice(digest.as_bytes());
            }
            Self::Redirect(digest, extension) => {
                let [first, rest @ ..] = digest.as_bytes();
                out.push(b'/');
                push_hex(out, &[*first]);
                out.push(b'/');
                push_hex(out, rest);
                out.extend_from_slice(extension.as_bytes());
            }
        }
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len_bytes());
        self.encode(&mut bytes);
        bytes
    }
}

/// One xattr as it is stored. Equal on disk means equal here, as long as names that begin with
/// `trusted.overlay.overlay.` are always given as `escaped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StoredXattr<'t> {
    pub(crate) namespace: Namespace,
    /// Whether `overlay.` is to be inserted after the `overlay.` that `suffix` begins with.
    pub(crate) escaped: bool,
    pub(crate) suffix: &'t [u8],
    pub(crate) value: Value<'t>,
}

impl StoredXattr<'_> {
    fn suffix_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        let escape = if self.escaped { ESCAPE } else { &[] };
        escape.iter().chain(self.suffix).copied()
    }

    /// The length of the name on disk.
    pub(crate) fn suffix_len_bytes(&self) -> usize {
        self.suffix.len() + if self.escaped { ESCAPE.len() } else { 0 }
    }

    /// The length of the full name.
    pub(crate) fn name_len_bytes(&self) -> usize {
        self.namespace.prefix().len() + self.suffix_len_bytes()
    }

    /// The length of the full name and the value.
    pub(crate) fn total_bytes(&self) -> usize {
        self.name_len_bytes() + self.value.len_bytes()
    }

    /// The full name.
    pub(crate) fn full_name(&self) -> Box<[u8]> {
        let prefix = self.namespace.prefix().iter().copied();
        prefix.chain(self.suffix_bytes()).collect()
    }

    /// Bytewise order of the full names.
    pub(crate) fn cmp_names(&self, other: &Self) -> Ordering {
        self.namespace
            .cmp(&other.namespace)
            .then_with(|| self.suffix_bytes().cmp(other.suffix_bytes()))
    }

    /// Order by full name, then by the length and then the bytes of the value.
    pub(crate) fn cmp_all(&self, other: &Self) -> Ordering {
        self.cmp_names(other).then_with(|| {
            let (ours, theirs) = (self.value.to_vec(), other.value.to_vec());
            (ours.len(), ours).cmp(&(theirs.len(), theirs))
        })
    }

    /// The name index of the whole name, if it is one of [`LONG_NAMES`].
    fn long_index(&self) -> Option<u8> {
        if self.namespace != Namespace::Trusted || self.escaped {
            return None;
        }
        (LONG_NAME..)
            .zip(LONG_NAMES)
            .find_map(|(index, name)| (name == self.suffix).then_some(index))
    }

    fn filter_bit(&self) -> u32 {
        let index = self.namespace.index();
        if self.escaped {
            filter_bit(index, &self.suffix_bytes().collect::<Vec<u8>>())
        } else {
            filter_bit(index, self.suffix)
        }
    }
}

/// Appends lowercase hex digits.
fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The bit of the name filter that is clear if this name may be present.
pub(crate) fn filter_bit(index: u8, suffix: &[u8]) -> u32 {
    1 << (xxh32(suffix, FILTER_SEED.wrapping_add(u32::from(index))) & 31)
}

/// An index into an [`XattrTable`].
pub(crate) type XattrId = u32;

/// All different xattrs of an image, and how many inodes use each.
#[derive(Debug, Default)]
pub(crate) struct XattrTable<'t> {
    ids: HashMap<StoredXattr<'t>, XattrId>,
    entries: Vec<TableEntry<'t>>,
    /// Whether [`LONG_NAMES`] are stored once.
    has_long_names: bool,
}

#[derive(Debug)]
struct TableEntry<'t> {
    xattr: StoredXattr<'t>,
    uses: u32,
    /// Where it is in the shared area, in units of 4 bytes from the block the superblock names.
    shared_at: Option<u32>,
}

impl<'t> XattrTable<'t> {
    pub(crate) fn new(has_long_names: bool) -> Self {
        Self {
            has_long_names,
            ..Self::default()
        }
    }

    /// Stores no long names, although the superblock has them: for tests.
    #[cfg(test)]
    pub(crate) fn spell_out(&mut self) {
        self.has_long_names = false;
    }

    /// The name index of `xattr` and the length of the rest of its name.
    fn name_on_disk(&self, xattr: &StoredXattr<'_>) -> (u8, usize) {
        match xattr.long_index() {
            Some(index) if self.has_long_names => (index, 0),
            _ => (xattr.namespace.index(), xattr.suffix_len_bytes()),
        }
    }

    /// Bytes of an entry, padded.
    fn entry_bytes(&self, xattr: &StoredXattr<'_>) -> usize {
        let (_, name_bytes) = self.name_on_disk(xattr);
        (XattrEntry::BYTES + name_bytes + xattr.value.len_bytes())
            .next_multiple_of(XATTR_UNIT_BYTES)
    }

    /// Bytes of the entry of a shared xattr, padded.
    pub(crate) fn shared_bytes(&self, id: XattrId) -> usize {
        self.entry_bytes(self.get(id))
    }

    /// Appends the entry of a shared xattr, padded.
    pub(crate) fn encode_shared(&self, id: XattrId, out: &mut Vec<u8>) {
        self.encode_entry(self.get(id), out);
    }

    /// Appends an entry, padded. Whoever added the xattr checked the lengths.
    fn encode_entry(&self, xattr: &StoredXattr<'_>, out: &mut Vec<u8>) {
        let end = out.len() + self.entry_bytes(xattr);
        let (name_index, name_bytes) = self.name_on_disk(xattr);
        XattrEntry {
            name_bytes: u8::try_from(name_bytes).expect("names are bounded"),
            name_index,
            value_bytes: u16::try_from(xattr.value.len_bytes()).expect("values are bounded"),
        }
        .encode(out);
        if name_bytes > 0 {
            out.extend(xattr.suffix_bytes());
        }
        xattr.value.encode(out);
        out.resize(end, 0);
    }

    /// Counts one more use of `xattr`.
    pub(crate) fn add(&mut self, xattr: StoredXattr<'t>) -> XattrId {
        match self.ids.entry(xattr) {
            Entry::Occupied(entry) => {
                let id = *entry.get();
                self.entry_mut(id).uses += 1;
                id
            }
            Entry::Vacant(entry) => {
                let id = XattrId::try_from(self.entries.len()).expect("xattrs are bounded");
                entry.insert(id);
                self.entries.push(TableEntry {
                    xattr,
                    uses: 1,
                    shared_at: None,
                });
                id
            }
        }
    }

    pub(crate) fn get(&self, id: XattrId) -> &StoredXattr<'t> {
        &self.entries[id as usize].xattr
    }

    fn entry_mut(&mut self, id: XattrId) -> &mut TableEntry<'t> {
        &mut self.entries[id as usize]
    }

    /// The xattrs used more than once, in the order of first use.
    pub(crate) fn shared(&self) -> Vec<XattrId> {
        (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.uses > 1)
            .map(|(id, _)| id)
            .collect()
    }

    /// Says where a shared xattr is.
    pub(crate) fn place_shared(&mut self, id: XattrId, at_units: u32) {
        self.entry_mut(id).shared_at = Some(at_units);
    }

    /// Says of each of an inode's xattrs whether it is a reference to the shared area.
    fn divide<'a>(
        &'a self,
        ids: &'a [XattrId],
    ) -> impl Iterator<Item = (&'a TableEntry<'t>, bool)> {
        let mut free = XATTR_SHARED_MAX;
        ids.iter().map(move |id| {
            let entry = &self.entries[*id as usize];
            let shared = entry.uses > 1 && free > 0;
            free -= usize::from(shared);
            (entry, shared)
        })
    }

    /// Bytes of the xattr area of an inode with these xattrs.
    pub(crate) fn area_bytes(&self, ids: &[XattrId]) -> usize {
        if ids.is_empty() {
            return 0;
        }
        let bytes = |(entry, shared): (&TableEntry<'_>, bool)| {
            if shared {
                XATTR_UNIT_BYTES
            } else {
                self.entry_bytes(&entry.xattr)
            }
        };
        XattrHeader::BYTES + self.divide(ids).map(bytes).sum::<usize>()
    }

    /// Appends the xattr area of an inode with these xattrs, which are in order of full names.
    pub(crate) fn encode_area(&self, ids: &[XattrId], out: &mut Vec<u8>) {
        if ids.is_empty() {
            return;
        }
        let (mut present, mut shared_count) = (0, 0);
        for (entry, shared) in self.divide(ids) {
            present |= entry.xattr.filter_bit();
            shared_count += u8::from(shared);
        }
        XattrHeader {
            name_filter: !present,
            shared_count,
            reserved: [0; 7],
        }
        .encode(out);
        for (entry, _) in self.divide(ids).filter(|(_, shared)| *shared) {
            let at_units = entry.shared_at;
            let at_units = at_units.expect("shared xattrs are placed before inodes are written");
            out.extend_from_slice(&at_units.to_le_bytes());
        }
        for (entry, _) in self.divide(ids).filter(|(_, shared)| !shared) {
            self.encode_entry(&entry.xattr, out);
        }
    }
}

/// What an inode stores for an xattr area of this size; `None` if it is too large.
pub(crate) fn area_count(area_bytes: usize) -> Option<u16> {
    match area_bytes.checked_sub(XattrHeader::BYTES) {
        None => Some(0),
        Some(rest_bytes) => u16::try_from(rest_bytes / XATTR_UNIT_BYTES + 1).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: P5
    #[test]
    fn the_long_names_are_as_the_document_says() {
        let table = b"\x11\0\x04overlay.metacopy\0\x11\0\x04overlay.redirect\0";
        assert_eq!(long_names(), *table);
        assert_eq!(AFTER_LONG_NAMES_BYTES, 1216);
    }
}
