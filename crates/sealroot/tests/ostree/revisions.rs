// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a repository and a revision may be.

use std::fs;
use std::os::unix::fs::symlink;

use sealroot::ostree::OstreeError;
use sealroot_format::ErrorClass;
use sealroot_testkit::need;

use crate::craft::{Content, Craft};
use crate::entries::Objects;
use crate::repositories::{ostree, read};

/// A repository with one commit, and its checksum.
fn one_commit() -> (Craft, String) {
    let craft = Craft::new();
    let rev = craft.commit_file(craft.put_content(&Content::regular(b"x")));
    (craft, rev)
}

#[test]
fn checksums_refs_and_remote_refs_are_revisions() {
    let (craft, rev) = one_commit();
    let line = format!("{rev}\n");
    for name in [
        "heads/main",
        "heads/os/x86_64/stable",
        "heads/a-b.c_d",
        "remotes/origin/os/stable",
    ] {
        craft.write(&format!("refs/{name}"), line.as_bytes());
    }
    for name in [
        &rev,
        "main",
        "os/x86_64/stable",
        "a-b.c_d",
        "origin:os/stable",
    ] {
        assert_eq!(craft.read(name).unwrap().commit.to_hex(), rev, "{name}");
    }
    if need::tool("ostree").is_some() {
        ostree(craft.path(), &["refs", "--alias", "--create=alias", "main"]);
        assert!(craft.path().join("refs/heads/alias").is_symlink());
        assert_eq!(craft.read("alias").unwrap().commit.to_hex(), rev);
    }
}

