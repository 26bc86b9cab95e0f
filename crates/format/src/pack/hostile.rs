// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images that are well-formed EROFS and break one rule of the pack each.

use super::nodes::{self, Builder};
use super::overlay::PACK;
use super::{Pack, PackError, check, commonest_mtime, digest, order, place};
use crate::ErrorClass;
use crate::digest::VerityDigest;
use crate::erofs::dirent::Child;
use crate::erofs::image::{self, Body, Nodes};
use crate::erofs::xattr::{Namespace, StoredXattr, Value};
use crate::tree::{DeviceNumber, FileContent, Inode, InodeId, Kind, Metadata, Tree};

/// Numbers of the nodes of [`tree`].
const ROOT: usize = 0;
const DIRECTORY: usize = 1;
const EXTERNAL: usize = 2;
const INLINE: usize = 3;
const LINK: usize = 4;
const SECOND: usize = 5;
const WHITEOUT: usize = 6;
const IN_DIRECTORY: usize = 7;

static LONG: [u8; 256] = [b'g'; 256];
static DIGEST: VerityDigest = VerityDigest::from_bytes([7; 32]);
static OTHER_DIGEST: VerityDigest = VerityDigest::from_bytes([8; 32]);

fn tree() -> Tree {
    let mut tree = Tree::new(Metadata::default());
    let inode = |kind| Inode::new(Metadata::default(), kind);
    let mut add =
        |parent, name: &str, kind| tree.insert(parent, name.as_bytes(), inode(kind)).unwrap();
    let directory = add(InodeId::ROOT, "a", Kind::directory());
    let external = FileContent::External {
        digest: DIGEST,
        size_bytes: 100_000,
    };
    add(InodeId::ROOT, "b", Kind::Regular(external));
    let content = FileContent::Inline(b"content".as_slice().into());
    add(InodeId::ROOT, "c", Kind::Regular(content));
    add(
        InodeId::ROOT,
        "d",
        Kind::Symlink(b"target".as_slice().into()),
    );
    add(InodeId::ROOT, "e", Kind::directory());
    add(InodeId::ROOT, "f", Kind::CharDevice(DeviceNumber::WHITEOUT));
    add(directory, "x", Kind::Fifo);
    tree
}

