// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kind of failure an error is: exit codes and the boot program's decisions hang on this.

/// The class of an error. Every error enum of the workspace has a `class()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Bytes break their format: truncated, damaged or written by something else.
    Corrupt,
    /// Authentication failed: a wrong digest, a missing or wrong signature, a foreign key.
    /// Never mapped to another class.
    Untrusted,
    /// Well-formed, but beyond what this version, kernel or filesystem can do.
    Unsupported,
    /// Something named does not exist.
    NotFound,
    /// Somebody else holds it now; trying again later may help.
    Busy,
    /// The request itself is wrong.
    Usage,
    /// The operating system refused: no space, no permission, a device error.
    Io,
}

impl ErrorClass {
    /// The word for it, for programs to compare.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Untrusted => "untrusted",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::Usage => "usage",
            Self::Io => "io",
        }
    }

    /// The process exit code of the `sealroot` command for an error of this class.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Io => 1,
            Self::Usage => 2,
            Self::Corrupt => 3,
            Self::Untrusted => 4,
            Self::Unsupported => 5,
            Self::NotFound => 6,
            Self::Busy => 7,
        }
    }
}
