// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes of one inode.

use super::{TreeError, bound};
use crate::limits;

/// One extended attribute: full name with namespace (`security.selinux`), and value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xattr {
    /// The name with its namespace, without NUL.
    pub name: Box<[u8]>,
    /// The value; may be empty.
    pub value: Box<[u8]>,
}

/// The extended attributes of one inode, sorted bytewise by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct XattrSet(Vec<Xattr>);

impl XattrSet {
    /// No attributes.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sorts `xattrs` and checks names, duplicates and bounds.
    pub fn from_unsorted(mut xattrs: Vec<Xattr>) -> Result<Self, TreeError> {
        xattrs.sort_unstable();
        for pair in xattrs.windows(2) {
            if let [a, b] = pair
                && a.name == b.name
            {
                return Err(TreeError::XattrDuplicate {
                    name: a.name.clone(),
                });
            }
        }
        let mut total_bytes = 0;
        for Xattr { name, value } in &xattrs {
            if name.len() > limits::MAX_XATTR_NAME_BYTES
                || name.contains(&0)
                || !is_namespaced(name)
            {
                return Err(TreeError::XattrName { name: name.clone() });
            }
            if value.len() > limits::MAX_XATTR_VALUE_BYTES {
                return Err(bound(
                    "xattr value",
                    value.len(),
                    limits::MAX_XATTR_VALUE_BYTES,
                ));
            }
            total_bytes += name.len() + value.len();
        }
        if total_bytes > limits::MAX_XATTR_SET_BYTES {
            return Err(bound(
                "xattrs of one inode",
                total_bytes,
                limits::MAX_XATTR_SET_BYTES,
            ));
        }
        Ok(Self(xattrs))
    }

    /// The attributes, sorted by name.
    pub fn iter(&self) -> std::slice::Iter<'_, Xattr> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the attribute with this full name.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self
            .0
            .binary_search_by(|xattr| (*xattr.name).cmp(name))
            .ok()?;
        self.0.get(at).map(|xattr| &*xattr.value)
    }
}

impl<'a> IntoIterator for &'a XattrSet {
    type Item = &'a Xattr;
    type IntoIter = std::slice::Iter<'a, Xattr>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The namespaces of xattr(7). Each must be followed by more, but for the two ACLs, which are
/// whole names.
fn is_namespaced(name: &[u8]) -> bool {
    const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    NAMESPACES
        .iter()
        .any(|prefix| name.len() > prefix.len() && name.starts_with(prefix))
}