/// The image of `tree` after `change`.
fn image_of(tree: &Tree, change: impl FnOnce(&mut Nodes<'_>)) -> Vec<u8> {
    let order = order::of_pack(tree).unwrap();
    let digests: Vec<_> = tree.inodes().map(|(_, inode)| digest(inode)).collect();
    let builder = Builder {
        tree,
        order: &order,
        profile: &PACK,
        digests: &digests,
        build_time: commonest_mtime(tree),
    };
    let mut nodes = builder.build().unwrap();
    change(&mut nodes);
    let shapes = nodes::shapes(tree, &order, &nodes).unwrap();
    let layout = place::plan(&mut nodes, &shapes).unwrap();
    let mut bytes = Vec::new();
    image::write(&nodes, &layout, &mut bytes).unwrap();
    bytes
}

/// What is wrong with the tree's image after `change`. All ways to read agree.
fn refusal(change: impl FnOnce(&mut Nodes<'_>)) -> String {
    let image = image_of(&tree(), change);
    let error = Pack::open(&image).and_then(|pack| pack.tree()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Corrupt);
    let checked = check(image.clone()).unwrap_err();
    assert_eq!(checked.to_string(), error.to_string());
    reason(error)
}

fn reason(error: PackError) -> String {
    match error {
        PackError::Image(source) => source.to_string(),
        PackError::Tree { path, source } => format!("{path}: {source}"),
        other => other.to_string(),
    }
}

/// Why the tree of an image cannot be read.
fn unreadable(image: &Vec<u8>) -> String {
    reason(Pack::open(image).and_then(|pack| pack.tree()).unwrap_err())
}

fn assert_refused(expected: &str, change: impl FnOnce(&mut Nodes<'_>)) {
    let found = refusal(change);
    assert!(found.contains(expected), "{found}");
}

/// Gives a node these xattrs instead of its own.
fn set_xattrs<'t>(nodes: &mut Nodes<'t>, node: usize, xattrs: &[StoredXattr<'t>]) {
    let first = nodes.xattr_ids.len();
    for xattr in xattrs {
        let id = nodes.xattrs.add(*xattr);
        nodes.xattr_ids.push(id);
    }
    nodes.list[node].xattrs = first..nodes.xattr_ids.len();
}

fn trusted<'t>(suffix: &'static [u8], value: Value<'t>) -> StoredXattr<'t> {
    super::overlay::own(suffix, value)
}

/// A directory's names, `.` and `..` among them.
fn children<'n, 't>(nodes: &'n mut Nodes<'t>, node: usize) -> &'n mut [Child<'t>] {
    let Body::Directory(range) = nodes.list[node].body.clone() else {
        panic!("not a directory");
    };
    &mut nodes.children[range]
}

/// Takes names from the beginning and the end of a directory.
fn drop_names(nodes: &mut Nodes<'_>, node: usize, first: usize, last: usize) {
    let Body::Directory(range) = &mut nodes.list[node].body else {
        panic!("not a directory");
    };
    *range = range.start + first..range.end - last;
}

#[test]
fn unchanged_it_is_a_pack() {
    let image = image_of(&tree(), |_| {});
    let checked = check(image.clone()).unwrap();
    assert!(checked.tree == tree());
    assert_eq!(checked.thresholds, 7..=65_536);
}

// Rules: P19
#[test]
fn an_external_file_has_a_digest_and_the_redirect_that_belongs_to_it() {
    let metacopy = trusted(b"overlay.metacopy", Value::Metacopy(&DIGEST));
    let redirect = trusted(b"overlay.redirect", Value::Redirect(&DIGEST, ".file"));
    assert_refused("metacopy of an external file", |nodes| {
        set_xattrs(nodes, EXTERNAL, &[]);
    });
    assert_refused("metacopy of an external file", |nodes| {
        set_xattrs(nodes, EXTERNAL, &[redirect]);
    });
    for value in [&b""[..], &[0, 36, 0, 2], &[0; 36], &[0, 4, 0, 0]] {
        let metacopy = trusted(b"overlay.metacopy", Value::Bytes(value));
        assert_refused("metacopy of an external file", |nodes| {
            set_xattrs(nodes, EXTERNAL, &[metacopy, redirect]);
        });
    }
    assert_refused("redirect of an external file", |nodes| {
        set_xattrs(nodes, EXTERNAL, &[metacopy]);
    });
    for value in [
        Value::Redirect(&OTHER_DIGEST, ".file"),
        Value::Redirect(&DIGEST, ""),
        Value::Bytes(b"/../../etc/secret"),
        Value::Bytes(b"b"),
    ] {
        let redirect = trusted(b"overlay.redirect", value);
        assert_refused("redirect of an external file", |nodes| {
            set_xattrs(nodes, EXTERNAL, &[metacopy, redirect]);
        });
    }
}

// Rules: P5
#[test]
fn the_long_names_are_those_of_the_format() {
    let whole = image_of(&tree(), |_| {});
    for at in 1152..1192 {
        let mut image = whole.clone();
        image[at] ^= 0x40;
        let found = unreadable(&image);
        assert!(found.contains("long xattr names"), "{at}: {found}");
    }
    // Their number and place, in the superblock.
    for (at, byte) in [(91, 0), (91, 1), (91, 255), (92, 0), (95, 0xff)] {
        let mut image = whole.clone();
        image[1024 + at] = byte;
        let found = unreadable(&image);
        assert!(found.contains("xattr_prefix"), "{at}: {found}");
    }
}

// Rules: P19
#[test]
fn a_long_name_has_one_form() {
    let whole = image_of(&tree(), |_| {});
    let index_of = |value: Value<'_>| {
        let value = value.to_vec();
        let at = whole
            .windows(value.len())
            .position(|found| found == value)
            .unwrap();
        at - 3
    };
    let metacopy = index_of(Value::Metacopy(&DIGEST));
    let redirect = index_of(Value::Redirect(&DIGEST, ".file"));
    assert_eq!((whole[metacopy], whole[redirect]), (0x80, 0x81));
    let changed = |at: usize, byte| {
        let mut image = whole.clone();
        image[at] = byte;
        unreadable(&image)
    };
    for name_index in [0, 4, 0x7f, 0x82, 0x84, 0xff] {
        let found = changed(redirect, name_index);
        assert!(found.contains("xattr namespace"), "{found}");
    }
    // Something behind the name.
    let found = changed(redirect - 1, 1);
    assert!(found.contains("xattr namespace"), "{found}");
    assert_refused("xattr namespace", |nodes| nodes.xattrs.spell_out());
}

// Rules: P20
#[test]
fn only_an_external_file_is_redirected() {
    let redirect = trusted(b"overlay.redirect", Value::Redirect(&DIGEST, ".file"));
    for node in [ROOT, DIRECTORY, INLINE, LINK, IN_DIRECTORY] {
        assert_refused("a redirect", |nodes| set_xattrs(nodes, node, &[redirect]));
    }
}

// Rules: P21
#[test]
fn overlay_xattrs_of_the_payload_are_escaped() {
    for name in [
        &b"overlay.opaque"[..],
        b"overlay.whiteout",
        b"overlay.origin",
        b"overlay.",
        b"overlay.overlay.",
    ] {
        let xattr = trusted(name, Value::Bytes(b"y"));
        assert_refused("it escaped", |nodes| set_xattrs(nodes, DIRECTORY, &[xattr]));
    }
    let twice = trusted(b"overlay.redirect", Value::Redirect(&DIGEST, ".file"));
    assert_refused("it once", |nodes| {
        set_xattrs(nodes, EXTERNAL, &[twice, twice]);
    });
}

// Rules: P22, P23
#[test]
fn whiteouts_are_escaped_in_full() {
    assert_refused("a whiteout", |nodes| {
        nodes.list[WHITEOUT].mode = 0o020_000;
        nodes.list[WHITEOUT].body = Body::Device(0);
    });
    let marker = trusted(b"overlay.sealroot-whiteout", Value::Bytes(b""));
    assert_refused("whiteout xattrs", |nodes| {
        set_xattrs(nodes, WHITEOUT, &[marker]);
    });
    assert_refused("whiteout xattrs", |nodes| {
        set_xattrs(nodes, ROOT, &[marker]);
    });
    assert_refused("whiteout xattrs of a directory", |nodes| {
        set_xattrs(nodes, ROOT, &[]);
    });
    assert_refused("whiteout xattrs of a directory", |nodes| {
        nodes.list[DIRECTORY].xattrs = nodes.list[ROOT].xattrs.clone();
    });
    for node in [LINK, EXTERNAL, IN_DIRECTORY] {
        assert_refused("file", |nodes| {
            nodes.list[node].xattrs = nodes.list[WHITEOUT].xattrs.clone();
        });
    }
}

// Rules: P2, P11
#[test]
fn names_are_valid_sorted_and_there_once() {
    for name in [&b"b"[..], b"0", b"b\x00"] {
        let found = refusal(|nodes| children(nodes, ROOT)[4].name = name);
        assert!(
            found.contains("directory") || found.contains("twice"),
            "{found}"
        );
    }
    assert_refused("slash", |nodes| children(nodes, ROOT)[4].name = b"c/d");
    assert_refused("longer", |nodes| children(nodes, ROOT)[7].name = &LONG);
}

// Rules: P2
/// The boot program makes files of what a walk gives, before it has a tree.
#[test]
fn a_walk_gives_no_name_that_leads_elsewhere() {
    for (child, name) in [(4, &b"c/d"[..]), (4, b"c/../../d"), (7, &LONG)] {
        let image = image_of(&tree(), |nodes| children(nodes, ROOT)[child].name = name);
        let pack = Pack::open(&image).unwrap();
        let mut walk = pack.walk();
        let error = loop {
            match walk.next() {
                Ok(Some(step)) => assert!(step.name != name),
                Ok(None) => panic!("it was walked whole"),
                Err(error) => break error,
            }
        };
        assert!(reason(error).contains("is not valid"));
        let root = pack.root().unwrap();
        assert!(pack.names(&root).any(|found| found.is_err()));
    }
}

// Rules: P11
#[test]
fn dots_name_the_directory_and_its_parent() {
    assert_refused("a wrong .", |nodes| children(nodes, DIRECTORY)[0].node = 0);
    assert_refused("a wrong ..", |nodes| children(nodes, DIRECTORY)[1].node = 5);
    for dots in 1..=2 {
        assert_refused("no . or no ..", |nodes| {
            drop_names(nodes, DIRECTORY, dots, 0);
        });
    }
}

// Rules: P12
#[test]
fn every_directory_has_one_name() {
    for (target, expected) in [
        (ROOT, "link count"),
        (DIRECTORY, "link count"),
        (SECOND, ".."),
    ] {
        assert_refused(expected, |nodes| {
            children(nodes, DIRECTORY)[2].node = u32::try_from(target).unwrap();
        });
    }
    assert_refused("link count", |nodes| {
        children(nodes, ROOT)[4].node = u32::try_from(DIRECTORY).unwrap();
    });
}

// Rules: P12
#[test]
fn link_counts_and_the_number_of_inodes_are_right() {
    for (node, nlink) in [
        (ROOT, 3),
        (DIRECTORY, 3),
        (INLINE, 0),
        (INLINE, 2),
        (WHITEOUT, 2),
    ] {
        assert_refused("link count", |nodes| nodes.list[node].nlink = nlink);
    }
    assert_refused("link count", |nodes| children(nodes, ROOT)[5].node = 3);
    // An inode without a name.
    assert_refused("number of inodes", |nodes| {
        drop_names(nodes, DIRECTORY, 0, 1);
    });
}

// Rules: P2
#[test]
fn a_path_is_not_too_long() {
    let mut tree = Tree::new(Metadata::default());
    let mut parent = InodeId::ROOT;
    for _ in 0..16 {
        let inode = Inode::new(Metadata::default(), Kind::directory());
        parent = tree.insert(parent, &[b'd'; 254], inode).unwrap();
    }
    let image = image_of(&tree, |nodes| {
        let names = nodes
            .children
            .iter_mut()
            .filter(|child| child.name.len() > 2);
        names.for_each(|child| child.name = &LONG[..255]);
    });
    let error = check(image.clone()).unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("length of a path")
    );
}

