// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree from the lines of a dump (`docs/format/tree.md`).

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

use super::dump::HEADER;
use super::{
    DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Timestamp, Tree, TreeError, Xattr,
    XattrSet,
};
use crate::hex;
use crate::limits;
use crate::text::{excerpt, number};

/// Why lines are no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// They cannot be read.
    #[error("the lines of a tree cannot be read")]
    Read(#[source] io::Error),
    /// A line is not what the grammar wants there.
    #[error("tree, line {line}: expected {expected}, found {found}")]
    Line {
        /// The line, counted from 1.
        line: u64,
        /// What the grammar wants.
        expected: &'static str,
        /// What is there, shortened and escaped.
        found: String,
    },
    /// A line is well formed, and no tree can have it.
    #[error("tree, line {line}")]
    Tree {
        /// The line, counted from 1.
        line: u64,
        /// Why not.
        #[source]
        source: TreeError,
    },
}

/// The content of a file, from its size in bytes and the word in the place of its digest; or what
/// was expected there.
pub type ContentOf<'c> = dyn FnMut(u64, &[u8]) -> Result<FileContent, &'static str> + 'c;

/// Reads the lines that [`super::dump::write_lines`] writes; all else is refused.
pub fn parse_lines(
    input: &mut dyn BufRead,
    content: &mut ContentOf<'_>,
) -> Result<Tree, ParseError> {
    let mut lines = Lines {
        input,
        line: Vec::new(),
        number: 0,
    };
    let header = HEADER.trim_end().as_bytes();
    if lines.next()?.is_none_or(|line| line != header) {
        return Err(lines.error("the first line of a tree"));
    }
    let mut parser = Parser {
        tree: None,
        open: Vec::new(),
        first_paths: HashMap::new(),
        xattr_bytes: 0,
        content,
    };
    while let Some(line) = lines.next()? {
        parser.add(line).map_err(|fault| fault.at(&lines))?;
    }
    parser.tree.ok_or_else(|| lines.error("a root directory"))
}

struct Lines<'i> {
    input: &'i mut dyn BufRead,
    line: Vec<u8>,
    number: u64,
}

impl Lines<'_> {
    /// The next line, without the LF that must end it.
    fn next(&mut self) -> Result<Option<&[u8]>, ParseError> {
        const MAX: u64 = limits::MAX_TREE_LINE_BYTES;
        self.line.clear();
        self.number = self.number.saturating_add(1);
        let mut limited = (&mut *self.input).take(MAX);
        let read = limited.read_until(b'\n', &mut self.line);
        if read.map_err(ParseError::Read)? == 0 {
            return Ok(None);
        }
        if self.line.pop() != Some(b'\n') {
            return Err(self.error("a line of at most a mebibyte, ended by LF"));
        }
        Ok(Some(&self.line))
    }

    fn error(&self, expected: &'static str) -> ParseError {
        ParseError::Line {
            line: self.number,
            expected,
            found: excerpt(&self.line),
        }
    }
}

