// SPDX-License-Identifier: MIT OR Apache-2.0
//! The canonical text dump of a tree: one line a name, in canonical order, so that two trees can
//! be compared with `diff`, and the digest that names a tree.
//!
//! `docs/format/tree.md` is the grammar. It says nothing of where content is kept: a file is its
//! size and fs-verity digest, whether it lies in a pack or beside it.

use std::fmt::{self, Write as _};
use std::io;

use sha2::Digest as _;

use super::{DeviceNumber, FileContent, Inode, InodeId, Kind, Tree, XattrSet};

use crate::digest::{TreeDigest, VerityBatch, VerityDigest};

/// First line of every dump.
pub(super) const HEADER: &str = "sealroot tree 1\n";

/// Bytes of inline files whose digests are computed together: enough to fill all lanes of the
/// hash, little enough to stay in the processor's cache.
const BATCH_BYTES: usize = 256 * 1024;

/// Writes the canonical dump of `tree`, line by line.
///
/// # Errors
/// Those of `out`, and of reading the content of inline files.
pub fn write_dump(tree: &Tree, out: &mut impl io::Write) -> io::Result<()> {
    let inline_digests = inline_digests(tree)?;
    let mut digest = |id: InodeId, content: &FileContent, line: &mut String| {
        let digest = match content {
            FileContent::External { digest, .. } => *digest,
            FileContent::Inline(_) => {
                inline_digests[id.index()].expect("every inline file was hashed")
            }
        };
        write!(line, "{digest}").expect("writing to memory cannot fail");
    };
    write_lines(tree, &mut digest, out)
}

/// Writes what a word stands for in the place of a file's digest.
pub type ContentWord<'w> = dyn FnMut(InodeId, &FileContent, &mut String) + 'w;

