// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a check finds, as data.

use crate::store::{Fault, StorePath};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Something unfinished or put aside; the store deals with it itself.
    Leftover,
    /// Something that is no part of a store. Nothing uses it.
    Foreign,
    /// Something of the store is missing or not what it should be.
    Damage,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $severity:ident;)+) => {
        /// What was found. The words never change their meaning (docs/format/store.md 9).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FindingCode {
            $($(#[$doc])* $name,)+
        }

        impl FindingCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word for programs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)+
                }
            }
        }
    };
}

codes! {
    /// A directory every store has is not there.
    MissingDirectory = "missing-directory", Damage;
    /// Something could not be read or listed.
    Unreadable = "unreadable", Damage;
    /// A name that must be a regular file is something else.
    NotRegular = "not-regular", Damage;
    /// An object, pack or image of a store with fs-verity does not have it.
    NoVerity = "no-verity", Damage;
    /// An object, pack or image does not have the digest in its name.
    WrongDigest = "wrong-digest", Damage;
    /// A statement file is not well-formed, or is of another commit or stream than its name.
    BadStatement = "bad-statement", Damage;
    /// The statement of a deployment's release is not there.
    MissingStatement = "missing-statement", Damage;
    /// The pack a statement, deployment or image names is not there.
    MissingPack = "missing-pack", Damage;
    /// A pack has the right digest and is not well-formed.
    BadPack = "bad-pack", Damage;
    /// An object that a pack names is not there.
    MissingObject = "missing-object", Damage;
    /// A deployment's record is missing or not valid.
    BadRecord = "bad-record", Damage;
    /// A deployment has fewer or more objects than its record says.
    WrongObjectCount = "wrong-object-count", Damage;
    /// A name that is no part of a store.
    Stray = "stray", Foreign;
    /// What a transaction that was never finished left.
    Leftover = "leftover", Leftover;
    /// What was put aside.
    Trash = "trash", Leftover;
}

impl From<&Fault> for FindingCode {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::NotRegular { .. } => Self::NotRegular,
            Fault::Unreadable { .. } => Self::Unreadable,
            Fault::NotEnabled => Self::NoVerity,
            Fault::Size { .. } | Fault::Digest { .. } | Fault::OtherAlgorithm => Self::WrongDigest,
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub path: StorePath,
    /// What.
    pub code: FindingCode,
    /// The particulars, for people.
    pub detail: String,
}

/// What a check has looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What is not as it should be, by path.
    pub findings: Vec<Finding>,
    /// Objects, good and bad.
    pub objects: u64,
    /// Packs, good and bad.
    pub packs: u64,
    /// Images, good and bad.
    pub images: u64,
    /// Statements, good and bad.
    pub statements: u64,
    /// Deployments, good and bad.
    pub deployments: u64,
    /// Bytes that were read and hashed.
    pub hashed_bytes: u64,
}

impl Report {
    /// The worst there is; `None` if there is nothing.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.code.severity()).max()
    }
}
