// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content objects that no writer writes.

use rustix::fs::{XattrFlags, setxattr};
use sealroot::ostree::{ObjectError, ObjectKind};
use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::craft::{Content, Craft, deflate, framed, xattrs};
use crate::crafted::{assert_malformed, object_error};
use crate::entries::Objects;
use crate::repositories::{ostree, read};

#[test]
fn xattrs_may_be_hashed_in_the_order_of_the_object_or_sorted() {
    let (a, b) = (("user.a", &b"1"[..]), ("user.b", &b"2"[..]));
    for hashed in [None, Some(xattrs(&[a, b]))] {
        let craft = Craft::new();
        let content = Content {
            xattrs: xattrs(&[b, a]),
            hashed_xattrs: hashed,
            ..Content::regular(b"x")
        };
        let rev = craft.commit_file(craft.put_content(&content));
        let tree = craft.read(&rev).unwrap().tree;
        let file = tree.inode(tree.lookup([&b"file"[..]]).unwrap());
        let names: Vec<_> = file
            .metadata
            .xattrs
            .iter()
            .map(|xattr| &*xattr.name)
            .collect();
        assert_eq!(names, [b"user.a", b"user.b"]);
    }
    // But not with another value.
    let craft = Craft::new();
    let content = Content {
        xattrs: xattrs(&[b, a]),
        hashed_xattrs: Some(xattrs(&[a, ("user.b", b"3")])),
        ..Content::regular(b"x")
    };
    let rev = craft.commit_file(craft.put_content(&content));
    let (kind, error, class) = object_error(&craft, &rev);
    assert!(matches!(error, ObjectError::Checksum { .. }), "{error:?}");
    assert_eq!((kind, class), (ObjectKind::File, ErrorClass::Untrusted));
}

#[test]
fn headers_that_no_file_has_are_refused() {
    let refused = |content: &Content<'_>, text: &str| {
        let craft = Craft::new();
        let rev = craft.commit_file(craft.put_content(content));
        assert_malformed(&craft, &rev, ObjectKind::File, text);
    };
    let regular = Content::regular(b"content");
    let symlink = Content::symlink(b"target");
    let long = [b'x'; 4096];
    refused(
        &Content {
            rdev: 1,
            ..regular.clone()
        },
        "device",
    );
    refused(
        &Content {
            mode: 0o040_755,
            ..regular.clone()
        },
        "mode",
    );
    refused(
        &Content {
            mode: 0o020_644,
            ..regular.clone()
        },
        "mode",
    );
    refused(
        &Content {
            mode: 0o1_100_644,
            ..regular.clone()
        },
        "mode",
    );
    refused(
        &Content {
            uid: u32::MAX,
            ..regular.clone()
        },
        "uid",
    );
    refused(
        &Content {
            target: b"t",
            ..regular.clone()
        },
        "target",
    );
    refused(
        &Content {
            claimed_size_bytes: u64::MAX,
            ..regular.clone()
        },
        "size",
    );
    refused(
        &Content {
            xattrs: xattrs(&[("x", b"")]),
            ..regular.clone()
        },
        "xattr name",
    );
    refused(
        &Content {
            target: b"",
            ..symlink.clone()
        },
        "target",
    );
    refused(
        &Content {
            target: &long,
            ..symlink.clone()
        },
        "4095",
    );
    refused(
        &Content {
            target: b"a\0b",
            ..symlink.clone()
        },
        "NUL",
    );
    refused(
        &Content {
            target: b"\xff",
            ..symlink.clone()
        },
        "does not allow",
    );
    refused(
        &Content {
            claimed_size_bytes: 1,
            ..symlink.clone()
        },
        "size",
    );
}

/// Reads a commit of one file whose `.filez` is `object`.
fn with_object(content: &Content<'_>, object: &[u8]) -> (ObjectError, ErrorClass) {
    let craft = Craft::new();
    let checksum = content.checksum();
    craft.put_as(checksum, "filez", object);
    let rev = craft.commit_file(checksum);
    let (kind, error, class) = object_error(&craft, &rev);
    assert_eq!(kind, ObjectKind::File);
    (error, class)
}

#[test]
fn sizes_in_headers_are_only_claims() {
    let payload = vec![7; 100_000];
    for claimed_size_bytes in [0, 1, 99_999, 100_001, 90_000] {
        let content = Content {
            claimed_size_bytes,
            ..Content::regular(&payload)
        };
        let (error, class) = with_object(&content, &content.object());
        assert_eq!(class, ErrorClass::Corrupt);
        assert!(error.to_string().contains("decompressed"), "{error}");
    }
    // More than the compressed bytes can be: refused at once.
    let content = Content {
        claimed_size_bytes: 1 << 50,
        ..Content::regular(&payload)
    };
    let (error, class) = with_object(&content, &content.object());
    assert_eq!(class, ErrorClass::Corrupt);
    assert!(error.to_string().contains("deflate makes"), "{error}");
}