/// Writes the dump of `tree` with a word of the caller's in the place of each file's digest: not a
/// dump then, but [`super::parse_lines`] reads it.
///
/// # Errors
/// Those of `out`.
pub fn write_lines(
    tree: &Tree,
    word: &mut ContentWord<'_>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let mut first_paths: Vec<Option<Box<[u8]>>> = vec![None; tree.len()];
    let mut walk = tree.walk();
    let mut line = String::from(HEADER);
    while let Some((path, id)) = walk.next() {
        let inode = tree.inode(id);
        push(&mut line, path);
        if let Some(Some(first)) = first_paths.get(id.index()) {
            line.push_str(" h ");
            push(&mut line, first);
        } else {
            if inode.name_count() > 1
                && let Some(slot) = first_paths.get_mut(id.index())
            {
                *slot = Some(path.into());
            }
            write_inode(&mut line, id, inode, word).expect("writing to memory cannot fail");
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

/// The SHA-256 of the canonical dump.
///
/// # Errors
/// Those of reading the content of inline files.
pub fn digest(tree: &Tree) -> io::Result<TreeDigest> {
    let mut hash = HashWriter(sha2::Sha256::new());
    write_dump(tree, &mut hash)?;
    Ok(TreeDigest::from_bytes(hash.0.finalize().into()))
}

/// The digest of the content of each inline file, by [`InodeId::index`].
fn inline_digests(tree: &Tree) -> io::Result<Vec<Option<VerityDigest>>> {
    let mut digests = vec![None; tree.len()];
    let mut batch = VerityBatch::new();
    let mut ids = Vec::new();
    let mut finish = |batch: &mut VerityBatch, ids: &mut Vec<InodeId>| {
        for (id, (digest, _)) in ids.drain(..).zip(batch.finish()) {
            digests[id.index()] = Some(digest);
        }
    };
    for (id, inode) in tree.inodes() {
        if let Kind::Regular(FileContent::Inline(content)) = &inode.kind {
            let len = usize::try_from(content.size_bytes()).map_err(io::Error::other)?;
            batch.push_with(len, |place| content.read_exact_at(place, 0))?;
            ids.push(id);
            if batch.used_bytes() >= BATCH_BYTES {
                finish(&mut batch, &mut ids);
            }
        }
    }
    finish(&mut batch, &mut ids);
    Ok(digests)
}

fn write_inode(
    out: &mut String,
    id: InodeId,
    inode: &Inode,
    word: &mut ContentWord<'_>,
) -> fmt::Result {
    let metadata = &inode.metadata;
    let letter = match inode.kind {
        Kind::Directory(_) => 'd',
        Kind::Regular(_) => 'f',
        Kind::Symlink(_) => 'l',
        Kind::CharDevice(_) => 'c',
        Kind::BlockDevice(_) => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    };
    write!(
        out,
        " {letter} {:04o} {} {} {}.{:09}",
        metadata.permissions,
        metadata.uid,
        metadata.gid,
        metadata.mtime.seconds,
        metadata.mtime.nanoseconds
    )?;
    match &inode.kind {
        Kind::Regular(content) => {
            write!(out, " {} ", content.size_bytes())?;
            word(id, content, out);
        }
        Kind::Symlink(target) => {
            out.push(' ');
            push(out, target);
        }
        Kind::CharDevice(DeviceNumber { major, minor })
        | Kind::BlockDevice(DeviceNumber { major, minor }) => write!(out, " {major}:{minor}")?,
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
    }
    push_xattrs(out, &metadata.xattrs);
    Ok(())
}

fn push_xattrs(out: &mut String, xattrs: &XattrSet) {
    for xattr in xattrs {
        out.push(' ');
        push(out, &xattr.name);
        out.push('=');
        push(out, &xattr.value);
    }
}

/// Appends bytes with everything but printable ASCII, and space, `=` and backslash, as `\xHH`.
fn push(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    for byte in bytes {
        if is_plain(*byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str("\\x");
            out.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
        }
    }
}

pub(super) const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'=')
}

struct HashWriter(sha2::Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Metadata, Timestamp, Xattr};

    fn metadata(permissions: u16) -> Metadata {
        Metadata {
            permissions,
            ..Metadata::default()
        }
    }

    fn dump(tree: &Tree) -> String {
        let mut text = Vec::new();
        write_dump(tree, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn sample() -> Tree {
        let mut tree = Tree::new(metadata(0o755));
        let etc = Inode::new(metadata(0o755), Kind::directory());
        let etc = tree.insert(InodeId::ROOT, b"etc", etc).unwrap();
        let xattrs = XattrSet::from_unsorted(vec![
            Xattr {
                name: (*b"user.b").into(),
                value: (*b"a b=\\\0").into(),
            },
            Xattr {
                name: (*b"security.selinux").into(),
                value: (*b"x").into(),
            },
        ]);
        let file = Metadata {
            uid: 1,
            gid: 2,
            mtime: Timestamp {
                seconds: -3,
                nanoseconds: 7,
            },
            xattrs: xattrs.unwrap(),
            permissions: 0o4755,
        };
        let empty = Kind::Regular(FileContent::Inline(Vec::new().into()));
        let id = tree.insert(etc, b"z\xff", Inode::new(file, empty)).unwrap();
        tree.link(InodeId::ROOT, b"a", id).unwrap();
        let device = Kind::CharDevice(DeviceNumber { major: 1, minor: 3 });
        tree.insert(etc, b"null", Inode::new(metadata(0o666), device))
            .unwrap();
        let symlink = Kind::Symlink((*b"../a").into());
        tree.insert(etc, b"link", Inode::new(metadata(0o777), symlink))
            .unwrap();
        tree
    }

    #[test]
    fn every_field_is_in_the_dump() {
        // The digest is what `fsverity digest` gives for an empty file.
        let empty = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";
        let expected = format!(
            "sealroot tree 1\n\
             / d 0755 0 0 0.000000000\n\
             /a f 4755 1 2 -3.000000007 0 {empty} security.selinux=x user.b=a\\x20b\\x3d\\x5c\\x00\n\
             /etc d 0755 0 0 0.000000000\n\
             /etc/link l 0777 0 0 0.000000000 ../a\n\
             /etc/null c 0666 0 0 0.000000000 1:3\n\
             /etc/z\\xff h /a\n"
        );
        assert_eq!(dump(&sample()), expected);
    }

    #[test]
    fn the_example_of_the_format_document_is_this_dump() {
        let document = include_str!("../../../../docs/format/tree.md");
        assert!(document.contains(&format!("```\n{}```", dump(&sample()))));
    }

    #[test]
    fn the_digest_is_of_the_dump_and_names_the_tree() {
        let tree = sample();
        let expected = sha2::Sha256::digest(dump(&tree));
        assert_eq!(digest(&tree).unwrap().as_bytes()[..], expected[..]);

        let mut other = sample();
        other.inode_mut(InodeId::ROOT).metadata.gid = 9;
        assert_ne!(digest(&other).unwrap(), digest(&tree).unwrap());
        assert_ne!(other, tree);
    }
}
