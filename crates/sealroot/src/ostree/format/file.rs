// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of a content object: what is hashed before the file's bytes.

use sealroot_format::limits;
use sealroot_format::tree::Xattr;

use super::super::gvariant::{Tuple, append_offsets};
use super::{Attributes, FormatError, In, parse_string, parse_xattrs};

const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Everything about a file but its bytes: the `(uuuusa(ayay))` that a content checksum starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    attributes: Attributes,
    /// Empty for a regular file.
    target: Box<[u8]>,
}

impl FileHeader {
    /// The header of a regular file, or of a symlink with its target.
    pub fn new(attributes: Attributes, target: Option<Box<[u8]>>) -> Result<Self, FormatError> {
        attributes.check()?;
        let (expected, target) = match target {
            None => (REGULAR, Box::default()),
            Some(target) => (SYMLINK, target),
        };
        if attributes.file_type_bits() != expected {
            let kind = if expected == REGULAR {
                "a regular file's"
            } else {
                "a symlink's"
            };
            let found = format!("{:#o}", attributes.mode);
            return Err(FormatError::value("mode", kind, found));
        }
        if expected == SYMLINK {
            check_target(&target)?;
        }
        Ok(Self { attributes, target })
    }

    /// Owner, group, mode and xattrs.
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Takes the header apart: the attributes and, of a symlink, the target.
    pub fn into_parts(self) -> (Attributes, Option<Box<[u8]>>) {
        let target = (!self.target.is_empty()).then_some(self.target);
        (self.attributes, target)
    }

    /// Whether this is a symlink, which has a target and no bytes.
    pub const fn is_symlink(&self) -> bool {
        !self.target.is_empty()
    }

    /// The same header with its xattrs sorted; `None` if they are.
    pub fn with_sorted_xattrs(&self) -> Option<Self> {
        if self.attributes.xattrs.is_sorted() {
            return None;
        }
        let mut sorted = self.clone();
        sorted.attributes.xattrs.sort_unstable();
        Some(sorted)
    }

    /// The same header without the xattrs that have an empty value; `None` if there are none.
    pub fn without_empty_xattrs(&self) -> Option<Self> {
        let is_empty = |xattr: &Xattr| xattr.value.is_empty();
        if !self.attributes.xattrs.iter().any(is_empty) {
            return None;
        }
        let mut without = self.clone();
        without.attributes.xattrs.retain(|xattr| !is_empty(xattr));
        Some(without)
    }

    /// What is hashed before the file's bytes: length, padding, and the header.
    pub fn encode(&self) -> Vec<u8> {
        let Attributes {
            uid,
            gid,
            mode,
            xattrs,
        } = &self.attributes;
        let mut header = Vec::new();
        for number in [*uid, *gid, *mode, 0] {
            header.extend(number.to_be_bytes());
        }
        header.extend(&*self.target);
        header.push(0);
        let target_end = header.len();
        header.extend(encode_xattrs(xattrs));
        append_offsets(&mut header, &[target_end]);
        // No xattrs the kernel or a bounded header gave come near 4 GiB.
        let len = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let mut framed = Vec::with_capacity(header.len().saturating_add(8));
        framed.extend(len.to_be_bytes());
        framed.extend([0; 4]);
        framed.extend(header);
        framed
    }
}

fn encode_xattrs(xattrs: &[Xattr]) -> Vec<u8> {
    let mut array = Vec::new();
    let mut ends = Vec::new();
    for Xattr { name, value } in xattrs {
        let mut pair = [&**name, &[0], &**value].concat();
        append_offsets(&mut pair, &[name.len().saturating_add(1)]);
        array.extend(pair);
        ends.push(array.len());
    }
    append_offsets(&mut array, &ends);
    array
}

fn check_target(target: &[u8]) -> Result<(), FormatError> {
    if target.is_empty() || target.len() > limits::MAX_SYMLINK_BYTES || target.contains(&0) {
        let expected = format!("1 to {} bytes without NUL", limits::MAX_SYMLINK_BYTES);
        let found = format!("{} bytes", target.len());
        return Err(FormatError::value("symlink target", expected, found));
    }
    Ok(())
}

/// The start of a `.filez` object: `(tuuuusa(ayay))` after its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveHeader {
    /// The file's header.
    pub file: FileHeader,
    /// The length of the file. Not part of the checksum: only a claim.
    pub claimed_size_bytes: u64,
}

impl ArchiveHeader {
    /// Bytes before the header itself: its length and padding.
    pub const PREFIX_BYTES: usize = 8;

    /// The length of the header that follows this prefix.
    pub fn parse_prefix(prefix: [u8; Self::PREFIX_BYTES]) -> Result<usize, FormatError> {
        let [len @ .., p0, p1, p2, p3] = prefix;
        let len = u32::from_be_bytes(len);
        if [p0, p1, p2, p3] != [0; 4] {
            return Err(FormatError::value("padding", "4 zero bytes", "others"));
        }
        match usize::try_from(len) {
            Ok(len) if len <= limits::MAX_OSTREE_HEADER_BYTES => Ok(len),
            _ => {
                let expected = format!("at most {}", limits::MAX_OSTREE_HEADER_BYTES);
                Err(FormatError::value("length of the header", expected, len))
            }
        }
    }

    /// Parses the header behind the prefix.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const FIELD: &str = "the header";
        let mut tuple = Tuple::new(bytes, 1).within(FIELD)?;
        let claimed_size_bytes = tuple.u64_be().within(FIELD)?;
        let uid = tuple.u32_be().within(FIELD)?;
        let gid = tuple.u32_be().within(FIELD)?;
        let mode = tuple.u32_be().within(FIELD)?;
        let rdev = tuple.u32_be().within(FIELD)?;
        let target = parse_string(tuple.framed(1).within(FIELD)?, "symlink target")?;
        let xattrs = parse_xattrs(tuple.last(1).within(FIELD)?)?;
        if rdev != 0 {
            return Err(FormatError::value("device number", "0", rdev));
        }
        let is_symlink = mode & 0o170_000 == SYMLINK;
        if !is_symlink && !target.is_empty() {
            return Err(FormatError::value(
                "symlink target of a regular file",
                "none",
                target,
            ));
        }
        let max = if is_symlink {
            0
        } else {
            limits::MAX_FILE_BYTES
        };
        if claimed_size_bytes > max {
            let expected = format!("at most {max}");
            return Err(FormatError::value("size", expected, claimed_size_bytes));
        }
        let attributes = Attributes {
            uid,
            gid,
            mode,
            xattrs,
        };
        let target = is_symlink.then(|| target.as_bytes().into());
        Ok(Self {
            file: FileHeader::new(attributes, target)?,
            claimed_size_bytes,
        })
    }
}
