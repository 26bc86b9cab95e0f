// SPDX-License-Identifier: MIT OR Apache-2.0
//! What commits say, which refs there are, and commits that are gone, judged by `ostree`.

use std::fs;
use std::path::{Path, PathBuf};

use sealroot::ostree::{OstreeError, RefName, Repository};
use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_testkit::need;
use tempfile::TempDir;

use crate::entries::Objects;
use crate::repositories::{ostree, read};

pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().trim_end().to_owned()
}

/// A repository in a directory that also has an empty `tree`; `None` without `ostree`.
pub(crate) fn repository(mode: &str) -> Option<(TempDir, PathBuf)> {
    need::tool("ostree")?;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("repo");
    ostree(&path, &["init", &format!("--mode={mode}")]);
    fs::create_dir_all(directory.path().join("tree/usr")).unwrap();
    Some((directory, path))
}

/// Commits a tree that has only `content`.
pub(crate) fn commit(repository: &Path, content: &str, arguments: &[&str]) -> String {
    let tree = repository.with_file_name("tree");
    fs::write(tree.join("usr/file"), content).unwrap();
    let tree = format!("--tree=dir={}", tree.display());
    let output = ostree(repository, &[&["commit", &tree], arguments].concat());
    text(output.stdout)
}

#[test]
fn a_commit_says_what_was_said_when_it_was_made() {
    let Some((_directory, path)) = repository("archive") else {
        return;
    };
    let first = commit(&path, "1", &["--branch=os/stable", "--subject=one"]);
    let second = commit(
        &path,
        "2",
        &[
            "--branch=os/stable",
            "--subject=two",
            "--body=more\nlines",
            "--timestamp=2026-01-02T03:04:05Z",
            "--add-metadata-string=version=2.0",
            "--add-metadata-string=ostree.linux=6.12.9",
            "--add-metadata=ostree.bootable=true",
            "--add-metadata=example.bytes=[byte 0x01, 0x02]",
            "--bind-ref=os/next",
        ],
    );
    let repository = Repository::open(&path).unwrap();
    let id = repository.resolve("os/stable").unwrap();
    assert_eq!(id.to_hex(), second);
    let read = repository.commit(id).unwrap();
    assert_eq!(read.id(), id);
    let info = read.info();
    assert_eq!(info.parent.map(CommitId::to_hex), Some(first.clone()));
    assert_eq!((&*info.subject, &*info.body), ("two", "more\nlines"));
    assert_eq!(info.timestamp_seconds, 1_767_323_045);
    assert_eq!(info.version.as_deref(), Some("2.0"));
    assert_eq!(info.kernel.as_deref(), Some("6.12.9"));
    assert!(info.is_bootable);
    assert_eq!(info.ref_binding, ["os/next", "os/stable"]);
    assert_eq!(info.collection_binding, None);
    assert_eq!(info.end_of_life, None);
    assert_eq!(info.metadata.bytes("example.bytes"), Some(&[1, 2][..]));
    assert!(info.metadata.keys().any(|key| key == "example.bytes"));

    let parent = repository.resolve("os/stable^").unwrap();
    assert_eq!(parent.to_hex(), first);
    assert_eq!(
        text(ostree(&path, &["rev-parse", "os/stable^"]).stdout),
        first
    );
    assert_eq!(repository.resolve(&format!("{second}^")).unwrap(), parent);
    let error = repository.resolve("os/stable^^").unwrap_err();
    assert!(matches!(error, OstreeError::NoParent { commit } if commit == parent));
    let info = repository.commit(parent).unwrap().info().clone();
    assert_eq!(
        (info.parent, info.is_bootable, info.version),
        (None, false, None)
    );
}

#[test]
fn refs_are_those_that_ostree_lists() {
    let Some((directory, path)) = repository("archive") else {
        return;
    };
    ostree(
        &path,
        &["config", "set", "core.collection-id", "org.example.Os"],
    );
    let first = commit(&path, "1", &["--branch=os/x86_64/stable"]);
    let second = commit(&path, "2", &["--branch=other"]);
    let clone = directory.path().join("clone");
    ostree(&clone, &["init", "--mode=bare-user"]);
    let url = format!("file://{}", path.display());
    ostree(
        &clone,
        &["remote", "add", "--no-gpg-verify", "origin", &url],
    );
    ostree(&clone, &["pull", "origin", "os/x86_64/stable", "other"]);
    ostree(&clone, &["refs", "--create=local/copy", "origin:other"]);
    ostree(&clone, &["refs", "--alias", "--create=alias", "local/copy"]);
    let mirror = "--create=org.example.Os:os/x86_64/stable";
    ostree(
        &clone,
        &["refs", "--collections", mirror, "origin:os/x86_64/stable"],
    );
    // What no ref is called is no ref.
    fs::write(clone.join("refs/heads/.tmp"), b"").unwrap();
    let repository = Repository::open(&clone).unwrap();
    let refs = repository.refs().unwrap();
    let names: Vec<String> = refs.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "alias",
            "local/copy",
            "origin:os/x86_64/stable",
            "origin:other",
            "(org.example.Os, os/x86_64/stable)",
        ]
    );
    let listed = text(ostree(&clone, &["refs", "--list"]).stdout);
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.extend(
        ["alias"]
            .iter()
            .filter(|alias| !listed.contains(alias))
            .collect::<Vec<_>>(),
    );
    listed.sort_unstable();
    assert_eq!(names[..4], listed);
    for name in &refs {
        let expected = if name.to_string().contains("stable") {
            &first
        } else {
            &second
        };
        assert_eq!(
            repository.resolve_ref(name).unwrap().to_hex(),
            *expected,
            "{name}"
        );
    }
    assert_eq!(refs[2].remote(), Some("origin"));
    assert_eq!(RefName::parse("origin:other"), Some(refs[3].clone()));
    let outside = RefName::Mirror {
        collection: "../heads".into(),
        name: "alias".into(),
    };
    let error = repository.resolve_ref(&outside).unwrap_err();
    assert!(matches!(error, OstreeError::Revision { .. }));
    assert_eq!(error.class(), ErrorClass::Usage);
}

#[test]
fn a_deleted_commit_is_said_to_be_deleted() {
    let Some((_directory, path)) = repository("archive") else {
        return;
    };
    ostree(&path, &["config", "set", "core.tombstone-commits", "true"]);
    let old = commit(&path, "1", &["--branch=main"]);
    commit(&path, "2", &["--branch=main"]);
    ostree(&path, &["prune", &format!("--delete-commit={old}")]);
    let error = read(&path, &old, &Objects::default()).unwrap_err();
    let expected = CommitId::from_hex(&*old).unwrap();
    let is_deleted = matches!(error, OstreeError::Deleted { commit } if commit == expected);
    assert!(is_deleted, "{error:?}");
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.to_string().contains("tombstone"), "{error}");
    // The parent of what is left.
    let error = read(&path, "main^", &Objects::default()).unwrap_err();
    assert!(matches!(error, OstreeError::Deleted { .. }), "{error:?}");
    assert!(read(&path, "main", &Objects::default()).is_ok());
}