enum Fault {
    Expected(&'static str),
    Tree(TreeError),
}

impl Fault {
    fn at(self, lines: &Lines<'_>) -> ParseError {
        match self {
            Self::Expected(expected) => lines.error(expected),
            Self::Tree(source) => ParseError::Tree {
                line: lines.number,
                source,
            },
        }
    }
}

impl From<TreeError> for Fault {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

struct Parser<'c, 'f> {
    tree: Option<Tree>,
    /// The directories that the last line was in, from the root on, each with the length of its path.
    open: Vec<(usize, InodeId)>,
    /// The first path of each inode that has more.
    first_paths: HashMap<InodeId, Vec<u8>>,
    xattr_bytes: usize,
    content: &'c mut ContentOf<'f>,
}

impl Parser<'_, '_> {
    fn add(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut fields: Fields<'_> = line.split(|byte| *byte == b' ');
        let path = unescape(fields.next().unwrap_or_default())?;
        let letter = fields.next();
        let Some(tree) = &mut self.tree else {
            let is_root = path == b"/" && letter == Some(b"d");
            if !is_root {
                return Err(Fault::Expected("the root directory"));
            }
            let root = metadata(
                &mut fields,
                &mut self.xattr_bytes,
                |_| Ok(Kind::directory()),
            )?
            .0;
            self.tree = Some(Tree::new(root));
            self.open.push((0, InodeId::ROOT));
            return Ok(());
        };
        let (directory, name) = place(&mut self.open, tree, &path)?;
        if letter == Some(b"h") {
            let first = unescape(field(&mut fields)?)?;
            let target = existing(tree, &first)?;
            if fields.next().is_some() {
                return Err(Fault::Expected("no more fields"));
            }
            tree.link(directory, name, target)?;
            let known = self
                .first_paths
                .entry(target)
                .or_insert_with(|| first.clone());
            return if *known == first {
                Ok(())
            } else {
                Err(Fault::Expected("the first path of an inode"))
            };
        }
        let content = &mut *self.content;
        let kind = |fields: &mut Fields<'_>| match letter {
            Some(b"d") => Ok(Kind::directory()),
            Some(b"f") => {
                let size_bytes = decimal(field(fields)?, "a size in bytes")?;
                let content = content(size_bytes, field(fields)?).map_err(Fault::Expected)?;
                Ok(Kind::Regular(content))
            }
            Some(b"l") => Ok(Kind::Symlink(unescape(field(fields)?)?.into())),
            Some(b"c") => Ok(Kind::CharDevice(device(fields)?)),
            Some(b"b") => Ok(Kind::BlockDevice(device(fields)?)),
            Some(b"p") => Ok(Kind::Fifo),
            Some(b"s") => Ok(Kind::Socket),
            _ => Err(Fault::Expected("a kind: one of d, f, l, c, b, p, s, h")),
        };
        let (metadata, kind) = metadata(&mut fields, &mut self.xattr_bytes, kind)?;
        let is_directory = matches!(kind, Kind::Directory(_));
        let id = tree.insert(directory, name, Inode::new(metadata, kind))?;
        if is_directory {
            self.open.push((path.len(), id));
        }
        Ok(())
    }
}

/// The directory that a path is in, and its name there. In canonical order it is one of those that
/// the path before was in, and the names before it are smaller.
fn place<'p>(
    open: &mut Vec<(usize, InodeId)>,
    tree: &Tree,
    path: &'p [u8],
) -> Result<(InodeId, &'p [u8]), Fault> {
    const ORDER: Fault = Fault::Expected("a path in canonical order");
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let parent_len = path.len().saturating_sub(name.len()).saturating_sub(1);
    while open.last().is_some_and(|(len, _)| *len > parent_len) {
        open.pop();
    }
    let (len, directory) = open.last().copied().ok_or(ORDER)?;
    let is_there = len == parent_len
        && path.len() > name.len()
        && path.len() <= limits::MAX_PATH_BYTES
        && existing(tree, path.get(..parent_len).unwrap_or_default())
            .is_ok_and(|found| found == directory);
    let last = tree.inode(directory).as_directory();
    let last = last.and_then(|directory| directory.iter().last());
    if !is_there || last.is_some_and(|(last, _)| last >= name) {
        return Err(ORDER);
    }
    Ok((directory, name))
}

fn existing(tree: &Tree, path: &[u8]) -> Result<InodeId, Fault> {
    let mut components = path.split(|byte| *byte == b'/');
    let is_absolute = components.next().is_some_and(<[u8]>::is_empty);
    (tree.lookup(components).filter(|_| is_absolute))
        .ok_or(Fault::Expected("a path of a line before"))
}

/// The fields of a line.
type Fields<'l> = std::slice::Split<'l, u8, fn(&u8) -> bool>;

fn field<'l>(fields: &mut Fields<'l>) -> Result<&'l [u8], Fault> {
    fields.next().ok_or(Fault::Expected("more fields"))
}

