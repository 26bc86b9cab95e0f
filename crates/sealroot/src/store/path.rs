// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths inside a store, and the names the layout gives to things (docs/format/store.md 2).

use std::fmt;

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES};
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::Name;

/// A relative path that cannot leave the directory it is relative to: names joined by `/`, none
/// of them empty, `.`, `..`, too long or with a NUL in it. The empty path is the store itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorePath(Box<[u8]>);

impl StorePath {
    /// The store's own directory.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// A path of the names in `text`; `None` if one of them is not valid.
    pub fn new(text: impl AsRef<[u8]>) -> Option<Self> {
        let bytes = text.as_ref();
        let valid = bytes.is_empty()
            || bytes.len() <= MAX_PATH_BYTES && bytes.split(|&b| b == b'/').all(is_valid_name);
        valid.then(|| Self(bytes.into()))
    }

    /// `name` in this directory; `None` if the name is not valid.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Option<Self> {
        let name = name.as_ref();
        if !is_valid_name(name) {
            return None;
        }
        if self.0.is_empty() {
            return Some(Self(name.into()));
        }
        let joined = [&self.0, name].join(&b'/');
        (joined.len() <= MAX_PATH_BYTES).then(|| Self(joined.into()))
    }

    /// The directory this is in, and its name there; `None` for the store itself.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => (Self(self.0[..slash].into()), &self.0[slash + 1..]),
            None => (Self::root(), &self.0),
        })
    }

    /// The path as the kernel takes it, relative to the store's directory.
    pub fn as_bytes(&self) -> &[u8] {
        if self.0.is_empty() { b"." } else { &self.0 }
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePath({self})")
    }
}

fn is_valid_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= MAX_NAME_BYTES
        && !name.iter().any(|b| matches!(b, 0 | b'/'))
}

/// One of the directories a store consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreDir {
    /// Packs and statements.
    Pack,
    /// Large files, shared by all deployments.
    Objects,
    /// Deployments.
    Deploy,
    /// What is under construction; meaningless without the process that made it.
    Tmp,
    /// What was found wrong or taken out of use, until it is deleted.
    Trash,
}

impl StoreDir {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Pack,
        Self::Objects,
        Self::Deploy,
        Self::Tmp,
        Self::Trash,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Objects => "objects",
            Self::Deploy => "deploy",
            Self::Tmp => "tmp",
            Self::Trash => "trash",
        }
    }

    /// Its path.
    pub fn path(self) -> StorePath {
        known(self.name())
    }

    /// `name` in it; `None` if the name is not valid.
    pub fn join(self, name: impl AsRef<[u8]>) -> Option<StorePath> {
        self.path().join(name)
    }
}

/// The file that makes a directory a store.
pub const CONFIG_NAME: &str = "store.toml";

/// The file that is locked.
pub const LOCK_NAME: &str = "lock";

/// A path whose validity is plain from the source.
pub(crate) fn known(text: &str) -> StorePath {
    StorePath::new(text).expect("made of constants, digits and valid names")
}

/// `objects/XX/<rest>.file`
pub fn object_path(digest: &VerityDigest) -> StorePath {
    object_path_in(&StoreDir::Objects.path(), digest)
}

/// `objects/XX/<rest>.sign`
pub(crate) fn object_signature_path(digest: &VerityDigest) -> StorePath {
    let hex = digest.to_hex();
    let (prefix, rest) = hex.split_at(2);
    known(&format!(
        "{}/{prefix}/{rest}.sign",
        StoreDir::Objects.name()
    ))
}

/// `XX/<rest>.file` in any directory of objects.
pub(crate) fn object_path_in(objects: &StorePath, digest: &VerityDigest) -> StorePath {
    let hex = digest.to_hex();
    let (prefix, rest) = hex.split_at(2);
    let tail = format!("{prefix}/{rest}.file");
    StorePath([objects.as_bytes(), tail.as_bytes()].join(&b'/').into())
}

/// The digest an object's directory and name spell; `None` if that is no object's name.
pub fn parse_object_name(prefix: &[u8], name: &[u8]) -> Option<VerityDigest> {
    split_digest(prefix, name.strip_suffix(b".file")?)
}

/// The digest in the name of an object's signature for the kernel's keyring; `None` if that is
/// no such name.
pub fn parse_object_signature_name(prefix: &[u8], name: &[u8]) -> Option<VerityDigest> {
    split_digest(prefix, name.strip_suffix(b".sign")?)
}

fn split_digest(prefix: &[u8], rest: &[u8]) -> Option<VerityDigest> {
    (prefix.len() == 2).then_some(())?;
    VerityDigest::from_hex([prefix, rest].concat())
}

/// `pack/<pack-digest>.pack`
pub fn pack_path(digest: &VerityDigest) -> StorePath {
    known(&format!("{}/{digest}.pack", StoreDir::Pack.name()))
}

/// The digest in a pack's name; `None` if that is no pack's name.
pub fn parse_pack_name(name: &[u8]) -> Option<VerityDigest> {
    VerityDigest::from_hex(name.strip_suffix(b".pack")?)
}