#[test]
fn a_bomb_is_stopped() {
    // 64 MiB of zeros in 64 KiB, under the name of a file of 1000 bytes.
    let zeros = deflate(&vec![0; 64 << 20]);
    let content = Content::regular(&[0; 1000]);
    let header_len = content.object().len() - deflate(content.payload).len();
    let object = [&content.object()[..header_len], &zeros].concat();
    let (error, class) = with_object(&content, &object);
    assert_eq!(class, ErrorClass::Corrupt);
    assert!(matches!(error, ObjectError::Deflated(_)), "{error:?}");
    // The same with a claim that fits the bytes: read to the end, and then of another checksum.
    let claim = Content {
        claimed_size_bytes: 64 << 20,
        ..content.clone()
    };
    let object = [&claim.object()[..header_len], &zeros].concat();
    let (error, class) = with_object(&content, &object);
    assert_eq!(class, ErrorClass::Untrusted);
    assert!(matches!(error, ObjectError::Checksum { .. }), "{error:?}");
}

#[test]
fn what_surrounds_a_header_is_checked() {
    let content = Content::regular(b"content");
    let object = content.object();
    let mut padding = object.clone();
    padding[5] = 1;
    let mut long = object.clone();
    long[..4].copy_from_slice(&(2u32 << 20).to_be_bytes());
    let mut longer = object.clone();
    longer[..4].copy_from_slice(&1000u32.to_be_bytes());
    let after = [&object, &b"x"[..]].concat();
    for (object, text) in [
        (padding, "padding"),
        (long, "length of the header"),
        (longer, "a whole header"),
        (after, "bytes follow"),
        (framed(b""), "too early"),
        (Vec::new(), "a whole header"),
    ] {
        let (error, class) = with_object(&content, &object);
        assert_eq!(class, ErrorClass::Corrupt, "{text}");
        let chain = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        assert!(chain.contains(text), "{chain}");
    }
    let symlink = Content::symlink(b"target");
    let after = [&symlink.object(), &b"x"[..]].concat();
    let (error, class) = with_object(&symlink, &after);
    assert_eq!(class, ErrorClass::Corrupt);
    assert!(error.to_string().contains("symlink"), "{error}");
}

/// OSTree does not see xattrs without a value when it commits files, but objects made otherwise
/// have them, and so has the file on disk that a bare repository makes of such an object.
#[test]
fn xattrs_without_a_value_count_where_they_were_hashed() {
    if need::tool("ostree").is_none() || !need::root() {
        return;
    }
    let archive = Craft::new();
    let content = Content {
        xattrs: xattrs(&[("user.empty", b""), ("user.k", b"v")]),
        ..Content::regular(b"x")
    };
    let rev = archive.commit_file(archive.put_content(&content));
    archive.write("refs/heads/test", format!("{rev}\n").as_bytes());
    let tree = archive.read(&rev).unwrap().tree;
    let directory = tempfile::tempdir().unwrap();
    for mode in ["bare", "bare-user"] {
        let path = &directory.path().join(mode);
        ostree(path, &["init", "--mode", mode]);
        ostree(
            path,
            &["pull-local", archive.path().to_str().unwrap(), "test"],
        );
        let pulled = read(path, "test", &Objects::default()).unwrap().tree;
        assert_eq!(pulled, tree, "{mode}");
    }
    // A file on disk got one that was not hashed.
    let bare = &directory.path().join("bare");
    let file = archive.put_content(&Content::regular(b"y"));
    archive.write(
        "refs/heads/more",
        format!("{}\n", archive.commit_file(file)).as_bytes(),
    );
    ostree(
        bare,
        &["pull-local", archive.path().to_str().unwrap(), "more"],
    );
    let object = archive.object_path(file, "file");
    let object = bare.join(object.strip_prefix(archive.path()).unwrap());
    setxattr(&object, "user.empty", b"", XattrFlags::empty()).unwrap();
    let tree = read(bare, "more", &Objects::default()).unwrap().tree;
    let file = tree.inode(tree.lookup([&b"file"[..]]).unwrap());
    assert!(file.metadata.xattrs.is_empty());
    // One with a value is another object, unless the repository keeps none.
    setxattr(&object, "user.k", b"v", XattrFlags::empty()).unwrap();
    let error = read(bare, "more", &Objects::default()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Untrusted);
    ostree(bare, &["config", "set", "core.disable-xattrs", "true"]);
    assert_eq!(read(bare, "more", &Objects::default()).unwrap().tree, tree);
}