// Rules: P30
#[test]
fn content_is_not_used_again_and_again() {
    let mut tree = Tree::new(Metadata::default());
    for number in 0..100u8 {
        let content = FileContent::Inline(vec![number; 65_536].into());
        let inode = Inode::new(Metadata::default(), Kind::Regular(content));
        tree.insert(InodeId::ROOT, &[b'a', number + 128], inode)
            .unwrap();
    }
    let mut image = image_of(&tree, |_| {});
    let error = |image: &[u8]| Pack::open(image).and_then(|pack| pack.tree()).err();
    assert!(error(&image).is_none());
    // All files get the blocks of the last; the others are cut off.
    let keep = image.len() - 99 * 65_536;
    let blocks = u32::try_from(keep / 4096).unwrap();
    let first = blocks - 16;
    for at in (1216..first as usize * 4096).step_by(32) {
        if image[at..at + 2] == [0, 0] && image[at + 4..at + 6] == [0, 0x80] {
            image[at + 16..at + 20].copy_from_slice(&first.to_le_bytes());
        }
    }
    image[1024 + 36..1024 + 40].copy_from_slice(&blocks.to_le_bytes());
    image.truncate(keep);
    let error = error(&image).unwrap();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("size"),
        "{error:?}"
    );
}

// Rules: P7, P10
#[test]
fn an_external_file_is_a_hole_of_the_right_form() {
    for size_bytes in [0, 1 << 54] {
        let found = std::panic::catch_unwind(|| {
            refusal(|nodes| nodes.list[EXTERNAL].body = Body::Hole(size_bytes))
        });
        // The writer itself makes no such hole.
        assert!(found.is_err());
    }
    let mut image = image_of(&tree(), |_| {});
    let hole = image
        .windows(4)
        .rposition(|bytes| bytes == [0xff; 4])
        .unwrap();
    image[hole] = 0;
    let error = check(image.clone()).unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("expected a hole")
    );
}

