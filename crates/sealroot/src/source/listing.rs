// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names in one directory and what they are.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::fs::RawDir;
use sealroot_format::limits;
use sealroot_format::tree::{Kind, TreeError, XattrSet};

use super::error::Fault;
use super::stat::Stat;

/// Bytes that one call for names may return.
const BUFFER_BYTES: usize = 32 * 1024;

/// A directory that was read, without the content of its files.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// The position among all directories.
    pub(super) id: usize,
    /// The path from the root, without a leading slash; empty for the root.
    pub(super) path: Box<[u8]>,
    pub(super) stat: Stat,
    pub(super) xattrs: XattrSet,
    pub(super) names: Names,
    /// In the order of the names.
    pub(super) entries: Vec<Entry>,
}

/// What a name in a directory names.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) stat: Stat,
    pub(super) found: Found,
}

#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The directory with this id.
    Directory(usize),
    /// The file with this id; hardlinks have the same.
    File(usize),
    /// A symlink or special file.
    Leaf(Box<(Kind, XattrSet)>),
}

impl Directory {
    /// The path of an entry from the root, without a leading slash.
    pub(super) fn path_of(&self, entry: usize) -> Vec<u8> {
        join(&self.path, self.names.get(entry).to_bytes())
    }
}

/// The path of `name` in `directory`.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        [] => name.to_vec(),
        directory => [directory, b"/", name].concat(),
    }
}

/// Names, sorted bytewise, each with a NUL after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u32, u8)>,
}

// All names with their NULs are within reach of the spans.
const _: () = assert!(limits::MAX_TREE_ENTRIES * (limits::MAX_NAME_BYTES + 1) < u32::MAX as usize);
const _: () = assert!(limits::MAX_NAME_BYTES <= u8::MAX as usize);

impl Names {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The name at a position in the sorted order.
    ///
    /// # Panics
    /// If there are fewer names.
    pub(super) fn get(&self, at: usize) -> &CStr {
        let (start, len_bytes) = self.spans[at];
        let name = &self.bytes[start as usize..][..=usize::from(len_bytes)];
        CStr::from_bytes_with_nul(name).expect("a NUL was added to each name, which had none")
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        let compare = |(start, len_bytes): &(u32, u8)| {
            self.bytes[*start as usize..][..usize::from(*len_bytes)].cmp(name)
        };
        self.spans.binary_search_by(compare).is_ok()
    }

    fn push(&mut self, name: &CStr) -> Result<(), Fault> {
        let bytes = name.to_bytes_with_nul();
        let start = u32::try_from(self.bytes.len()).expect("bounded by MAX_TREE_ENTRIES");
        let len_bytes = u8::try_from(bytes.len() - 1).map_err(|_| {
            Fault::Entry(TreeError::Name {
                name: name.to_bytes().into(),
                reason: "it is longer than 255 bytes",
            })
        })?;
        if self.spans.len() >= limits::MAX_TREE_ENTRIES {
            return Err(too_many_entries(self.spans.len() + 1));
        }
        self.bytes.extend_from_slice(bytes);
        self.spans.push((start, len_bytes));
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |(start, len_bytes): (u32, u8)| &bytes[start as usize..][..len_bytes.into()];
        self.spans.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
    }
}

/// More entries than a tree may have.
pub(super) fn too_many_entries(found: usize) -> Fault {
    Fault::Entry(TreeError::Bound {
        what: "entries of a tree",
        found: found as u64,
        expected: format!("at most {}", limits::MAX_TREE_ENTRIES),
    })
}

/// Lists directories; keeps its buffer.
#[derive(Debug)]
pub(super) struct Lister(Box<[MaybeUninit<u8>]>);

impl Lister {
    pub(super) fn new() -> Self {
        Self(Box::new_uninit_slice(BUFFER_BYTES))
    }

    /// All names but `.` and `..`.
    pub(super) fn names(&mut self, directory: BorrowedFd<'_>) -> Result<Names, Fault> {
        let mut names = Names::default();
        let mut entries = RawDir::new(directory, &mut self.0);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(Fault::open("list"))?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name)?;
            }
        }
        names.sort();
        Ok(names)
    }
}
