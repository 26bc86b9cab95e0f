// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a store has no fs-verity, for people: looked for at the moment it is asked.

use std::fmt;
use std::path::Path;

use sealroot_sys::verity::MeasureVerityError;

use super::Store;
use super::files::{again, measure};
use super::io::StoreIo;
use super::path::{CONFIG_NAME, known};

/// Why there is no fs-verity under a store that was made without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerityAbsence {
    /// The kernel was built without it, whatever the filesystem could do.
    Kernel,
    /// The filesystem could have it and it is not enabled there.
    Feature {
        /// The type of filesystem.
        filesystem: &'static str,
        /// What enables it.
        remedy: &'static str,
    },
    /// This type of filesystem does not have it.
    Filesystem,
    /// It is there now, and was not when the store was made.
    Past,
    /// The kernel says that it is not there, and nothing says why.
    Unknown,
}

impl VerityAbsence {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Feature { .. } => "feature",
            Self::Filesystem => "filesystem",
            Self::Past => "past",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for VerityAbsence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str(
                "this kernel was built without it (CONFIG_FS_VERITY); the filesystem is not at fault",
            ),
            Self::Feature { filesystem, remedy } => {
                write!(f, "it is not enabled on this {filesystem} ({remedy})")
            }
            Self::Filesystem => {
                f.write_str("this type of filesystem does not have it (ext4, btrfs and f2fs do)")
            }
            Self::Past => f.write_str("it was not there when the store was made, though it is now"),
            Self::Unknown => {
                f.write_str("either the kernel was built without it, or the filesystem has it off")
            }
        }
    }
}

/// A type of filesystem that has fs-verity.
struct Candidate {
    magic: u64,
    name: &'static str,
    /// There where the kernel can do it. The kernel says it nowhere else, and its error number is
    /// the same in both cases.
    proof: &'static str,
    /// What enables it; `None` where there is nothing to enable.
    remedy: Option<&'static str>,
}

const CANDIDATES: [Candidate; 3] = [
    Candidate {
        magic: 0xef53,
        name: "ext4",
        proof: "/sys/fs/ext4/features/verity",
        remedy: Some("tune2fs -O verity DEVICE"),
    },
    Candidate {
        magic: 0xf2f5_2010,
        name: "f2fs",
        proof: "/sys/fs/f2fs/features/verity",
        remedy: Some("mkfs.f2fs -O verity DEVICE makes one that has it"),
    },
    Candidate {
        magic: 0x9123_683e,
        name: "btrfs",
        proof: "/sys/fs/btrfs/features/verity",
        remedy: None,
    },
];

impl<I: StoreIo> Store<I> {
    /// Why there is no fs-verity, in a store that was made without.
    pub fn verity_absence(&self) -> VerityAbsence {
        let Ok((file, _)) = again(|| self.io.open(&known(CONFIG_NAME))) else {
            return VerityAbsence::Unknown;
        };
        match measure(&self.io, &file) {
            Ok(_) | Err(MeasureVerityError::NotEnabled) => VerityAbsence::Past,
            Err(MeasureVerityError::NotImplemented) => VerityAbsence::Filesystem,
            Err(_) => of_filesystem(self.location()),
        }
    }
}

/// The reason of a filesystem that refuses.
fn of_filesystem(location: &Path) -> VerityAbsence {
    let Ok(stat) = rustix::fs::statfs(location) else {
        return VerityAbsence::Unknown;
    };
    let magic = u64::try_from(stat.f_type).unwrap_or_default();
    match CANDIDATES.iter().find(|known| known.magic == magic) {
        Some(candidate) => of_candidate(candidate),
        None => VerityAbsence::Unknown,
    }
}

fn of_candidate(candidate: &Candidate) -> VerityAbsence {
    let proof = Path::new(candidate.proof);
    let can_be_seen = proof.parent().is_some_and(Path::is_dir);
    match (proof.exists(), candidate.remedy) {
        (true, Some(remedy)) => VerityAbsence::Feature {
            filesystem: candidate.name,
            remedy,
        },
        (false, _) if can_be_seen => VerityAbsence::Kernel,
        _ => VerityAbsence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_can_do_decides() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("features/verity");
        let candidate = |remedy| Candidate {
            magic: 0,
            name: "ext4",
            proof: path.to_str().expect("text").to_owned().leak(),
            remedy,
        };
        assert_eq!(of_candidate(&candidate(None)), VerityAbsence::Unknown);
        std::fs::create_dir(path.parent().expect("one")).expect("made");
        assert_eq!(of_candidate(&candidate(Some("x"))), VerityAbsence::Kernel);
        std::fs::write(&path, "supported").expect("written");
        let off = VerityAbsence::Feature {
            filesystem: "ext4",
            remedy: "x",
        };
        assert_eq!(of_candidate(&candidate(Some("x"))), off);
        assert_eq!(of_candidate(&candidate(None)), VerityAbsence::Unknown);
    }
}
