// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two objects of a directory: its names and its attributes.

use sealroot_format::digest::Sha256Digest;
use sealroot_format::tree::{Metadata, Timestamp, TreeError, XattrSet, check_name};

use super::super::gvariant::{Array, Tuple};
use super::{Attributes, FormatError, In, parse_checksum, parse_string};

/// What a name in a directory names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// A content object: regular file or symlink.
    File(Sha256Digest),
    /// A directory.
    Directory {
        /// Its names.
        tree: Sha256Digest,
        /// Its attributes.
        meta: Sha256Digest,
    },
}

/// A dirtree object, `(a(say)a(sayay))`: files and directories in one list, sorted bytewise, with
/// names that a tree takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirTree {
    children: Vec<(Box<[u8]>, Child)>,
}

impl DirTree {
    /// Parses a dirtree object.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const FIELD: &str = "the directory";
        let mut tuple = Tuple::new(bytes, 1).within(FIELD)?;
        let files = Array::new(tuple.framed(1).within(FIELD)?, 1).within("the list of files")?;
        let directories =
            Array::new(tuple.last(1).within(FIELD)?, 1).within("the list of directories")?;
        let mut children = Vec::new();
        append(&mut children, files, parse_file)?;
        let directories_at = children.len();
        append(&mut children, directories, parse_directory)?;
        if directories_at > 0 && directories_at < children.len() {
            // Two sorted runs: the stable sort merges them.
            children.sort_by(|(a, _), (b, _)| a.cmp(b));
            let mut pairs = children.iter().zip(children.iter().skip(1));
            if let Some(((name, _), _)) = pairs.find(|((a, _), (b, _))| a == b) {
                return Err(TreeError::Duplicate { name: name.clone() }.into());
            }
        }
        Ok(Self { children })
    }

    /// The names, sorted bytewise, and what they name.
    pub fn children(&self) -> &[(Box<[u8]>, Child)] {
        &self.children
    }
}

type NamedChild = (Box<[u8]>, Child);

/// Appends the children that `elements` encode, whose names must ascend.
fn append(
    children: &mut Vec<NamedChild>,
    elements: Array<'_>,
    parse: fn(&[u8]) -> Result<NamedChild, FormatError>,
) -> Result<(), FormatError> {
    let mut last: Option<Box<[u8]>> = None;
    for element in elements {
        let (name, child) = parse(element.within("the list of entries")?)?;
        check_name(&name)?;
        match last {
            Some(last) if last == name => return Err(TreeError::Duplicate { name }.into()),
            Some(last) if last > name => {
                let found = format!("{:?} after {:?}", escape(&name), escape(&last));
                return Err(FormatError::value("order of names", "bytewise", found));
            }
            _ => last = Some(name.clone()),
        }
        children.push((name, child));
    }
    Ok(())
}

fn escape(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn parse_file(element: &[u8]) -> Result<NamedChild, FormatError> {
    const FIELD: &str = "a file's entry";
    let mut tuple = Tuple::new(element, 1).within(FIELD)?;
    let name = parse_string(tuple.framed(1).within(FIELD)?, FIELD)?;
    let checksum = parse_checksum(tuple.last(1).within(FIELD)?, "a file's checksum")?;
    Ok((name.as_bytes().into(), Child::File(checksum)))
}

fn parse_directory(element: &[u8]) -> Result<NamedChild, FormatError> {
    const FIELD: &str = "a directory's entry";
    let mut tuple = Tuple::new(element, 2).within(FIELD)?;
    let name = parse_string(tuple.framed(1).within(FIELD)?, FIELD)?;
    let tree = parse_checksum(tuple.framed(1).within(FIELD)?, "a dirtree's checksum")?;
    let meta = parse_checksum(tuple.last(1).within(FIELD)?, "a dirmeta's checksum")?;
    Ok((name.as_bytes().into(), Child::Directory { tree, meta }))
}

/// A dirmeta object, `(uuua(ayay))`, as a tree has it: xattrs sorted, time zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirMeta(Metadata);

impl DirMeta {
    /// Parses a dirmeta object.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const DIRECTORY: u32 = 0o040_000;
        let attributes = Attributes::parse(bytes)?;
        if attributes.file_type_bits() != DIRECTORY {
            let found = format!("{:#o}", attributes.mode);
            return Err(FormatError::value("mode", "a directory's", found));
        }
        attributes.into_metadata().map(Self)
    }

    /// The attributes for an inode of the tree.
    pub fn into_metadata(self) -> Metadata {
        self.0
    }
}

impl Attributes {
    /// As a tree has them: xattrs sorted, time zero.
    pub fn into_metadata(self) -> Result<Metadata, FormatError> {
        Ok(Metadata {
            permissions: self.permissions(),
            uid: self.uid,
            gid: self.gid,
            mtime: Timestamp::default(),
            xattrs: XattrSet::from_unsorted(self.xattrs)?,
        })
    }
}