/// The fields after the kind, of which some in the middle belong to it.
fn metadata<'l>(
    fields: &mut Fields<'l>,
    xattr_bytes: &mut usize,
    kind: impl FnOnce(&mut Fields<'l>) -> Result<Kind, Fault>,
) -> Result<(Metadata, Kind), Fault> {
    let permissions = permissions(field(fields)?)?;
    let uid = decimal(field(fields)?, "a user id")?;
    let gid = decimal(field(fields)?, "a group id")?;
    let mtime = mtime(field(fields)?)?;
    let kind = kind(fields)?;
    let mut xattrs = Vec::new();
    for text in fields {
        let mut parts = text.splitn(2, |byte| *byte == b'=');
        let name = unescape(parts.next().unwrap_or_default())?;
        let value = parts
            .next()
            .ok_or(Fault::Expected("an xattr with its value"))?;
        let value = unescape(value)?;
        *xattr_bytes = xattr_bytes
            .saturating_add(name.len())
            .saturating_add(value.len());
        if *xattr_bytes > limits::MAX_TREE_XATTR_BYTES {
            return Err(Fault::Expected("at most a gibibyte of xattrs"));
        }
        let is_sorted = xattrs.last().is_none_or(|last: &Xattr| *last.name < *name);
        if !is_sorted {
            return Err(Fault::Expected("xattrs sorted by name"));
        }
        xattrs.push(Xattr {
            name: name.into(),
            value: value.into(),
        });
    }
    let metadata = Metadata {
        permissions,
        uid,
        gid,
        mtime,
        xattrs: XattrSet::from_unsorted(xattrs)?,
    };
    Ok((metadata, kind))
}

fn permissions(text: &[u8]) -> Result<u16, Fault> {
    let digits: Option<[u8; 4]> = text.try_into().ok();
    let digits = digits.filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
    let digits = digits.ok_or(Fault::Expected("four octal digits"))?;
    let value = |all: u16, digit: &u8| (all << 3) | u16::from(digit & 7);
    Ok(digits.iter().fold(0, value))
}

fn mtime(text: &[u8]) -> Result<Timestamp, Fault> {
    let parse = || {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.')?;
        let _: u64 = number(whole.strip_prefix('-').unwrap_or(whole))?;
        let is_plain = fraction.len() == 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
        let is_canonical = is_plain && whole != "-0";
        Some(Timestamp {
            seconds: whole.parse().ok()?,
            nanoseconds: fraction.parse().ok().filter(|_| is_canonical)?,
        })
    };
    parse().ok_or(Fault::Expected("a time, as SECONDS.NANOSECONDS"))
}

fn device(fields: &mut Fields<'_>) -> Result<DeviceNumber, Fault> {
    let parse = |text: &[u8]| {
        let text = std::str::from_utf8(text).ok()?;
        let (major, minor) = text.split_once(':')?;
        Some(DeviceNumber {
            major: number(major)?,
            minor: number(minor)?,
        })
    };
    parse(field(fields)?).ok_or(Fault::Expected("a device, as MAJOR:MINOR"))
}

fn decimal<T: std::str::FromStr>(text: &[u8], expected: &'static str) -> Result<T, Fault> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(number).ok_or(Fault::Expected(expected))
}

/// Bytes in which all that is not plain is written `\xHH`.
fn unescape(text: &[u8]) -> Result<Vec<u8>, Fault> {
    const ESCAPE: Fault = Fault::Expected("plain characters, and others as \\xHH");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if super::dump::is_plain(*byte) {
            bytes.push(*byte);
            rest = after;
            continue;
        }
        let digits = rest
            .strip_prefix(b"\\x")
            .and_then(|rest| rest.split_at_checked(2));
        let (digits, after) = digits.ok_or(ESCAPE)?;
        let [byte] = hex::decode(digits).ok_or(ESCAPE)?;
        if super::dump::is_plain(byte) {
            return Err(ESCAPE);
        }
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}
