// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repositories whose objects were damaged or changed: each is found, named, and not accepted.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, removexattr, setxattr};
use sealroot::ostree::{ObjectError, OstreeError};
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Tree;
use sealroot_testkit::content::{Numbers, bytes};

use crate::entries::Objects;
use crate::repositories::{MODES, Repositories, SPLIT};

/// One of each kind of object, small and large.
fn make(root: &Path) {
    fs::create_dir(root.join("usr")).unwrap();
    fs::write(root.join("usr/small"), b"small, small, small").unwrap();
    setxattr(root.join("usr/small"), "user.k", b"v", XattrFlags::empty()).unwrap();
    fs::write(root.join("usr/large"), bytes(1, 10_000)).unwrap();
    fs::write(root.join("usr/empty"), b"").unwrap();
    fs::create_dir(root.join("usr/directory")).unwrap();
    setxattr(
        root.join("usr/directory"),
        "user.d",
        b"d",
        XattrFlags::empty(),
    )
    .unwrap();
    symlink("target", root.join("usr/link")).unwrap();
}

/// A repository that is whole, and what it holds.
struct Whole<'a> {
    repositories: &'a Repositories,
    mode: &'static str,
    tree: Tree,
    digests: HashSet<VerityDigest>,
}

impl<'a> Whole<'a> {
    fn new(repositories: &'a Repositories, mode: &'static str) -> Self {
        let objects = Objects::default();
        let tree = repositories.read(mode, &objects).unwrap().tree;
        let digests = objects.kept.into_inner().unwrap().into_keys().collect();
        Self {
            repositories,
            mode,
            tree,
            digests,
        }
    }

    /// Reads again; what the sink gets must be what it got from the whole repository.
    fn read(&self) -> Result<Tree, OstreeError> {
        let objects = Objects::default();
        let result = self.repositories.read(self.mode, &objects);
        let kept = objects.kept.into_inner().unwrap();
        let digests: HashSet<_> = kept.into_keys().collect();
        assert!(
            digests.is_subset(&self.digests),
            "a damaged object was stored"
        );
        result.map(|read| read.tree)
    }

    /// The error that must be in the object of this file.
    #[track_caller]
    fn error_in(&self, path: &Path, what: &str) -> (ObjectError, ErrorClass) {
        let Err(error) = self.read() else {
            panic!("{} {what}: {} is accepted", self.mode, path.display());
        };
        let class = error.class();
        let OstreeError::Object { at, source } = error else {
            panic!("{} {what}: {error:?}", self.mode);
        };
        assert_eq!(
            at.object.checksum.to_hex(),
            checksum(path),
            "{} {what}",
            self.mode
        );
        (*source, class)
    }

    #[track_caller]
    fn assert_checksum(&self, path: &Path, what: &str) {
        let (error, class) = self.error_in(path, what);
        let is_checksum = matches!(error, ObjectError::Checksum { .. });
        assert!(
            is_checksum,
            "{} {what} of {}: {error:?}",
            self.mode,
            path.display()
        );
        assert_eq!(class, ErrorClass::Untrusted);
    }

    /// The objects that are regular files, and those that are symlinks.
    fn objects(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let all = self.repositories.objects(self.mode).into_iter();
        all.partition(|path| path.symlink_metadata().unwrap().is_file())
    }
}

impl Drop for Whole<'_> {
    /// Each test puts back what it damaged.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.read().unwrap(), self.tree);
        }
    }
}

fn checksum(path: &Path) -> String {
    let directory = path
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    format!("{directory}{}", path.file_stem().unwrap().to_str().unwrap())
}

/// Whether all of the file is covered by its checksum as it is.
fn is_hashed_whole(path: &Path) -> bool {
    path.extension().unwrap() != "filez" && !is_xattrs(path)
}

/// Whether it is the xattrs of another object, which are parsed first and then hashed.
fn is_xattrs(path: &Path) -> bool {
    path.extension().unwrap() == "file-xattrs-link"
}

/// Runs with other bytes in the file, which stays the same inode.
fn with_bytes(path: &Path, bytes: &[u8], run: impl FnOnce()) {
    let before = fs::read(path).unwrap();
    fs::write(path, bytes).unwrap();
    run();
    fs::write(path, before).unwrap();
}

/// Runs with the file away.
fn without(path: &Path, run: impl FnOnce()) {
    let aside = path.with_extension("aside");
    fs::rename(path, &aside).unwrap();
    run();
    fs::rename(&aside, path).unwrap();
}