// Rules: P2
#[test]
fn an_owner_is_one_that_chown_can_set() {
    for node in [ROOT, DIRECTORY, INLINE, LINK] {
        assert_refused("user", |nodes| nodes.list[node].uid = u32::MAX);
        assert_refused("group", |nodes| nodes.list[node].gid = u32::MAX);
    }
    let image = image_of(&tree(), |nodes| nodes.list[INLINE].uid = u32::MAX - 1);
    check(image.clone()).unwrap();
}

// Rules: P5
#[test]
fn only_what_is_free_differs_in_superblocks() {
    const FREE: [std::ops::Range<usize>; 4] = [14..16, 16..36, 36..40, 44..48];
    let image = image_of(&tree(), |_| {});
    for at in (0..128).filter(|at| !FREE.iter().any(|range| range.contains(at))) {
        let mut changed = image.clone();
        changed[1024 + at] ^= 1;
        let error = Pack::open(&changed).unwrap_err();
        let is_version = (64 + 14..64 + 16).contains(&at);
        let expected = if is_version {
            ErrorClass::Unsupported
        } else {
            ErrorClass::Corrupt
        };
        assert_eq!(error.class(), expected, "byte {at}");
    }
    let mut newer = image;
    newer[1024 + 64 + 14] = b'2';
    let error = Pack::open(&newer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pack format version: found \"2\", expected 1"
    );
}

// Rules: P14
#[test]
fn stored_xattr_names_stay_within_the_limit() {
    let long = StoredXattr {
        namespace: Namespace::Trusted,
        escaped: false,
        suffix: &LONG[..250],
        value: Value::Bytes(b""),
    };
    assert_refused("length of a xattr name", |nodes| {
        set_xattrs(nodes, INLINE, &[long]);
    });
}
