// SPDX-License-Identifier: MIT OR Apache-2.0
//! What overlayfs reads from a pack: redirects to objects, escaped xattrs, escaped whiteouts.
//!
//! docs/format/pack.md, "Overlay attributes".

use crate::digest::VerityDigest;
use crate::erofs::xattr::{Namespace, StoredXattr, Value};
use crate::limits;
use crate::tree::{Xattr, XattrSet};

/// The beginning of the names in `trusted.` that overlayfs takes for itself.
pub(super) const OVERLAY: &[u8] = b"overlay.";
/// `trusted.`: the digest of the object with a file's content.
pub(super) const METACOPY: &[u8] = b"overlay.metacopy";
/// `trusted.`: where in the object layer a file's content is.
pub(super) const REDIRECT: &[u8] = b"overlay.redirect";
/// `trusted.`: that a directory hides those of lower layers.
pub(super) const OPAQUE: &[u8] = b"overlay.opaque";
/// `trusted.`: on an inode whose whiteout attributes are the writer's, not the payload's.
pub(super) const MARKER: &[u8] = b"overlay.sealroot-whiteout";

/// An attribute that makes up an escaped whiteout: namespace, whether its name is escaped once,
/// the rest of the name, the value.
pub(super) type WhiteoutXattr = (Namespace, bool, &'static [u8], &'static [u8]);

/// On the empty regular file that stands for a whiteout.
pub(super) const ON_WHITEOUT: [WhiteoutXattr; 2] = [
    (Namespace::Trusted, true, b"overlay.whiteout", b""),
    (Namespace::User, false, b"overlay.whiteout", b""),
];

/// On a directory that holds whiteouts: the mark of kernel 6.7 and the one of 6.8 and later.
pub(super) const ON_PARENT: [WhiteoutXattr; 4] = [
    (Namespace::Trusted, true, b"overlay.opaque", b"x"),
    (Namespace::Trusted, true, b"overlay.whiteouts", b""),
    (Namespace::User, false, b"overlay.opaque", b"x"),
    (Namespace::User, false, b"overlay.whiteouts", b""),
];

/// What differs between the profiles.
#[derive(Debug)]
pub(super) struct Profile {
    /// Whether the longest names are stored once for the whole image.
    pub(super) has_long_names: bool,
    /// Ends the name of an object in its redirect.
    pub(super) extension: &'static str,
    /// Whether inodes whose whiteout attributes the writer added have [`MARKER`], and what overlayfs
    /// cannot show as it is is refused. If not, attributes of the payload may be replaced.
    pub(super) strict: bool,
    /// Whether the root has [`OPAQUE`].
    pub(super) opaque_root: bool,
}

/// Our own profile.
pub(super) const PACK: Profile = Profile {
    has_long_names: true,
    extension: ".file",
    strict: true,
    opaque_root: false,
};

/// The export profile.
pub(super) const COMPOSEFS: Profile = Profile {
    has_long_names: false,
    extension: "",
    strict: false,
    opaque_root: true,
};

/// What of an inode, beside its own xattrs, decides which it has in a pack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role<'t> {
    /// Nothing.
    Plain,
    /// Its content is an object.
    External(&'t VerityDigest),
    /// It stands for a whiteout.
    Whiteout,
    /// It is a directory with whiteouts in it.
    HoldsWhiteouts,
}

impl Role<'_> {
    /// The attributes this role adds to make whiteouts work.
    pub(super) const fn whiteout_xattrs(self) -> &'static [WhiteoutXattr] {
        match self {
            Self::Whiteout => &ON_WHITEOUT,
            Self::HoldsWhiteouts => &ON_PARENT,
            Self::Plain | Self::External(_) => &[],
        }
    }
}

/// A xattr of the payload that cannot be stored.
#[derive(Debug)]
pub(super) struct XattrProblem {
    pub(super) name: Box<[u8]>,
    pub(super) expected: &'static str,
}

/// The xattrs of an inode as they are stored, in order of full names.
pub(super) fn stored_xattrs<'t>(
    payload: &'t XattrSet,
    role: Role<'t>,
    profile: &Profile,
) -> Result<Vec<StoredXattr<'t>>, XattrProblem> {
    let mut stored = Vec::with_capacity(payload.len() + 2);
    for Xattr { name, value } in payload {
        let problem = |expected| XattrProblem {
            name: name.clone(),
            expected,
        };
        let xattr = escape(name, value)
            .ok_or_else(|| problem("user., trusted., security. or a POSIX ACL"))?;
        if profile.strict && xattr.escaped && xattr.suffix == OVERLAY {
            return Err(problem("a name that goes on after trusted.overlay."));
        }
        if xattr.name_len_bytes() > limits::MAX_XATTR_NAME_BYTES {
            return Err(problem("a name that has at most 255 bytes once escaped"));
        }
        stored.push(xattr);
    }
    if let Role::External(digest) = role {
        stored.push(own(METACOPY, Value::Metacopy(digest)));
        stored.push(own(REDIRECT, Value::Redirect(digest, profile.extension)));
    }
    for (namespace, escaped, suffix, value) in role.whiteout_xattrs() {
        let added = StoredXattr {
            namespace: *namespace,
            escaped: *escaped,
            suffix,
            value: Value::Bytes(value),
        };
        let taken = stored
            .iter_mut()
            .find(|xattr| xattr.cmp_names(&added).is_eq());
        match taken {
            None => stored.push(added),
            Some(found) if !profile.strict => *found = added,
            Some(found) => {
                return Err(XattrProblem {
                    name: [found.namespace.prefix(), found.suffix].concat().into(),
                    expected: "none that is needed to keep a whiteout",
                });
            }
        }
    }
    if profile.strict && !role.whiteout_xattrs().is_empty() {
        stored.push(own(MARKER, Value::Bytes(b"")));
    }
    stored.sort_by(StoredXattr::cmp_names);
    Ok(stored)
}

/// An attribute that overlayfs is to read.
pub(super) const fn own<'t>(suffix: &'static [u8], value: Value<'t>) -> StoredXattr<'t> {
    StoredXattr {
        namespace: Namespace::Trusted,
        escaped: false,
        suffix,
        value,
    }
}

/// A xattr of the payload as it is stored; `None` if EROFS cannot hold its name.
fn escape<'t>(name: &'t [u8], value: &'t [u8]) -> Option<StoredXattr<'t>> {
    let (namespace, suffix) = Namespace::split(name)?;
    Some(StoredXattr {
        namespace,
        escaped: namespace == Namespace::Trusted && suffix.starts_with(OVERLAY),
        suffix,
        value: Value::Bytes(value),
    })
}

/// The value of `trusted.overlay.redirect` of a file whose object has this digest.
pub(super) fn redirect_value(digest: &VerityDigest, profile: &Profile) -> Vec<u8> {
    Value::Redirect(digest, profile.extension).to_vec()
}
