// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories of mode bare-user-only, which keep of a file its permissions and bytes alone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, setxattr};
use sealroot::ostree::{ObjectError, OstreeError};
use sealroot_format::ErrorClass;
use sealroot_testkit::content::bytes;
use sealroot_testkit::need;
use tempfile::TempDir;

use crate::entries::{Objects, assert_same, of_directory, of_tree};
use crate::repositories::{ostree, read, try_ostree};

/// A bare repository, and one of mode bare-user-only that pulled its commit.
struct Pulled {
    directory: TempDir,
}

impl Pulled {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Commits what `make` makes; `None` without the program or root rights.
    fn new(arguments: &[&str], make: impl FnOnce(&Path)) -> Option<Self> {
        if need::tool("ostree").is_none() || !need::root() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let pulled = Self { directory };
        let (bare, source) = (pulled.path("bare"), pulled.path("source"));
        fs::create_dir_all(source.join("usr/directory")).unwrap();
        make(&source.join("usr"));
        ostree(&bare, &["init", "--mode=bare"]);
        let tree = format!("--tree=dir={}", source.display());
        let commit = ["commit", "--branch=test", &tree];
        ostree(&bare, &[&commit[..], arguments].concat());
        let only = pulled.path("only");
        ostree(&only, &["init", "--mode=bare-user-only"]);
        ostree(&only, &["pull-local", bare.to_str().unwrap(), "test"]);
        Some(pulled)
    }

    /// The error in one of the files.
    fn error(&self) -> (ObjectError, ErrorClass) {
        let error = read(&self.path("only"), "test", &Objects::default()).unwrap_err();
        let class = error.class();
        match error {
            OstreeError::Object { source, .. } => (*source, class),
            other => panic!("{other:?}"),
        }
    }
}

fn make_canonical(usr: &Path) {
    fs::write(usr.join("small"), b"small").unwrap();
    fs::write(usr.join("large"), bytes(1, 100_000)).unwrap();
    fs::write(usr.join("directory/empty"), b"").unwrap();
    fs::set_permissions(usr.join("small"), Permissions::from_mode(0o775)).unwrap();
    fs::set_permissions(usr.join("large"), Permissions::from_mode(0o400)).unwrap();
    symlink("small", usr.join("link")).unwrap();
}

#[test]
fn a_commit_of_canonical_files_is_read_as_from_a_bare_repository() {
    let Some(pulled) = Pulled::new(&["--canonical-permissions"], make_canonical) else {
        return;
    };
    let objects = Objects::default();
    let whole = read(&pulled.path("bare"), "test", &objects).unwrap();
    let read = read(&pulled.path("only"), "test", &objects).unwrap();
    assert_eq!(read.tree, whole.tree);
    assert_eq!(read.commit, whole.commit);
    let checkout = pulled.path("checkout");
    ostree(
        &pulled.path("only"),
        &["checkout", "-U", "test", checkout.to_str().unwrap()],
    );
    let (mut found, checked_out) = (of_tree(&read.tree, &objects), of_directory(&checkout));
    found.retain(|path, _| path == b"/" || path.starts_with(b"/usr"));
    assert_same(&found, &checked_out);
}

#[test]
fn directories_keep_all_they_have() {
    let Some(pulled) = Pulled::new(&[], |usr| {
        let directory = usr.join("directory");
        chown(&directory, Some(5), Some(6)).unwrap();
        setxattr(&directory, "user.k", b"v", XattrFlags::empty()).unwrap();
    }) else {
        return;
    };
    let objects = Objects::default();
    let whole = read(&pulled.path("bare"), "test", &objects).unwrap();
    assert_eq!(
        read(&pulled.path("only"), "test", &objects).unwrap().tree,
        whole.tree
    );
}

#[test]
fn what_the_repository_has_lost_is_not_made_up() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 3] = [
        ("owner", |path| chown(path, Some(0), Some(7)).unwrap()),
        ("xattrs", |path| {
            setxattr(path, "user.k", b"v", XattrFlags::empty()).unwrap();
        }),
        ("a capability", |path| {
            let value = [
                1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ];
            setxattr(path, "security.capability", &value, XattrFlags::empty()).unwrap();
        }),
    ];
    for (what, make) in cases {
        let Some(pulled) = Pulled::new(&[], |usr| {
            fs::write(usr.join("file"), b"x").unwrap();
            make(&usr.join("file"));
        }) else {
            return;
        };
        let (error, class) = pulled.error();
        assert!(
            matches!(error, ObjectError::NotCanonical { .. }),
            "{what}: {error:?}"
        );
        assert_eq!(class, ErrorClass::Untrusted);
        let message = error.to_string();
        assert!(
            message.contains("pull the commit into one of mode bare"),
            "{message}"
        );
        // Nor does OSTree vouch for it.
        let fsck = try_ostree(&pulled.path("only"), &["fsck"]);
        let output = String::from_utf8_lossy(&fsck.stderr).into_owned();
        assert!(
            !fsck.status.success() && output.contains("Corrupted"),
            "{output}"
        );
    }
}

#[test]
fn damage_is_found() {
    let Some(pulled) = Pulled::new(&["--canonical-permissions"], make_canonical) else {
        return;
    };
    let objects = pulled.path("only").join("objects");
    let files = objects.read_dir().unwrap();
    let files = files.flat_map(|directory| directory.unwrap().path().read_dir().unwrap());
    let files: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().unwrap() == "file")
        .collect();
    assert_eq!(files.len(), 4);
    for path in files {
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        assert!(matches!(pulled.error().0, ObjectError::Missing));
        fs::write(&path, b"other").unwrap();
        assert!(matches!(pulled.error().0, ObjectError::NotCanonical { .. }));
        fs::remove_file(&path).unwrap();
        symlink("other", &path).unwrap();
        assert!(matches!(pulled.error().0, ObjectError::NotCanonical { .. }));
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        if path.is_symlink() {
            continue;
        }
        let permissions = path.metadata().unwrap().permissions();
        fs::set_permissions(&path, Permissions::from_mode(0o4755)).unwrap();
        assert!(matches!(pulled.error().0, ObjectError::NotCanonical { .. }));
        fs::set_permissions(&path, permissions).unwrap();
    }
    assert!(read(&pulled.path("only"), "test", &Objects::default()).is_ok());
}
