// SPDX-License-Identifier: MIT OR Apache-2.0
//! The canonical text dump of a tree: one line a name, in canonical order, so that two trees can
//! be compared with `diff`, and the digest that names a tree.
//!
//! `docs/format/tree.md` is the grammar. It says nothing of where content is kept: a file is its
//! size and fs-verity digest, whether it lies in a pack or beside it.

use std::fmt::{self, Write};

use sha2::Digest as _;

use super::{DeviceNumber, FileContent, Inode, InodeId, Kind, Tree, XattrSet};

use crate::digest::{TreeDigest, VerityBatch, VerityDigest, compute_verity_digest};

/// First line of every dump.
const HEADER: &str = "sealroot tree 1\n";

/// Bytes of inline files whose digests are computed together: enough to fill all lanes of the
/// hash, little enough to stay in the processor's cache.
const BATCH_BYTES: usize = 256 * 1024;

/// Writes the canonical dump of `tree`.
pub fn write_dump(tree: &Tree, out: &mut impl Write) -> fmt::Result {
    let inline_digests = inline_digests(tree);
    let mut first_paths: Vec<Option<Box<[u8]>>> = vec![None; tree.len()];
    let mut walk = tree.walk();
    out.write_str(HEADER)?;
    while let Some((path, id)) = walk.next() {
        let inode = tree.inode(id);
        write!(out, "{}", Escaped(path))?;
        if let Some(Some(first)) = first_paths.get(id.index()) {
            writeln!(out, " h {}", Escaped(first))?;
            continue;
        }
        if inode.name_count() > 1
            && let Some(slot) = first_paths.get_mut(id.index())
        {
            *slot = Some(path.into());
        }
        write_inode(
            out,
            inode,
            inline_digests.get(id.index()).copied().flatten(),
        )?;
    }
    Ok(())
}

/// The SHA-256 of the canonical dump.
pub fn digest(tree: &Tree) -> TreeDigest {
    let mut hash = HashWriter(sha2::Sha256::new());
    write_dump(tree, &mut hash).expect("hashing does not fail");
    TreeDigest::from_bytes(hash.0.finalize().into())
}

/// Per inode the digest of its inline content, in full batches.
fn inline_digests(tree: &Tree) -> Vec<Option<VerityDigest>> {
    let mut digests = vec![None; tree.len()];
    let mut batch = VerityBatch::new();
    let mut ids = Vec::new();
    let mut finish = |batch: &mut VerityBatch, ids: &mut Vec<InodeId>| {
        for (id, (digest, _)) in ids.drain(..).zip(batch.finish()) {
            if let Some(slot) = digests.get_mut(id.index()) {
                *slot = Some(digest);
            }
        }
    };
    for (id, inode) in tree.inodes() {
        if let Kind::Regular(FileContent::Inline(bytes)) = &inode.kind {
            batch.push(bytes);
            ids.push(id);
            if batch.used_bytes() >= BATCH_BYTES {
                finish(&mut batch, &mut ids);
            }
        }
    }
    finish(&mut batch, &mut ids);
    digests
}

fn write_inode(
    out: &mut impl Write,
    inode: &Inode,
    inline_digest: Option<VerityDigest>,
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
            let digest = match content {
                FileContent::External { digest, .. } => *digest,
                FileContent::Inline(bytes) => {
                    inline_digest.unwrap_or_else(|| compute_verity_digest(bytes))
                }
            };
            write!(out, " {} {digest}", content.size_bytes())?;
        }
        Kind::Symlink(target) => write!(out, " {}", Escaped(target))?,
        Kind::CharDevice(DeviceNumber { major, minor })
        | Kind::BlockDevice(DeviceNumber { major, minor }) => write!(out, " {major}:{minor}")?,
        Kind::Directory(_) | Kind::Fifo | Kind::Socket => {}
    }
    write_xattrs(out, &metadata.xattrs)?;
    out.write_char('\n')
}

fn write_xattrs(out: &mut impl Write, xattrs: &XattrSet) -> fmt::Result {
    xattrs
        .iter()
        .try_for_each(|xattr| write!(out, " {}={}", Escaped(&xattr.name), Escaped(&xattr.value)))
}

/// Bytes with everything but printable ASCII, and space, `=` and backslash, as `\xHH`.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in self.0.chunk_by(|a, b| is_plain(*a) && is_plain(*b)) {
            match run {
                [byte] if !is_plain(*byte) => write!(f, "\\x{byte:02x}")?,
                _ => f.write_str(std::str::from_utf8(run).map_err(|_| fmt::Error)?)?,
            }
        }
        Ok(())
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'=')
}

struct HashWriter(sha2::Sha256);

impl Write for HashWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
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
        let mut text = String::new();
        write_dump(tree, &mut text).unwrap();
        text
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
        let empty = Kind::Regular(FileContent::Inline([].into()));
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
        assert_eq!(digest(&tree).as_bytes()[..], expected[..]);

        let mut other = sample();
        other.inode_mut(InodeId::ROOT).metadata.gid = 9;
        assert_ne!(digest(&other), digest(&tree));
        assert_ne!(other, tree);
    }
}
