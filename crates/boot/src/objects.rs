// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mode `integrity`: every object of a release hashed before the release is mounted, because
//! nothing will check it afterwards.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::digest::VerityDigest;
use sealroot_format::pack::{EntryKind, Pack, Visit};

use crate::hash::digest_of;
use crate::refusal::{Code, OrRefuse as _, Refusal};

/// Hashes all objects that a pack names, in the layers they will be read from.
pub(crate) fn check(pack: &File, layers: &[BorrowedFd<'_>]) -> Result<(), Refusal> {
    let malformed = |error| Refusal::of(Code::Pack, &error);
    let pack = Pack::open(pack).map_err(malformed)?;
    let mut seen = HashSet::new();
    let mut walk = pack.walk();
    while let Some(step) = walk.next().map_err(malformed)? {
        if let Visit::Entry(entry) = step.visit
            && let EntryKind::External { digest, size_bytes } = entry.kind
            && seen.insert(digest)
        {
            check_object(digest, size_bytes, layers)?;
        }
    }
    Ok(())
}

fn check_object(
    expected: VerityDigest,
    size_bytes: u64,
    layers: &[BorrowedFd<'_>],
) -> Result<(), Refusal> {
    let hex = expected.to_hex();
    let (prefix, rest) = hex.split_at_checked(2).unwrap_or_default();
    let path = format!("{prefix}/{rest}.file");
    let file = open(&path, layers)?;
    let stat = rustix::fs::fstat(&file).or_refuse(Code::Object, &path, "a regular file")?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || u64::try_from(stat.st_size) != Ok(size_bytes) {
        let wanted = format!("a regular file of {size_bytes} bytes");
        let found = format!("mode {:o} and {} bytes", stat.st_mode, stat.st_size);
        return Err(Refusal::new(Code::Object, path, wanted, found));
    }
    let digest = digest_of(&File::from(file), size_bytes).or_refuse(
        Code::Object,
        &path,
        "a readable file",
    )?;
    if digest == expected {
        return Ok(());
    }
    let wanted = format!("the fs-verity digest {expected}");
    Err(Refusal::new(Code::Object, path, wanted, digest))
}

/// The object in the first layer that has it: the one overlayfs takes.
fn open(path: &str, layers: &[BorrowedFd<'_>]) -> Result<OwnedFd, Refusal> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut result = Err(Errno::NOENT);
    for layer in layers {
        let flags = flags | OFlags::CLOEXEC;
        result = rustix::fs::openat2(layer, path, flags, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::NOENT)) {
            break;
        }
    }
    result.or_refuse(Code::Object, path, "a regular file")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use sealroot_format::digest::compute_verity_digest;
    use sealroot_format::pack::write_pack;
    use sealroot_format::tree::{FileContent, Inode, InodeId, Kind, Metadata, Tree};

    use super::*;

    const CONTENT: &[u8] = &[7; 9000];

    /// A pack with one object, and two layers of which the second has it.
    struct Fixture {
        directory: tempfile::TempDir,
        pack: File,
        object: PathBuf,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().expect("a directory");
        let digest = compute_verity_digest(CONTENT);
        let content = FileContent::External {
            digest,
            size_bytes: CONTENT.len() as u64,
        };
        let mut tree = Tree::new(Metadata::default());
        let inode = Inode::new(Metadata::default(), Kind::Regular(content));
        tree.insert(InodeId::ROOT, b"f", inode).expect("an entry");
        let pack_path = directory.path().join("pack");
        let mut pack = File::create_new(&pack_path).expect("a file");
        write_pack(&tree, 4096, &mut pack).expect("a pack");
        let hex = digest.to_hex();
        let object = PathBuf::from(format!("{}/{}.file", &hex[..2], &hex[2..]));
        for layer in ["first", "second"] {
            let prefix = directory.path().join(layer).join(&hex[..2]);
            fs::create_dir_all(prefix).expect("a directory");
        }
        fs::write(directory.path().join("second").join(&object), CONTENT).expect("a file");
        Fixture {
            pack: File::open(pack_path).expect("a file"),
            directory,
            object,
        }
    }

    impl Fixture {
        fn object(&self, layer: &str) -> PathBuf {
            self.directory.path().join(layer).join(&self.object)
        }

        fn check(&self) -> Result<(), Refusal> {
            let open =
                |layer: &str| File::open(self.directory.path().join(layer)).expect("a directory");
            let (first, second) = (open("first"), open("second"));
            check(&self.pack, &[first.as_fd(), second.as_fd()])
        }

        fn assert_refused(&self) {
            let refusal = self.check().expect_err("the object is not the one");
            assert_eq!(refusal.code, Code::Object, "{refusal}");
        }
    }

    fn replace(path: &Path, content: &[u8]) {
        let _ = fs::remove_file(path);
        fs::write(path, content).expect("a file");
    }

    #[test]
    fn the_right_object_in_either_layer_passes() {
        let fixture = fixture();
        fixture.check().expect("it is the object");
        replace(&fixture.object("first"), CONTENT);
        fs::remove_file(fixture.object("second")).expect("it was there");
        fixture.check().expect("it is the object");
    }

    #[test]
    fn the_layer_that_is_read_is_the_one_that_counts() {
        let fixture = fixture();
        replace(&fixture.object("first"), &[8; 9000]);
        fixture.assert_refused();
    }

    #[test]
    fn anything_else_is_refused() {
        let mut changed = CONTENT.to_vec();
        changed[8999] ^= 1;
        for content in [&changed[..], &CONTENT[1..], &[CONTENT, &[7]].concat(), b""] {
            let fixture = fixture();
            replace(&fixture.object("second"), content);
            fixture.assert_refused();
        }
        let fixture = fixture();
        let object = fixture.object("second");
        let elsewhere = fixture.directory.path().join("elsewhere");
        fs::rename(&object, &elsewhere).expect("a rename");
        fixture.assert_refused();
        symlink(&elsewhere, &object).expect("a symlink");
        fixture.assert_refused();
        fs::remove_file(&object).expect("it was there");
        fs::create_dir(&object).expect("a directory");
        fixture.assert_refused();
    }
}
