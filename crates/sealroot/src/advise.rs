// SPDX-License-Identifier: MIT OR Apache-2.0
//! What in a tree makes updates larger than they need be, judged by names and sizes.

use sealroot_delta::opened::MAX_CLOSED_BYTES;
use sealroot_format::tree::{Kind, Tree};

/// Something that makes updates large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Advice {
    /// Kernel modules that are compressed.
    Modules,
    /// Initramfs archives, of which most lies in the tree already.
    Initramfs,
    /// Kernels: what is compressed in them otherwise than with zstd comes whole with each new one.
    Kernel,
    /// Other files that are compressed so that they cannot be patched.
    Compressed,
    /// Bytecode of Python, which has the time of its source in it.
    Bytecode,
    /// Caches and logs: they are others after each build.
    Caches,
}

impl Advice {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Modules,
        Self::Initramfs,
        Self::Kernel,
        Self::Compressed,
        Self::Bytecode,
        Self::Caches,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modules => "compressed-modules",
            Self::Initramfs => "initramfs",
            Self::Kernel => "kernel",
            Self::Compressed => "compressed-files",
            Self::Bytecode => "bytecode",
            Self::Caches => "caches",
        }
    }

    /// What a file is an example of.
    fn of(path: &[u8], size_bytes: u64) -> Option<Self> {
        let name = path.rsplit(|byte| *byte == b'/').next()?;
        let is_below = |directories: &[&[u8]]| {
            let mut all = directories.iter();
            all.any(|directory| path.starts_with(directory))
        };
        let ends = |endings: &[&[u8]]| endings.iter().any(|ending| name.ends_with(ending));
        let begins = |starts: &[&[u8]]| starts.iter().any(|start| name.starts_with(start));
        if ends(&[b".ko.xz", b".ko.zst", b".ko.gz"]) {
            Some(Self::Modules)
        } else if begins(&[b"initrd", b"initramfs"]) && is_below(&[b"/boot/", b"/usr/lib/modules/"])
        {
            Some(Self::Initramfs)
        } else if begins(&[b"vmlinuz"]) && is_below(&[b"/boot/", b"/usr/lib/modules/"]) {
            Some(Self::Kernel)
        } else if is_below(&[b"/var/cache/", b"/var/log/", b"/var/lib/apt/lists/"]) {
            Some(Self::Caches)
        } else if ends(&[b".pyc"]) {
            Some(Self::Bytecode)
        } else if ends(&[b".xz", b".zst", b".bz2", b".lzma", b".zip"])
            || ends(&[b".gz", b".tgz"]) && size_bytes > MAX_CLOSED_BYTES
        {
            Some(Self::Compressed)
        } else {
            None
        }
    }
}

/// What was found of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of what kind.
    pub advice: Advice,
    /// How many files.
    pub files: u64,
    /// Their length, bytes.
    pub bytes: u64,
    /// One of the largest.
    pub example: Box<[u8]>,
}

/// Looks at all files of a tree. What is found comes with the most bytes first.
pub fn advise(tree: &Tree) -> Vec<Found> {
    let mut found: Vec<(Found, u64)> = Vec::new();
    let mut walk = tree.walk();
    while let Some((path, id)) = walk.next() {
        let Kind::Regular(content) = &tree.inode(id).kind else {
            continue;
        };
        let size_bytes = content.size_bytes();
        let Some(advice) = Advice::of(path, size_bytes) else {
            continue;
        };
        let place = found.iter().position(|(found, _)| found.advice == advice);
        let place = place.unwrap_or_else(|| {
            let none = Found {
                advice,
                files: 0,
                bytes: 0,
                example: path.into(),
            };
            found.push((none, size_bytes));
            found.len() - 1
        });
        let (of_kind, largest_bytes) = &mut found[place];
        of_kind.files += 1;
        of_kind.bytes += size_bytes;
        if size_bytes > *largest_bytes {
            of_kind.example = path.into();
            *largest_bytes = size_bytes;
        }
    }
    found.sort_by_key(|(found, _)| std::cmp::Reverse(found.bytes));
    found.into_iter().map(|(found, _)| found).collect()
}

#[cfg(test)]
mod tests {
    use super::Advice;

    #[test]
    fn names_tell() {
        for (path, expected) in [
            (
                "/usr/lib/modules/6.12/kernel/fs/ext4.ko.xz",
                Some(Advice::Modules),
            ),
            ("/usr/lib/modules/6.12/kernel/fs/ext4.ko", None),
            ("/usr/lib/modules/6.12/vmlinuz", Some(Advice::Kernel)),
            (
                "/usr/lib/modules/6.12/initramfs.img",
                Some(Advice::Initramfs),
            ),
            ("/usr/share/initramfs-tools/init", None),
            ("/usr/share/doc/vim/changelog.gz", None),
            ("/usr/share/data.tar.xz", Some(Advice::Compressed)),
            (
                "/usr/lib/python3/__pycache__/abc.cpython-311.pyc",
                Some(Advice::Bytecode),
            ),
            ("/var/cache/apt/pkgcache.bin", Some(Advice::Caches)),
        ] {
            assert_eq!(Advice::of(path.as_bytes(), 1000), expected, "{path}");
        }
        let large = 5 << 20;
        assert_eq!(
            Advice::of(b"/usr/share/a.gz", large),
            Some(Advice::Compressed)
        );
    }
}