/// A unified kernel image in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName {
    /// The pack of the release that it boots.
    pub pack: VerityDigest,
    /// Its own digest.
    pub image: VerityDigest,
}

/// `pack/<pack-digest>.<image-digest>.efi`
pub fn image_path(name: &ImageName) -> StorePath {
    let ImageName { pack, image } = name;
    known(&format!("{}/{pack}.{image}.efi", StoreDir::Pack.name()))
}

/// The digests in an image's name; `None` if that is no image's name.
pub fn parse_image_name(name: &[u8]) -> Option<ImageName> {
    let name = name.strip_suffix(b".efi")?;
    let (pack, image) = (name.get(..64)?, name.get(64..)?);
    Some(ImageName {
        pack: VerityDigest::from_hex(pack)?,
        image: VerityDigest::from_hex(image.strip_prefix(b".")?)?,
    })
}

/// `pack/<commit>.<stream>.sign`
pub fn statement_path(commit: &CommitId, stream: &Name) -> StorePath {
    known(&format!("{}/{commit}.{stream}.sign", StoreDir::Pack.name()))
}

/// Commit and stream in a statement's name; `None` if that is no statement's name.
pub fn parse_statement_name(name: &[u8]) -> Option<(CommitId, Name)> {
    let name = std::str::from_utf8(name.strip_suffix(b".sign")?).ok()?;
    let (commit, stream) = name.split_once('.')?;
    Some((CommitId::from_hex(commit)?, stream.parse().ok()?))
}

/// `deploy/<commit>.<serial>`
pub fn deployment_path(name: &DeploymentName) -> StorePath {
    known(&format!("{}/{name}", StoreDir::Deploy.name()))
}

/// The deployment a name names; `None` if that is no deployment's name.
pub fn parse_deployment_name(name: &[u8]) -> Option<DeploymentName> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: VerityDigest = VerityDigest::from_bytes([0xab; 32]);
    const COMMIT: CommitId = CommitId::from_bytes([0xcd; 32]);

    #[test]
    fn no_path_leaves_the_store() {
        for bad in [
            "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b",
        ] {
            assert_eq!(StorePath::new(bad), None, "{bad:?}");
            assert_eq!(StorePath::root().join(bad), None, "{bad:?}");
        }
        assert_eq!(StorePath::new("n".repeat(256)), None);
        assert_eq!(StorePath::new("n/".repeat(2048) + "n"), None);
        assert!(StorePath::new("a/.b/c..").is_some());
    }

    #[test]
    fn a_path_splits_into_directory_and_name() {
        let path = known("objects/ab/c");
        assert_eq!(path.split(), Some((known("objects/ab"), &b"c"[..])));
        assert_eq!(
            known("lock").split(),
            Some((StorePath::root(), &b"lock"[..]))
        );
        assert_eq!(StorePath::root().split(), None);
        assert_eq!(StorePath::root().as_bytes(), b".");
    }

    #[test]
    fn names_parse_to_what_they_were_made_of() {
        let name_of = |path: &StorePath| path.split().expect("not the root").1.to_vec();
        assert_eq!(
            object_path(&DIGEST).to_string(),
            format!("objects/ab/{}.file", "ab".repeat(31))
        );
        assert_eq!(
            parse_object_name(b"ab", &name_of(&object_path(&DIGEST))),
            Some(DIGEST)
        );
        assert_eq!(parse_pack_name(&name_of(&pack_path(&DIGEST))), Some(DIGEST));
        let image = ImageName {
            pack: DIGEST,
            image: VerityDigest::from_bytes([0xef; 32]),
        };
        assert_eq!(parse_image_name(&name_of(&image_path(&image))), Some(image));
        let stream: Name = "stable.12".parse().expect("a name");
        let statement = statement_path(&COMMIT, &stream);
        assert_eq!(
            parse_statement_name(&name_of(&statement)),
            Some((COMMIT, stream))
        );
        let deployment = DeploymentName {
            commit: COMMIT,
            serial: 10,
        };
        assert_eq!(
            parse_deployment_name(&name_of(&deployment_path(&deployment))),
            Some(deployment)
        );
    }

    #[test]
    fn foreign_names_do_not_parse() {
        let hex = COMMIT.to_hex();
        for bad in ["", "01", "+1", "-1", "4294967296", "1 ", "x"] {
            assert_eq!(
                parse_deployment_name(format!("{hex}.{bad}").as_bytes()),
                None
            );
        }
        for bad in ["", ".", "..x", "a b", "\n"] {
            let name = format!("{hex}.{bad}.sign");
            assert_eq!(parse_statement_name(name.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse_pack_name(format!("{hex}.PACK").as_bytes()), None);
        for bad in [
            format!("{hex}.efi"),
            format!("{hex}-{hex}.efi"),
            format!("{hex}.{hex}.pack"),
            format!("{hex}.{hex}.{hex}.efi"),
        ] {
            assert_eq!(parse_image_name(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(
            parse_object_name(b"a", format!("b{hex}.file").as_bytes()),
            None
        );
        assert_eq!(parse_statement_name(format!("{hex}.sign").as_bytes()), None);
    }
}