/// Runs a test in a repository of each mode.
fn in_all_modes(run: impl Fn(&Whole<'_>)) {
    if let Some(repositories) = Repositories::new(make) {
        for mode in MODES {
            run(&Whole::new(&repositories, mode));
        }
    }
}

#[test]
fn a_missing_object_is_named() {
    in_all_modes(|whole| {
        let (files, links) = whole.objects();
        let xattrs = files.iter().filter(|path| is_xattrs(path)).count();
        assert_eq!(xattrs, if whole.mode == SPLIT { 4 } else { 0 });
        assert_eq!(files.len() + links.len(), 10 + xattrs);
        for path in files.iter().chain(&links) {
            without(path, || {
                let (error, class) = whole.error_in(path, "missing");
                let is_named = match error {
                    ObjectError::Missing => !is_xattrs(path),
                    ObjectError::MissingXattrs => is_xattrs(path),
                    _ => false,
                };
                assert!(is_named, "{}: {error:?}", path.display());
                assert_eq!(class, ErrorClass::NotFound);
            });
        }
    });
}

#[test]
fn truncated_and_extended_objects_are_refused() {
    in_all_modes(|whole| {
        for path in &whole.objects().0 {
            let before = fs::read(path).unwrap();
            // The NUL of a bare-user symlink's target is not hashed, and need not be there.
            let target = before == b"target\0";
            let len = before.len();
            for keep in [
                0,
                1,
                len / 2,
                len.saturating_sub(if target { 2 } else { 1 }),
            ] {
                if keep >= len {
                    continue;
                }
                with_bytes(path, &before[..keep], || {
                    // An empty file of xattrs says that there are none.
                    if is_hashed_whole(path) && !(target && keep == 0)
                        || is_xattrs(path) && keep == 0
                    {
                        whole.assert_checksum(path, "truncated");
                    } else {
                        let (_, class) = whole.error_in(path, "truncated");
                        assert_eq!(class, ErrorClass::Corrupt);
                    }
                });
            }
            with_bytes(path, &[&before, &b"x"[..]].concat(), || {
                let (_, class) = whole.error_in(path, "extended");
                let untrusted = is_hashed_whole(path) && !target;
                let expected = if untrusted {
                    ErrorClass::Untrusted
                } else {
                    ErrorClass::Corrupt
                };
                assert_eq!(class, expected, "{}", path.display());
            });
        }
    });
}

#[test]
fn flipped_bits_are_found_wherever_they_are() {
    in_all_modes(|whole| {
        let mut numbers = Numbers::new(3);
        for path in &whole.objects().0 {
            let before = fs::read(path).unwrap();
            let bits = before.len() as u64 * 8;
            let positions: Vec<u64> = match bits {
                0..1000 => (0..bits).collect(),
                _ => (0..40).map(|_| numbers.below(bits)).collect(),
            };
            let file = File::options().write(true).open(path).unwrap();
            for bit in positions {
                let byte = before[(bit / 8) as usize];
                file.write_all_at(&[byte ^ 1 << (bit % 8)], bit / 8)
                    .unwrap();
                check_flip(whole, path, bit);
                file.write_all_at(&[byte], bit / 8).unwrap();
            }
        }
    });
}

fn check_flip(whole: &Whole<'_>, path: &Path, bit: u64) {
    let what = format!("bit {bit}");
    if is_hashed_whole(path) {
        // But for the target's NUL.
        match whole.error_in(path, &what) {
            (ObjectError::Checksum { .. }, ErrorClass::Untrusted) => {}
            (ObjectError::Malformed(_), ErrorClass::Corrupt) if whole.mode == "bare-user" => {}
            other => panic!("{what} of {}: {other:?}", path.display()),
        }
        return;
    }
    // The last bits of deflated data may be padding, which changes nothing.
    match whole.read() {
        Ok(tree) => assert_eq!(tree, whole.tree, "{what} of {}", path.display()),
        Err(_) => {
            whole.error_in(path, &what);
        }
    }
}

#[test]
fn a_damaged_file_too_large_to_hold_is_never_stored() {
    let Some(repositories) = Repositories::new(|root| {
        fs::write(root.join("huge"), bytes(2, (4 << 20) + 10)).unwrap();
    }) else {
        return;
    };
    for mode in MODES {
        let whole = Whole::new(&repositories, mode);
        let (files, _) = whole.objects();
        let path = files
            .iter()
            .max_by_key(|path| path.metadata().unwrap().len());
        let path = path.unwrap();
        let before = fs::read(path).unwrap();
        let mut damaged = before.clone();
        *damaged.last_mut().unwrap() ^= 0x40;
        with_bytes(path, &damaged, || drop(whole.error_in(path, "damaged")));
        with_bytes(path, &before[..before.len() - 20], || {
            whole.error_in(path, "truncated");
        });
    }
}

#[test]
fn swapped_objects_are_refused() {
    in_all_modes(|whole| {
        let (files, _) = whole.objects();
        for path in &files {
            for other in &files {
                if path == other || path.extension() != other.extension() {
                    continue;
                }
                if is_xattrs(path) && fs::read(path).unwrap() == fs::read(other).unwrap() {
                    continue;
                }
                without(path, || {
                    fs::hard_link(other, path).unwrap();
                    whole.assert_checksum(path, "swapped");
                });
            }
        }
    });
}

#[test]
fn objects_that_are_no_files_are_refused() {
    in_all_modes(|whole| {
        for path in &whole.objects().0 {
            let refused = |what| {
                let (error, class) = whole.error_in(path, what);
                assert_eq!(
                    class,
                    ErrorClass::Corrupt,
                    "{} {what}: {error:?}",
                    path.display()
                );
            };
            without(path, || {
                fs::create_dir(path).unwrap();
                refused("a directory");
                fs::remove_dir(path).unwrap();
                let (mode, device) = (Mode::from_raw_mode(0o644), 0);
                mknodat(CWD, path, FileType::Fifo, mode, device).unwrap();
                refused("a fifo");
                fs::remove_file(path).unwrap();
                // A symlink to the right bytes: not followed.
                symlink(path.with_extension("aside"), path).unwrap();
                if ["bare", SPLIT].contains(&whole.mode) && path.extension().unwrap() == "file" {
                    whole.assert_checksum(path, "a symlink");
                } else {
                    refused("a symlink");
                }
            });
        }
    });
}

#[test]
fn a_directory_of_objects_that_is_a_symlink_is_not_followed() {
    in_all_modes(|whole| {
        let (files, _) = whole.objects();
        let directory = files[0].parent().unwrap();
        let aside = directory.with_extension("aside");
        fs::rename(directory, &aside).unwrap();
        symlink(&aside, directory).unwrap();
        let error = whole.read().unwrap_err();
        assert!(matches!(error, OstreeError::Object { .. }), "{error:?}");
        fs::remove_file(directory).unwrap();
        fs::rename(&aside, directory).unwrap();
    });
}

#[test]
fn owner_mode_and_xattrs_of_bare_files_are_part_of_the_object() {
    in_all_modes(|whole| {
        if !["bare", SPLIT].contains(&whole.mode) {
            return;
        }
        let (files, links) = whole.objects();
        for path in files
            .iter()
            .filter(|path| path.extension().unwrap() == "file")
        {
            let mode = path.metadata().unwrap().permissions();
            fs::set_permissions(path, Permissions::from_mode(0o4755)).unwrap();
            whole.assert_checksum(path, "mode");
            fs::set_permissions(path, mode.clone()).unwrap();
            chown(path, Some(1), None).unwrap();
            whole.assert_checksum(path, "owner");
            chown(path, Some(0), None).unwrap();
            fs::set_permissions(path, mode).unwrap();
            if whole.mode == SPLIT {
                // What the inode has besides is not the object's.
                setxattr(path, "user.more", b"1", XattrFlags::empty()).unwrap();
                assert_eq!(whole.read().unwrap(), whole.tree);
                continue;
            }
            setxattr(path, "user.more", b"1", XattrFlags::empty()).unwrap();
            whole.assert_checksum(path, "xattrs");
            removexattr(path, "user.more").unwrap();
        }
        for path in &links {
            without(path, || {
                symlink("another", path).unwrap();
                whole.assert_checksum(path, "target");
            });
        }
    });
}

#[test]
fn metadata_of_bare_user_files_is_part_of_the_object() {
    const NAME: &str = "user.ostreemeta";
    in_all_modes(|whole| {
        if whole.mode != "bare-user" {
            return;
        }
        let (files, _) = whole.objects();
        for path in files
            .iter()
            .filter(|path| path.extension().unwrap() == "file")
        {
            let mut before = vec![0; 1000];
            let len = rustix::fs::getxattr(path, NAME, &mut before).unwrap();
            before.truncate(len);
            let set = |value: &[u8]| setxattr(path, NAME, value, XattrFlags::empty()).unwrap();
            removexattr(path, NAME).unwrap();
            let (error, class) = whole.error_in(path, "no xattr");
            assert_eq!(class, ErrorClass::Corrupt, "{error:?}");
            for bit in 0..before.len() * 8 {
                let mut damaged = before.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                set(&damaged);
                whole.error_in(path, "xattr");
            }
            set(&before[..len - 1]);
            whole.error_in(path, "truncated xattr");
            set(&before);
        }
    });
}