#[test]
fn what_is_no_revision_is_refused() {
    let (craft, rev) = one_commit();
    craft.write("refs/heads/main", format!("{rev}\n").as_bytes());
    craft.write("secret", format!("{rev}\n").as_bytes());
    for bad in [
        "",
        "/",
        "/main",
        "main/",
        "a//b",
        ".",
        "..",
        "../heads/main",
        "../../secret",
        "-x",
        ".x",
        "a b",
        "a\0b",
        "origin:",
        ":main",
        "a:b:c",
        "a/b:c",
        "..:main",
        "^",
        "main^x",
    ] {
        let error = craft.read(bad).unwrap_err();
        assert!(
            matches!(error, OstreeError::Revision { .. }),
            "{bad:?}: {error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Usage);
    }
    craft.write("refs/heads/os/stable", format!("{rev}\n").as_bytes());
    let error = craft.read("main^").unwrap_err();
    assert!(matches!(error, OstreeError::NoParent { .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::NotFound);
    let upper = rev.to_uppercase();
    for missing in [
        "other",
        "origin:main",
        "main/more",
        "os",
        &rev[..63],
        &upper,
    ] {
        let error = craft.read(missing).unwrap_err();
        assert!(
            matches!(error, OstreeError::RefMissing { .. }),
            "{missing:?}: {error:?}"
        );
        assert_eq!(error.class(), ErrorClass::NotFound);
    }
}

#[test]
fn refs_must_hold_a_checksum_and_stay_inside() {
    let (craft, rev) = one_commit();
    for bad in [
        "",
        "\n",
        &rev[..63],
        &format!("{rev}0\n"),
        "z",
        &"0".repeat(1 << 20),
    ] {
        craft.write("refs/heads/bad", bad.as_bytes());
        let error = craft.read("bad").unwrap_err();
        assert!(matches!(error, OstreeError::Ref { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Corrupt);
        assert!(error.to_string().len() < 500);
    }
    craft.write("outside", format!("{rev}\n").as_bytes());
    symlink("../../outside", craft.path().join("refs/heads/relative")).unwrap();
    symlink(
        craft.path().join("outside"),
        craft.path().join("refs/heads/absolute"),
    )
    .unwrap();
    symlink("loop", craft.path().join("refs/heads/loop")).unwrap();
    for name in ["relative", "absolute", "loop"] {
        let error = craft.read(name).unwrap_err();
        assert!(
            matches!(error, OstreeError::Read { .. }),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn a_commit_that_is_not_there_is_named() {
    let (craft, _) = one_commit();
    let rev = "0".repeat(64);
    let error = craft.read(&rev).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(
        error.to_string().contains(&format!("{rev}.commit")),
        "{error}"
    );
}

#[test]
fn a_partial_commit_is_refused() {
    let (craft, rev) = one_commit();
    for content in ["", "f"] {
        craft.write(&format!("state/{rev}.commitpartial"), content.as_bytes());
        let error = craft.read(&rev).unwrap_err();
        assert!(matches!(error, OstreeError::Partial { .. }), "{error:?}");
        assert_eq!(error.class(), ErrorClass::NotFound);
        let way_out = format!(
            "`ostree --repo={} pull REMOTE {rev}`",
            craft.path().display()
        );
        assert!(error.to_string().contains(&way_out), "{error}");
    }
    // Repositories made by old versions have no directory for the markers.
    fs::remove_dir_all(craft.path().join("state")).unwrap();
    assert!(craft.read(&rev).is_ok());
}

#[test]
fn a_commit_that_ostree_pulled_in_part_is_refused() {
    let (Some(_), (source, rev)) = (need::tool("ostree"), one_commit()) else {
        return;
    };
    source.write("refs/heads/main", format!("{rev}\n").as_bytes());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    ostree(path, &["init", "--mode=archive"]);
    let url = format!("file://{}", source.path().display());
    ostree(path, &["remote", "add", "--no-gpg-verify", "origin", &url]);
    ostree(path, &["pull", "--commit-metadata-only", "origin", "main"]);
    let error = read(path, "origin:main", &Objects::default()).unwrap_err();
    assert!(matches!(error, OstreeError::Partial { .. }), "{error:?}");
    ostree(path, &["pull", "origin", "main"]);
    assert!(read(path, "origin:main", &Objects::default()).is_ok());
}

#[test]
fn configurations_are_checked() {
    let (craft, rev) = one_commit();
    let class = |config: &[u8]| {
        craft.write("config", config);
        let result = craft.read(&rev);
        if let Err(error) = &result
            && error.class() != ErrorClass::NotFound
        {
            let path = craft.path().display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
        }
        result.map(|_| ()).map_err(|error| error.class())
    };
    assert_eq!(class(b"[core]\nrepo_version=1\nmode=archive\n"), Ok(()));
    assert_eq!(
        class(b"# c\n[remote \"o\"]\nurl=x\n\n[core]\nmode = archive-z2\nrepo_version=1"),
        Ok(())
    );
    assert_eq!(
        class(b"[core]\nrepo_version=1\nmode=archive\nparent=/some/where\n"),
        Err(ErrorClass::Unsupported)
    );
    for bad in [
        &b""[..],
        b"[core]\nmode=archive\n",
        b"[core]\nrepo_version=2\nmode=archive\n",
        b"[core]\nrepo_version=1\nmode=other\n",
        b"[core]\nrepo_version=1\nmode=archive\ndisable-xattrs=maybe\n",
        b"[core]\nrepo_version=1\nmode=archive\nlock-timeout-secs=soon\n",
        b"[core\nrepo_version=1\nmode=archive\n",
        b"repo_version=1\nmode=archive\n",
        b"[core]\nrepo_version=1\nmode=archive\nx\n",
        b"\xff",
    ] {
        assert_eq!(
            class(bad),
            Err(ErrorClass::Corrupt),
            "{}",
            bad.escape_ascii()
        );
    }
    let large = [
        &b"[core]\nrepo_version=1\nmode=archive\n"[..],
        &vec![b'\n'; 1 << 20],
    ]
    .concat();
    assert_eq!(class(&large), Err(ErrorClass::Corrupt));
    // Without a mode it is bare, where no .filez is looked for.
    assert_eq!(
        class(b"[core]\nrepo_version=1\n"),
        Err(ErrorClass::NotFound)
    );
}

#[test]
fn what_is_no_repository_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let refused = |path: &std::path::Path, text: &str| {
        let error = read(path, "main", &Objects::default()).unwrap_err();
        assert_eq!(error.class(), ErrorClass::NotFound);
        assert!(error.to_string().contains(text), "{error}");
    };
    refused(&path.join("none"), "cannot be opened");
    refused(path, "no directory objects");
    fs::create_dir(path.join("objects")).unwrap();
    refused(path, "no file config");
    fs::write(path.join("file"), b"").unwrap();
    refused(&path.join("file"), "cannot be opened");
}
